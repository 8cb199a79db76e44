"""The history and the verdicts in other programs' formats: CSV, Parquet, JSON lines, OpenMetrics,
JUnit, Markdown."""

import io
import math
import re
from pathlib import Path

from bigearth.files import new_file

from . import verdict
from .history import Judgement
from .values import day, iso, percent, quantity

MOST_FINDINGS = 20  # that a summary names
MOST_ROWS = 60  # of each table of a summary
LABELS = ("system", "check", "point")
VALUES = {  # column -> its type
    "system": str,
    "check": str,
    "point": str,
    "metric": str,
    "time": str,
    "value": float,
    "unit": str,
    "level": float,
    "reference": float,
    "low": float,
    "high": float,
    "origin": str,
    "verdict": str,
    "session": str,
    "image": str,
    "commit": str,
    "nodelist": str,
}
CHANGES = (
    "system",
    "check",
    "point",
    "metric",
    "since",
    "before",
    "after",
    "unit",
    "effect",
    "kind",
    "runs",
    "direction",
    "changed",
    "acknowledged",
)
UNITS = {  # ours -> (OpenMetrics', factor)
    "s": ("seconds", 1.0),
    "J": ("joules", 1.0),
    "img/s": ("images_per_second", 1.0),
    "patches/s": ("patches_per_second", 1.0),
    "GB/s": ("bytes_per_second", 1e9),
    "1": ("ratio", 1.0),
}


def value_columns(judged: Judgement) -> dict:
    """Every measured value of every series, by column (the columns of VALUES)."""
    columns: dict = {name: [] for name in VALUES}
    now = {(row.case.session, row.key): row.state for row in judged.rows}
    for one in judged.series:
        for case, value, level in zip(one.cases, one.values, one.levels()):
            known = case.values[one.key[3]]
            own = verdict.judge(one.key[3], known)[0]
            row = {
                **dict(zip((*LABELS, "metric"), one.key)),
                "time": iso(case.time),
                "value": value,
                "unit": one.unit,
                "level": level,
                "reference": known.reference,
                "low": known.low,
                "high": known.high,
                "origin": known.origin,
                "verdict": now.get((case.session, one.key), own),
                "session": case.session,
                "image": case.evidence.get("image"),
                "commit": case.evidence.get("commit"),
                "nodelist": ",".join(case.nodelist),
            }
            for name, column in columns.items():
                column.append(row[name])
    return columns


def change_rows(series: list) -> list:
    """Every lasting change, as dicts with the columns of CHANGES."""
    rows = []
    for one in series:
        for event in one.events:
            alarm = event.alarm
            known = alarm.acknowledged
            cells = (
                *one.key,
                iso(event.since),
                event.before,
                event.after,
                one.unit,
                event.effect,
                alarm.kind,
                event.runs,
                event.direction,
                ", ".join(event.with_it),
                f"{known.name}: {known.reason}" if known else "",
            )
            rows.append(dict(zip(CHANGES, cells)))
    return rows


class _Families:
    """Collects gauges for prometheus_client; a family is made when its first sample comes."""

    def __init__(self):
        self._families = {}

    def add(self, name: str, text: str, labels: dict, value: float) -> None:
        """One sample; a second one of the same labels is left out, as the format asks."""
        from prometheus_client.core import GaugeMetricFamily

        family, seen = self._families.get(name, (None, set()))
        if family is None:
            family = GaugeMetricFamily(name, text, labels=list(labels))
            self._families[name] = (family, seen)
        key = tuple(labels.values())
        if key not in seen and not math.isnan(value):
            seen.add(key)
            family.add_metric(list(key), value)

    def collect(self):
        """For prometheus_client."""
        return [family for family, _ in self._families.values() if family.samples]


def openmetrics(judged: Judgement) -> str:
    """The newest value of every metric with its reference, limits and verdict, in base units and
    without times, as node_exporter's textfile collector takes it."""
    from prometheus_client.openmetrics.exposition import generate_latest

    families = _Families()
    for row in judged.rows:
        labels = dict(zip((*LABELS, "metric"), row.key))
        for state in verdict.STATES:
            text = "1 for the state that the verdict is in, else 0."
            is_it = float(state == row.state)
            families.add("bigearth_verdict", text, {**labels, "state": state}, value=is_it)
        if row.value is None:
            continue
        suffix, factor = UNITS.get(row.value.unit, ("", 1.0))
        parts = {
            "": (row.value.value, "Newest value"),
            "_reference": (row.value.reference, "Reference"),
            "_lowest_good": (row.value.low, "Lower limit"),
            "_highest_good": (row.value.high, "Upper limit"),
        }
        for part, (value, words) in parts.items():
            if part and not row.value.judged:
                continue
            name = f"bigearth_{row.metric}{part}" + (f"_{suffix}" if suffix else "")
            text = f"{words} in {suffix or 'its own unit'}; docs/methodology.md defines the metric."
            families.add(re.sub(r"[^a-zA-Z0-9_]", "_", name), text, labels, value=value * factor)
    return generate_latest(families).decode()


def junit(judged: Judgement) -> str:
    """JUnit XML: a test case per verdict: failed is a failure, not measured an error, not judged
    skipped; findings that are about no single verdict are errors of their own. What Ant's schema
    demands beside them is there, too."""
    from junitparser import Attr, Error, Failure, JUnitXml, Skipped, TestCase, TestSuite
    from junitparser.junitparser import SystemErr, SystemOut

    class Suite(TestSuite):
        package, id = Attr(), Attr()

    kinds = {
        verdict.FAILED: Failure,
        verdict.NOT_MEASURED: Error,
        verdict.NOT_JUDGED: Skipped,
    }
    suite = Suite("history")
    suite.package, suite.id, suite.hostname = "bigearth-bench", "0", "localhost"
    suite.timestamp = iso(newest_time(judged.cases, 0.0))[:19]
    suite.add_property("sessions", str(len({case.session for case in judged.cases})))
    told = set()
    for row in judged.rows:
        told |= {row.key, row.case.key}
        system, check, point, metric = row.key
        case = TestCase(f"{point} {metric}".strip() or check, f"{system}.{check}", 0)
        if row.state != verdict.PASSED:
            case.result = [kinds[row.state](row.detail, type_=row.state)]
        suite.add_testcase(case)
    for finding in judged.findings:
        if finding.series not in told:
            case = TestCase(finding.series[-1], ".".join(finding.series[:2]), 0)
            case.result = [Error(finding.sentence, type_=verdict.NOT_MEASURED)]
            suite.add_testcase(case)
    for stream in (SystemOut(""), SystemErr("")):
        suite.append(stream)
    document = JUnitXml()
    document.add_testsuite(suite)
    return document.tostring().decode()


def newest_time(cases: list, missing: float) -> float:
    """When the newest case ended (Unix s); `missing` if no time is known."""
    return max((case.time for case in cases if math.isfinite(case.time)), default=missing)


def pipes(cells) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def _sentences(judged: Judgement) -> list:
    """What is wrong, what is known, and what was left out, a line each."""
    findings, series = judged.findings, judged.series
    lines = [f"- {finding.sentence}" for finding in findings[:MOST_FINDINGS]]
    if len(findings) > MOST_FINDINGS:
        lines.append(f"- and {len(findings) - MOST_FINDINGS} more in junit.xml")
    older = sum(len(one.older) for one in series)
    if older:
        lines.append(f"- {older} values of an older commit, measured later, are not judged")
    told = {finding.series for finding in findings}
    others = [(one, one.events[-1]) for one in series if one.events and one.key not in told]
    for one, event in others[:10]:
        lines.append(f"- (known) {' '.join(one.key[:3])}: {event.sentence(one.key[3])}")
    return lines


def _verdicts(judged: Judgement) -> list:
    """The Markdown table of verdicts; those that are not good come first."""
    rows = sorted(judged.rows, key=lambda row: verdict.STATES.index(row.state))
    lines = ["", "| where | metric | value | reference | verdict |", "|:--|:--|--:|--:|:--|"]
    for row in rows[:MOST_ROWS]:
        value = verdict.measured(row.value) if row.value else "–"
        state = row.state if row.good else f"**{row.state}**"
        reference = verdict.band(row.value) if row.value else "–"
        lines.append(pipes((" ".join(row.key[:3]), row.metric, value, reference, state)))
    return lines


def _levels(judged: Judgement) -> list:
    """The Markdown table of the histories; those with a finding come first."""
    bad = {row.key for row in judged.rows if not row.good}
    lines = [
        "",
        "| where | metric | last | level | change | runs |",
        "|:--|:--|--:|--:|--:|--:|",
    ]
    for one in sorted(judged.series, key=lambda one: (one.key not in bad, one.key))[:MOST_ROWS]:
        change = percent(one.events[-1].effect) if one.events else "none"
        last, level = (quantity(v, one.unit) for v in (one.values[-1], one.levels()[-1]))
        metric = f"{one.key[3]} (failed)" if one.key in bad else one.key[3]
        cells = (" ".join(one.key[:3]), metric, last, level, change, len(one.values))
        lines.append(pipes(cells))
    if len(judged.series) > MOST_ROWS:
        lines.append(f"| … | {len(judged.series) - MOST_ROWS} more in history.csv | | | | |")
    return lines


def summary(judged: Judgement) -> str:
    """A Markdown summary of the size of a comment: the verdict, what is wrong, all verdicts, the
    histories."""
    words, state = judged.headline
    cases = judged.cases
    last = newest_time(cases, math.nan)
    when = f", newest {day(last)}" if math.isfinite(last) else ""
    sessions = len({case.session for case in cases})
    lines = [
        f"### {words}",
        "",
        f"{sessions} sessions, {len(judged.series)} series{when}; {verdict.count(judged.rows)}",
        "",
        *_sentences(judged),
    ]
    if not judged.series:
        lines += ["", "No value was measured yet."]
    lines += _verdicts(judged) if judged.rows else []
    return "\n".join([*lines, *(_levels(judged) if judged.series else [])]) + "\n"


def write_text(path: Path, text: str) -> None:
    """Writes a text file; a file with the final name is complete.

    Raises:
        InputError: the folder is not writable or the disk is full.
    """
    with new_file(path, "write it") as partial:
        partial.write_text(text, encoding="utf-8")


def write_all(out: Path, judged: Judgement) -> None:
    """Writes history (CSV, Parquet, JSON lines), changes.csv, metrics.prom and junit.xml into a
    folder.

    Raises:
        InputError: the folder is not writable or the disk is full.
    """
    import polars

    columns = value_columns(judged)
    numbers = [name for name, kind in VALUES.items() if kind is float]
    columns.update(
        {name: [None if math.isnan(v) else v for v in columns[name]] for name in numbers}
    )
    frame = polars.DataFrame(columns, schema=VALUES)
    changes = polars.DataFrame(
        change_rows(judged.series),
        schema=None if any(one.events for one in judged.series) else CHANGES,
    )
    parquet = io.BytesIO()  # polars' own words on a full disk are no sentence
    frame.write_parquet(parquet)
    with new_file(out / "history.parquet", "write it") as partial:
        partial.write_bytes(parquet.getbuffer())
    write_text(out / "history.csv", frame.write_csv())
    write_text(out / "changes.csv", changes.write_csv())
    write_text(out / "history.jsonl", frame.write_ndjson())
    write_text(out / "metrics.prom", openmetrics(judged))
    write_text(out / "junit.xml", junit(judged))
