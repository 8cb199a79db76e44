"""`python -m plots report`: one HTML file, readable offline and printable, that a director signs
and an engineer debugs with."""

import datetime
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Optional

import jinja2
import markupsafe
import matplotlib.pyplot as plt

from bigearth.cli import REQUIRED, option
from plots import figure, figures, tables
from plots.panels import ranks, timeline
from reframe_tests.results import export, history, verdict
from reframe_tests.results.runs import Results, describe, load
from reframe_tests.results.sessions import newest
from reframe_tests.results.values import day, iso, percent, quantity

PAGE = Path(__file__).with_name("page")
MOST_ROWS = 200  # of a picture's data table in the page; the whole table is among the figures
MOST_FINDINGS = 50  # that the verdict lists
MARKS = {
    verdict.PASSED: "good",
    verdict.FAILED: "bad",
    verdict.NOT_MEASURED: "bad",
    verdict.NOT_JUDGED: "open",
}
PHOTOGRAPHIC = ("samples",)  # not to be inverted on a dark screen


@dataclass(frozen=True)
class Config:
    """Options of `python -m plots report`."""

    results: str = option(
        REQUIRED, "folder with records, ReFrame's results.db or run-*.json reports"
    )
    out: str = option(REQUIRED, "the HTML file to write")
    recent: int = option(
        10,
        "a change for the worse counts as a regression while it is at most this many runs old",
        least=1,
    )
    min_effect: float = option(
        0.02,
        "relative changes smaller than this are told but are no regression",
        least=0.0,
        most=1.0,
    )


class Cell(NamedTuple):
    """One cell of a table: its text, its value if it is a number, and a mark ("good", "bad",
    "open") or ""."""

    text: str
    number: Optional[float] = None
    mark: str = ""


class Table(NamedTuple):
    title: str
    columns: tuple
    rows: list
    notes: list


class Picture(NamedTuple):
    title: str
    svg: str
    table: Table
    photographic: bool


class Section(NamedTuple):
    id: str
    title: str
    text: list
    tables: list
    pictures: list


class Verdict(NamedTuple):
    headline: str
    mark: str
    detail: str
    findings: list


def cell(value, unit: str = "") -> Cell:
    """A table's cell from a value: numbers to four digits with their unit, what is missing as a
    dash."""
    if value is None or value == "" or value != value:
        return Cell("–")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        text = f"{value:,}" if isinstance(value, int) else quantity(value, unit)
        return Cell(text, float(value) if math.isfinite(value) else None)
    return Cell(str(value))


def judge(cases: list, findings: list) -> Verdict:
    """The verdict on the newest session of every system."""
    now = newest(cases)
    values = [value for case in now for value in case.values.values() if math.isfinite(value.value)]
    judged = [value for value in values if value.judged]
    counts = (
        f"{len(judged)} of {len(values)} metrics of the newest sessions were compared with a "
        "reference"
    )
    told = [finding.sentence for finding in findings[:MOST_FINDINGS]]
    told += [f"and {len(findings) - MOST_FINDINGS} more"] if len(findings) > MOST_FINDINGS else []
    code = history.exit_code(findings)
    if code == history.REGRESSION:
        return Verdict("Not accepted: something regressed", "bad", f"{counts}.", told)
    if code == history.UNMEASURED:
        return Verdict("Could not be measured completely", "bad", f"{counts}.", told)
    if not judged:
        detail = "No reference says what these numbers should be, so none of them passed or failed."
        return Verdict(
            "Measured, not judged",
            "open",
            f"{counts}. {detail}" if values else f"No ReFrame session was found. {detail}",
            [],
        )
    return Verdict(
        "Accepted: every judged metric is within its band",
        "good",
        f"{counts}; the others are recorded only.",
        [],
    )


def _commit(provenance: dict) -> str:
    changed = ", with changes" if provenance.get("git_dirty") else ""
    return f"{provenance['git_commit']}{changed}" if provenance.get("git_commit") else ""


def _hosts(run) -> str:
    hosts = dict.fromkeys(host for host in run.column("ranks", "hostname") if host)
    return ", ".join(map(str, hosts or run.provenance.get("nodelist") or ()))


def _where(runs: list, cases: list) -> list:
    """What was run where: the newest sessions, and the newest record of every system and
    workload."""
    rows = []
    for case in newest(cases):
        e = case.evidence
        when, place = (
            iso(case.time) if math.isfinite(case.time) else None,
            " ".join((case.check, case.point)),
        )
        cells = (
            case.system,
            place,
            when,
            case.result,
            e.get("image") or "native, no image",
            e.get("commit"),
            ", ".join(case.nodelist),
        )
        rows.append([cell(v) for v in (*cells, e.get("dataset"))])
    columns = ("system", "check", "ended (UTC)", "result", "image", "commit", "nodes", "data")
    latest: dict = {}
    for run in runs:
        if run.path:
            latest[run.system, run.workload] = run
    users: dict = {}  # of a version of a package: the workloads
    for run in latest.values():
        for name, version in {
            **(run.provenance.get("packages") or {}),
            **(run.provenance.get("libraries") or {}),
        }.items():
            users.setdefault((run.system, name, str(version)), []).append(run.workload)
    packages = [
        [*map(cell, key), cell(", ".join(workloads))] for key, workloads in sorted(users.items())
    ]
    origins = [
        [
            cell(v)
            for v in (
                run.system,
                run.workload,
                run.time,
                p.get("image_digest") or "native, no image",
                _commit(p),
                _hosts(run),
            )
        ]
        + [cell(p.get("dataset_digest"))]
        for run in latest.values()
        for p in [run.provenance]
    ]
    machines = [
        [
            cell(run.system),
            cell(run.workload),
            cell(run.provenance.get("processor")),
            cell(run.provenance.get("kernel")),
        ]
        + [
            cell(
                ", ".join(
                    sorted({str(device) for device in run.column("ranks", "device") if device})
                )
            ),
            cell(run.nodes),
            cell(run.devices),
        ]
        for run in latest.values()
    ]
    origin_columns = ("system", "workload", "began (UTC)", "image", "commit", "nodes", "data")
    machine_columns = ("system", "workload", "processor", "kernel", "devices", "nodes", "ranks")
    software_columns = ("system", "package", "version", "workloads")
    return [
        Table("Newest sessions", columns, rows, [] if rows else ["No ReFrame session was found."]),
        Table(
            "Newest records", origin_columns, origins, [] if origins else ["No record was found."]
        ),
        Table(
            "Machines of the newest records",
            machine_columns,
            machines,
            [] if machines else ["No record was found."],
        ),
        Table(
            "Software of the newest records",
            software_columns,
            packages,
            [] if packages else ["No record names the versions of its packages."],
        ),
    ]


def _metrics(cases: list) -> Table:
    columns = (
        "system",
        "check",
        "metric",
        "value",
        "reference",
        "lowest good",
        "highest good",
        "origin",
        "source",
        "verdict",
    )
    rows = []
    for case in newest(cases):
        for metric, v in sorted(case.values.items()):
            state = verdict.judge(metric, v)[0]
            numbers = [cell(x, v.unit) for x in (v.value, v.reference, v.low, v.high)]
            rows.append(
                [
                    cell(case.system),
                    cell(f"{case.check} {case.point}"),
                    cell(metric),
                    *numbers,
                    cell(v.origin),
                    cell(v.source),
                    Cell(state, None, MARKS[state]),
                ]
            )
    return Table(
        "Every metric of the newest sessions",
        columns,
        rows,
        [] if rows else ["No ReFrame session was found: nothing was judged."],
    )


def _preflight(cases: list) -> Table:
    rows = []
    for case in newest(cases):
        if "preflight" in case.check:
            mark = "good" if case.result in ("pass", "xfail") else "bad"
            rows.append(
                [
                    cell(case.system),
                    cell(f"{case.check} {case.point}"),
                    Cell(case.result, None, mark),
                    cell(case.reason),
                ]
            )
    return Table(
        "Preflight",
        ("system", "check", "result", "reason"),
        rows,
        [] if rows else ["No preflight check is among the newest sessions."],
    )


def _changes(series: list) -> Table:
    rows = []
    for one in series:
        for event in one.events:
            c = event.change
            mark = {"worse": "bad", "better": "good"}.get(event.direction, "open")
            effect = Cell(
                percent(c.effect), 100 * c.effect if math.isfinite(c.effect) else None, mark
            )
            cells = (
                cell(" ".join(one.key[:3])),
                cell(one.key[3]),
                cell(day(event.since)),
                effect,
                cell(c.strength),
                cell(c.runs),
            )
            more = (
                cell("yes" if c.lasting else "over"),
                cell(", ".join(event.with_it) or "nothing recorded"),
            )
            rows.append((event.since, [*cells, *more]))
    columns = (
        "where",
        "metric",
        "since",
        "change",
        "strength (noise deviations)",
        "runs",
        "lasting",
        "changed with it",
    )
    rows.sort(key=lambda row: row[0], reverse=True)
    notes = (
        [
            f"The newest {MOST_ROWS} of {len(rows)}; all are in changes.csv of `python -m plots "
            "history`."
        ]
        if len(rows) > MOST_ROWS
        else []
    )
    notes += [] if rows else ["No lasting change was found."]
    return Table("Lasting changes", columns, [row for _, row in rows[:MOST_ROWS]], notes)


def _scores(table: tables.Table) -> Table:
    return Table(
        table.title,
        table.columns,
        [
            [Cell(tables.text(v), None if isinstance(v, str) or v != v else v) for v in row]
            for row in table.rows
        ],
        table.notes,
    )


def _picture(panel: figure.Panel, data) -> Picture:
    command = "history" if panel is timeline.PANEL else "figures"
    drawn, rows, notes = figure.build(panel, data)
    text = figure.svg(drawn, panel.name)
    plt.close(drawn)
    kept = [[cell(row.get(column)) for column in panel.columns] for row in rows[:MOST_ROWS]]
    cut = (
        [
            f"The first {MOST_ROWS} of {len(rows)} rows; all are in {panel.name}.csv of `python -m "
            f"plots {command}`."
        ]
        if len(rows) > MOST_ROWS
        else []
    )
    return Picture(
        panel.title,
        text[text.index("<svg") :],
        Table(panel.title, panel.columns, kept, notes + cut),
        panel.name in PHOTOGRAPHIC,
    )


SECTIONS = (  # id, title, panels
    (
        "scaling",
        "Scaling",
        (
            "fig3_time_per_epoch",
            "fig4_time_per_epoch",
            "efficiency",
            "throughput_per_device",
            "fig5_training_time",
            "phases",
        ),
    ),
    (
        "accuracy",
        "Accuracy",
        (
            "fig6_f1",
            "learning_curves",
            "f1_per_class",
            "f1_against_support",
            "batch_study",
            "samples",
        ),
    ),
    ("nodes", "Slow nodes", ("step_time_by_rank",)),
    ("history", "History", (timeline.PANEL.name,)),
)


def sections(runs: list, cases: list, series: list) -> list:
    """All sections of the page, in order."""
    figure.use_style()
    pictures = {panel.name: _picture(panel, runs) for panel in figures.PANELS}
    pictures[timeline.PANEL.name] = _picture(timeline.PANEL, series)
    drawn = {
        key: Section(key, title, [], [], [pictures[name] for name in panels])
        for key, title, panels in SECTIONS
    }
    drawn["scaling"].text.append(
        "The thin grey line, dashed, is the limit: a time that falls as 1 / devices from the "
        "smallest size that was run."
    )
    drawn["accuracy"].tables.extend(
        _scores(table) for table in (tables.table2(runs), tables.table3(runs))
    )
    slow = ranks.slow_nodes(ranks.rank_rows(runs)[0])
    told = ", ".join(f"{node} (+{excess:.0f} %)" for node, excess in slow.items())
    drawn["nodes"].text.append(
        f"Slow: {told}."
        if slow
        else f"No node's median step is {100 * (ranks.SLOW - 1):.0f} % above the median node's."
    )
    drawn["history"].tables.append(_changes(series))
    return [
        Section("where", "What was run where", [], _where(runs, cases), []),
        Section("metrics", "Metrics and verdicts", [], [_metrics(cases)], []),
        drawn["scaling"],
        drawn["accuracy"],
        Section("preflight", "Preflight", [], [_preflight(cases)], []),
        drawn["nodes"],
        drawn["history"],
    ]


def page(found: Results, config: Config) -> str:
    """The whole report as HTML."""
    series = history.histories(found.cases)
    findings = history.judge(found.cases, series, config.recent, config.min_effect)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGE),
        autoescape=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("template.html").render(
        verdict=judge(found.cases, findings),
        made=datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        source=f"{describe(found.runs)}, {len({case.session for case in found.cases})} "
        "ReFrame sessions",
        sections=sections(found.runs, found.cases, series),
        style=markupsafe.Markup((PAGE / "style.css").read_text(encoding="utf-8")),
        script=markupsafe.Markup((PAGE / "script.js").read_text(encoding="utf-8")),
    )


def run(config: Config) -> None:
    """Writes the report and prints its path."""
    found = load(config.results)
    out = Path(config.out)
    figure.output_folder(out.parent)
    export.write_text(out, page(found, config))
    print(f"{out.stat().st_size / 1e6:.1f} MB", file=sys.stderr)
    print(out)
