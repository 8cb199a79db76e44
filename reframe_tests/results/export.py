"""The history in other programs' formats: CSV, Parquet, OpenMetrics, JUnit."""

import datetime
import io
import math
import re
from pathlib import Path
from xml.sax.saxutils import quoteattr

from bigearth.files import new_file

from .history import REGRESSION, UNMEASURED, exit_code
from .values import day, iso, percent, quantity

MOST_FINDINGS = 20  # that a summary tells
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
    "strength",
    "runs",
    "lasting",
    "direction",
    "changed",
)
UNITS = {  # ours -> (OpenMetrics', factor)
    "s": ("seconds", 1.0),
    "J": ("joules", 1.0),
    "img/s": ("images_per_second", 1.0),
    "patches/s": ("patches_per_second", 1.0),
    "GB/s": ("bytes_per_second", 1e9),
    "1": ("ratio", 1.0),
}


def value_columns(series: list) -> dict:
    """Every measured value of every series, by column (the columns of VALUES)."""
    columns: dict = {name: [] for name in VALUES}
    for one in series:
        for case, value, level in zip(one.cases, one.values, one.levels()):
            judged = case.values[one.key[3]]
            row = (
                *one.key,
                iso(case.time),
                value,
                one.unit,
                level,
                judged.reference,
                judged.low,
                judged.high,
                judged.origin,
                judged.verdict,
            )
            where = (
                case.session,
                case.evidence.get("image"),
                case.evidence.get("commit"),
                ",".join(case.nodelist),
            )
            for column, cell in zip(columns.values(), (*row, *where)):
                column.append(cell)
    return columns


def change_rows(series: list) -> list:
    """Every lasting change, as dicts with the columns of CHANGES."""
    rows = []
    for one in series:
        for event in one.events:
            c = event.change
            cells = (
                *one.key,
                iso(event.since),
                c.before,
                c.after,
                one.unit,
                c.effect,
                c.strength,
                c.runs,
                c.lasting,
                event.direction,
            )
            rows.append(dict(zip(CHANGES, (*cells, ", ".join(event.with_it)))))
    return rows


def openmetrics(series: list) -> str:
    """The newest value of every series as OpenMetrics text, base units, with its time."""
    families: dict = {}
    for one in series:
        suffix, factor = UNITS.get(one.unit, ("", 1.0))
        name = re.sub(
            r"[^a-zA-Z0-9_]", "_", f"bigearth_{one.key[3]}" + (f"_{suffix}" if suffix else "")
        )
        families.setdefault(name, (suffix, factor, []))[2].append(one)
    lines = []
    for name, (suffix, factor, members) in sorted(families.items()):
        lines += [f"# TYPE {name} gauge"] + ([f"# UNIT {name} {suffix}"] if suffix else [])
        lines.append(
            f"# HELP {name} Newest value of {_escape(members[0].key[3])} in "
            f"{suffix or 'its own unit'}, see docs/methodology.md"
        )
        for one in members:
            labels = ",".join(
                f'{label}="{_escape(value)}"'
                for label, value in zip(("system", "check", "point", "metric"), one.key)
            )
            lines.append(
                f"{name}{{{labels}}} {float(one.values[-1]) * factor!r} {one.cases[-1].time!r}"
            )
    return "\n".join([*lines, "# EOF", ""])


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def junit(series: list, findings: list) -> str:
    """JUnit XML: a test case for every series and for every check that could not be measured;
    findings are its failures."""
    told: dict = {}
    for finding in findings:
        told.setdefault(finding.series, []).append(finding.sentence)
    cases = {one.key: len(one.values) for one in series}
    cases.update({key: 0 for key in told if key not in cases})
    lines = ['<?xml version="1.0" encoding="utf-8"?>', "<testsuites>"]
    stamp = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
    head = (
        f'errors="0" failures="{len(told)}" hostname="history" id="0" name="history" '
        f'package="bigearth" tests="{len(cases)}" time="0"'
    )
    lines.append(f'<testsuite {head} timestamp="{stamp}"><properties/>')
    for key in sorted(cases):
        classname, name = (
            ".".join(part for part in key[:2]),
            " ".join(part for part in key[2:] if part) or key[-1],
        )
        failure = (
            (f'<failure type="history" message={quoteattr("; ".join(told[key]))}/>')
            if key in told
            else ""
        )
        lines.append(
            f"<testcase classname={quoteattr(classname)} name={quoteattr(name)} "
            f'time="0">{failure}</testcase>'
        )
    return "\n".join([*lines, "<system-out/><system-err/>", "</testsuite>", "</testsuites>", ""])


def pipes(cells) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def summary(cases: list, series: list, findings: list) -> str:
    """A Markdown summary of the size of a comment: the verdict, what is wrong, the current
    values."""
    verdict = {0: "steady", REGRESSION: "**regression**", UNMEASURED: "**could not measure**"}[
        exit_code(findings)
    ]
    last = max((case.time for case in cases if math.isfinite(case.time)), default=math.nan)
    when = f", newest {day(last)}" if math.isfinite(last) else ""
    lines = [
        f"### Performance: {verdict}",
        "",
        f"{len({case.session for case in cases})} sessions, {len(series)} series{when}",
        "",
    ]
    lines += [f"- {finding.sentence}" for finding in findings[:MOST_FINDINGS]]
    lines += (
        [f"- and {len(findings) - MOST_FINDINGS} more in junit.xml"]
        if len(findings) > MOST_FINDINGS
        else []
    )
    older = sum(len(one.older) for one in series)
    lines += (
        [f"- {older} values of an older commit, measured later, are not judged"] if older else []
    )
    told = {finding.series for finding in findings}
    others = [(one, one.events[-1]) for one in series if one.events and one.key not in told]
    lines += [
        f"- (known) {' '.join(one.key[:3])}: {event.sentence(one.key[3])}"
        for one, event in others[:10]
    ]
    if not series:
        return "\n".join([*lines, "", "No value was measured yet."]) + "\n"
    lines += [
        "",
        "| where | metric | last | level | change | trend a month | runs |",
        "|:--|:--|--:|--:|--:|--:|--:|",
    ]
    for one in sorted(series, key=lambda one: (one.key not in told, one.key))[:30]:
        change = percent(one.events[-1].change.effect) if one.events else "none"
        trend = percent(one.trend) if one.trend else "none"
        cells = (
            " ".join(one.key[:3]),
            one.key[3],
            quantity(one.values[-1], one.unit),
            quantity(one.levels()[-1], one.unit),
            change,
            trend,
        )
        lines.append(pipes((*cells, len(one.values))))
    lines += (
        [f"| … | {len(series) - 30} more series in history.csv | | | | | |"]
        if len(series) > 30
        else []
    )
    return "\n".join(lines) + "\n"


def write_text(path: Path, text: str) -> None:
    """Writes a text file; a file with the final name is complete.

    Raises:
        InputError: the folder is not writable or the disk is full.
    """
    with new_file(path, "write it") as partial:
        partial.write_text(text, encoding="utf-8")


def write_all(out: Path, series: list, findings: list) -> None:
    """Writes history.csv, history.parquet, changes.csv, metrics.openmetrics and junit.xml into a
    folder.

    Raises:
        InputError: the folder is not writable or the disk is full.
    """
    import polars

    columns = value_columns(series)
    numbers = [name for name, kind in VALUES.items() if kind is float]
    columns.update(
        {name: [None if math.isnan(v) else v for v in columns[name]] for name in numbers}
    )
    frame = polars.DataFrame(columns, schema=VALUES)
    changes = polars.DataFrame(
        change_rows(series), schema=CHANGES if not any(one.events for one in series) else None
    )
    parquet = io.BytesIO()  # polars' own words on a full disk are no sentence
    frame.write_parquet(parquet)
    with new_file(out / "history.parquet", "write it") as partial:
        partial.write_bytes(parquet.getbuffer())
    write_text(out / "history.csv", frame.write_csv())
    write_text(out / "changes.csv", changes.write_csv())
    write_text(out / "metrics.openmetrics", openmetrics(series))
    write_text(out / "junit.xml", junit(series, findings))
