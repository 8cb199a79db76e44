"""`bigearth-bench report`: one HTML file, readable offline and printable, that a director signs and
an engineer debugs with."""

import datetime
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jinja2
import markupsafe
import matplotlib.pyplot as plt

from bigearth.cli import REQUIRED, option
from bigearth.errors import InputError
from bigearth.files import make_folder, read_bytes
from plots import figure, figures, tables
from plots.cells import MARKS, Cell, Table, cell, scores, state
from plots.origins import origins
from plots.panels import ranks, timeline
from plots.series import by_size, series, trainings
from reframe_tests.results import export, signoff, spread, verdict
from reframe_tests.results.alarms import acknowledgements, read_acknowledgements
from reframe_tests.results.evidence import why_not_faster
from reframe_tests.results.history import MIN_EFFECT, Judgement, judgement
from reframe_tests.results.runs import Results, describe, load
from reframe_tests.results.sessions import newest
from reframe_tests.results.values import day, percent

PAGE = Path(__file__).with_name("page")
MOST_ROWS = 200  # of a picture's data table in the page; the whole table is among the figures
MOST_TILES = 24  # verdicts that have a tile; all are in the table
MOST_FINDINGS = 50  # that are listed under what changed
MOST_SENTENCES = 12  # of why a run was not faster
MOST_SPARKS = 60  # values of a tile's line, the newest ones
LOG_LINES, MOST_LOG_BYTES = 15, 64 << 20  # of a failed job's standard error
PIXELS_PER_POINT = 1.75  # of a picture: its smallest letters (7 pt) have 12 pixels
PHOTOGRAPHIC = ("samples",)  # not to be inverted on a dark screen


@dataclass(frozen=True)
class Config:
    """Options of `bigearth-bench report`."""

    results: str = option(
        REQUIRED, "folder with records, ReFrame's results.db or run-*.json reports"
    )
    out: str = option(REQUIRED, "the HTML file to write")
    min_effect: float = option(
        MIN_EFFECT, "relative changes smaller than this are no regression", least=0.0, most=1.0
    )


class Tile(NamedTuple):
    """One verdict at a glance; `spark` are the points of a line of its history, "" if there is
    none."""

    metric: str
    where: str
    value: str
    reference: str
    state: str
    mark: str
    detail: str
    spark: str


class Failure(NamedTuple):
    """A check that did not pass: where, why, the end of its log, the command that repeats it."""

    name: str
    state: str
    details: list
    nodes: str
    why: str
    log: str
    command: str


class Picture(NamedTuple):
    title: str
    svg: str
    width: int
    table: Table
    photographic: bool


class Section(NamedTuple):
    id: str
    title: str
    text: list
    tables: list
    pictures: list


def _spark(values) -> str:
    """Points of a polyline in a box of 120 x 28 for some values, "" for fewer than three."""
    values = [value for value in values if math.isfinite(value)][-MOST_SPARKS:]
    if len(values) < 3:
        return ""
    low, span = min(values), max(values) - min(values)
    step = 116 / (len(values) - 1)
    heights = [14.0 if not span else 25 - 22 * (value - low) / span for value in values]
    return " ".join(f"{2 + step * i:.1f},{height:.1f}" for i, height in enumerate(heights))


def tiles(judged: Judgement) -> list:
    """A tile for every verdict, worst first; a small number of them if there are many."""
    series = {one.key: one.values for one in judged.series}
    found = []
    for row in sorted(judged.rows, key=lambda row: verdict.STATES.index(row.state)):
        value = row.value
        found.append(
            Tile(
                metric=row.metric or row.case.check,
                where=" ".join(part for part in row.key[:3] if part),
                value=verdict.measured(value) if value else "",
                reference=f"reference {verdict.band(value)}" if value and value.judged else "",
                state=row.state,
                mark=MARKS[row.state],
                detail=figure.short(row.detail, 200),
                spark=_spark(series.get(row.key, ())),
            )
        )
    return found[:MOST_TILES]


def _log(case) -> str:
    """The end of a job's standard error, if its file is still there."""
    if not case.output or not case.stderr or "/" in case.stderr:
        return ""
    try:
        data = read_bytes(Path(case.output) / case.stderr, "log", MOST_LOG_BYTES)
    except InputError:
        return ""
    lines = [line for line in data.decode(errors="replace").splitlines() if line.strip()]
    return "\n".join(figure.short(line, 200) for line in lines[-LOG_LINES:])


def failures(judged: Judgement) -> list:
    """Every case of the newest sessions that did not pass, with what helps to find out why."""
    by_case: dict = {}
    for row in judged.rows:
        if not row.good:
            by_case.setdefault((row.case.session, row.case.key, row.case.environ), []).append(row)
    found = []
    for rows in by_case.values():
        case = rows[0].case
        found.append(
            Failure(
                name=case.name,
                state=min((row.state for row in rows), key=verdict.STATES.index),
                details=[f"{row.metric}: {row.detail}".removeprefix(": ") for row in rows],
                nodes=", ".join(case.nodelist),
                why=next((row.why for row in rows if row.why), ""),
                log=_log(case),
                command=verdict.repeat(case),
            )
        )
    return found


def _metrics(judged: Judgement) -> Table:
    columns = (
        "system",
        "check",
        "metric",
        "value",
        "reference",
        "lowest good",
        "highest good",
        "origin",
        "verdict",
        "why",
    )
    rows = []
    for row in judged.rows:
        v = row.value
        numbers = [Cell("–")] * 5
        if v is not None:
            shown = cell(v.value, v.unit)
            if shown.number is not None:
                shown = shown._replace(text=verdict.measured(v))  # with its interval
            limits = (v.reference, v.low, v.high) if v.judged else (None, None, None)
            numbers = [shown, *(cell(x, v.unit) for x in limits), cell(verdict.basis(v))]
        name = f"{row.case.check} {row.case.point}"
        words = [cell(row.case.system), cell(name), cell(row.metric)]
        rows.append([*words, *numbers, state(row.state), cell(row.detail)])
    notes = [] if rows else ["No ReFrame session was found: nothing was judged."]
    return Table("Every metric of the newest sessions", columns, rows, notes=notes)


def _preflight(runs: list) -> Table:
    """What the newest preflight of every system and size found."""
    latest = {
        (run.system, run.nodes): run
        for run in runs
        if run.workload == "preflight" and run.table("checks")
    }
    marks = {"PASS": "good", "WARN": "open", "FAIL": "bad"}
    rows = []
    for (system, nodes), run in sorted(latest.items()):
        for line in run.table("checks"):
            status = str(line.get("status"))
            words = [line.get(name) for name in ("found", "expected", "remedy")]
            where = [cell(system), cell(nodes), cell(line.get("host")), cell(line.get("check"))]
            rows.append([*where, Cell(status, None, marks.get(status, "")), *map(cell, words)])
    order = {"bad": 0, "open": 1}
    rows.sort(key=lambda row: order.get(row[4].mark, 2))
    columns = ("system", "nodes", "host", "check", "result", "found", "expected", "remedy")
    return Table("Checks before the work, faults first", columns, rows)


def _changes(judged: Judgement) -> Table:
    rows = []
    for one in judged.series:
        for event in one.events:
            effect = event.effect
            mark = "good" if event.direction == "better" else "bad" if event.open else "open"
            number = 100 * effect if math.isfinite(effect) else None
            known = event.alarm.acknowledged
            cells = [
                cell(" ".join(one.key[:3])),
                cell(one.key[3]),
                cell(day(event.since)),
                Cell(percent(effect), number, mark),
                cell(event.runs),
                cell(", ".join(event.with_it) or "nothing recorded"),
                cell(f"{known.name}: {known.reason}" if known else None),
            ]
            rows.append((event.since, cells))
    columns = ("where", "metric", "since", "change", "runs", "changed with it", "acknowledged")
    rows.sort(key=lambda row: row[0], reverse=True)
    notes = []
    if len(rows) > MOST_ROWS:
        notes.append(
            f"The newest {MOST_ROWS} of {len(rows)}; all are in the history's changes.csv."
        )
    return Table("Lasting changes", columns, [row for _, row in rows[:MOST_ROWS]], notes=notes)


def _picture(panel: figure.Panel, data):
    """A panel for the page, None if it has nothing measured to show."""
    rows, notes = panel.rows(data)
    if not figure.worth_drawing(rows):
        return None
    drawn = figure.draw(panel, rows, notes)
    text = figure.svg(drawn, panel.name)
    width = round(drawn.get_figwidth() * 72 * PIXELS_PER_POINT)
    plt.close(drawn)
    kept = [[cell(row.get(column)) for column in panel.columns] for row in rows[:MOST_ROWS]]
    if len(rows) > MOST_ROWS:
        notes = [*notes, f"The first {MOST_ROWS} of {len(rows)} rows; all are in {panel.name}.csv."]
    return Picture(
        title=panel.title,
        svg=text[text.index("<svg") :],
        width=width,
        table=Table(panel.title, panel.columns, kept, notes=notes),
        photographic=panel.name in PHOTOGRAPHIC,
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
)


def _sentences(runs: list) -> list:
    """Why the last run of every series and size was not faster, a line each, largest first."""
    found = []
    for label, group in series(trainings(runs)).items():
        for (nodes, devices), same in by_size(group).items():
            told = next(filter(None, map(_sentence, reversed(same))), None)
            if told:
                where = f"{label}, {nodes} node{'s' * (nodes > 1)}"
                found.append((devices, f"{figure.short(where)}: {figure.short(told, 400)}"))
    lines = [line for _, line in sorted(found, key=lambda pair: -pair[0])]
    more = [f"and {len(lines) - MOST_SENTENCES} more"] if len(lines) > MOST_SENTENCES else []
    return lines[:MOST_SENTENCES] + more


def _sentence(run):
    """From the run's record; from what its check kept, where that is all there is."""
    if run.path is None:
        return run.case.evidence.get("efficiency")
    return why_not_faster(run.workload, run.efficiency)


def _limits(runs: list, pictures: dict) -> Section:
    return Section(
        id="limits",
        title="Why not faster",
        text=_sentences(runs),
        tables=[],
        pictures=_shown(pictures, ("why_not_faster", "losses")),
    )


def _shown(pictures: dict, names: tuple) -> list:
    return [pictures[name] for name in names if pictures[name] is not None]


def _rates(rows: list) -> Table:
    """How often each check passed, on all nodes and on each."""
    cells = [
        [
            cell(rate.name),
            cell(rate.node or "all"),
            cell(rate.runs),
            Cell(str(rate.passed), rate.passed, "" if rate.passed == rate.runs else "bad"),
        ]
        for rate in spread.rates(rows)
    ]
    columns = ("check", "node", "runs", "runs passed")
    return Table("Runs per check and node", columns, rows=cells)


def _between(found: list) -> Table:
    """The value of every node beside the median of all."""
    columns = ("check", "metric", "node", "runs", "median", "worse than all by", "stands out")
    rows = []
    for one in found:
        for node, value in one.medians.items():
            part, out = one.worse(value), node in one.outliers
            words = [cell(one.name), cell(one.metric), cell(node), cell(len(one.nodes[node]))]
            worse = Cell(percent(part), 100 * part, "bad" if out else "")
            rows.append((-part, [*words, cell(value, one.unit), worse, cell("yes" if out else "")]))
    rows.sort(key=lambda row: row[0])
    more = [f"The worst {MOST_ROWS} of {len(rows)}."] if len(rows) > MOST_ROWS else []
    kept = [cells for _, cells in rows[:MOST_ROWS]]
    return Table("Nodes, the worst first", columns, rows=kept, notes=[spread.RULE, *more])


def _nodes(runs: list, judged: Judgement, pictures: dict) -> Section:
    slow = ranks.slow_nodes(ranks.rank_rows(runs)[0])
    told = ", ".join(f"{node} (+{excess:.0f} %)" for node, excess in slow.items())
    none = f"No node's median step is {100 * (ranks.SLOW - 1):.0f} % above the median node's."
    shown = _shown(pictures, ("step_time_by_rank",))
    text = [f"Slow: {told}." if slow else none] if shown else []
    found = spread.spreads(spread.cases_of(judged.rows))
    text += [f"{sentence}." for sentence in spread.advice(found)]
    # a run passes by its own band: an alarm of the history is about the series
    rates = _rates(verdict.rows(newest(judged.cases)))
    tables_ = [table for table in (_between(found), rates) if table.rows]
    return Section(id="nodes", title="Map of nodes", text=text, tables=tables_, pictures=shown)


def _signed(judged: Judgement) -> dict:
    """What the section to sign shows."""
    page = signoff.sign_off(judged.rows, newest(judged.cases))
    facts = [[cell(name), cell(text)] for name, text in page.facts]
    lists = (
        ("Failed", page.failed),
        ("Could not be measured", page.not_measured),
        ("Not run", page.not_run),
        ("Not judged", page.not_judged),
    )
    return {
        "headline": page.headline,
        "mark": MARKS[page.state],
        "facts": Table("Machine and software", ("what", "found"), rows=facts),
        "passed": len(page.passed),
        "lists": [(title, _cut(lines), len(lines)) for title, lines in lists if lines],
    }


def _cut(lines: list) -> list:
    more = [f"and {len(lines) - MOST_FINDINGS} more"] if len(lines) > MOST_FINDINGS else []
    return [figure.short(line, 300) for line in lines[:MOST_FINDINGS]] + more


def sections(runs: list, judged: Judgement) -> list:
    """The sections of the page after the verdict, in order; those without anything to show are
    left out."""
    figure.use_style()
    pictures = {panel.name: _picture(panel, runs) for panel in figures.PANELS}
    pictures[timeline.PANEL.name] = _picture(timeline.PANEL, judged.series)
    drawn = {
        key: Section(id=key, title=title, text=[], tables=[], pictures=_shown(pictures, panels))
        for key, title, panels in SECTIONS
    }
    if drawn["scaling"].pictures:
        drawn["scaling"].text.append(
            "The thin grey line, dashed, is the limit: a time that falls as 1 / devices from the "
            "smallest size that was run."
        )
    drawn["accuracy"].tables.extend(scores(t(runs)) for t in (tables.table2, tables.table3))
    preflight, history = _preflight(runs), _shown(pictures, (timeline.PANEL.name,))
    found = [
        _limits(runs, pictures),
        Section(
            "preflight", "Preflight", [], tables=[preflight] if preflight.rows else [], pictures=[]
        ),
        _nodes(runs, judged, pictures),
        Section("metrics", "Metrics and verdicts", [], tables=[_metrics(judged)], pictures=[]),
        *drawn.values(),
        Section("history", "History", [], tables=[], pictures=history),
        Section(
            "origins", "What was run where", [], tables=origins(runs, judged.cases), pictures=[]
        ),
    ]
    return [section for section in found if section.tables or section.pictures or section.text]


def page(found: Results, config: Config) -> str:
    """The whole report as HTML."""
    known = read_acknowledgements(acknowledgements(config.results))
    judged = judgement(found.cases, known, config.min_effect)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGE),
        autoescape=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    words, word = judged.headline
    told = [finding.sentence for finding in judged.findings[:MOST_FINDINGS]]
    if len(judged.findings) > MOST_FINDINGS:
        told.append(f"and {len(judged.findings) - MOST_FINDINGS} more")
    limits = _sentences(found.runs)
    return environment.get_template("template.html").render(
        headline=words,
        mark=MARKS[word],
        limit=limits[0] if limits else "",
        counts=verdict.count(judged.rows),
        tiles=tiles(judged),
        more=max(0, len(judged.rows) - MOST_TILES),
        findings=told,
        changes=_changes(judged),
        unchanged=judged.unchanged,
        failures=failures(judged),
        made=datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        source=f"{describe(found.runs)}, {len({case.session for case in found.cases})} "
        "ReFrame sessions",
        sections=sections(found.runs, judged),
        signed=_signed(judged),
        style=markupsafe.Markup((PAGE / "style.css").read_text(encoding="utf-8")),
        script=markupsafe.Markup((PAGE / "script.js").read_text(encoding="utf-8")),
    )


def run(config: Config) -> None:
    """Writes the report and prints its path."""
    found = load(config.results)
    out = Path(config.out)
    make_folder(out.parent)
    export.write_text(out, page(found, config))
    print(f"{out.stat().st_size / 1e6:.1f} MB", file=sys.stderr)
    print(out)
