"""What a run's numbers mean, from ReFrame's own report: a table of verdicts and lines that a person can act on."""

from dataclasses import dataclass
from typing import Optional

NOT_JUDGED = "no reference: recorded, not judged"


@dataclass(frozen=True)
class Row:
    """One metric of one test case.

    Attributes:
        case: the check and its point, and where it ran.
        value, unit: as measured.
        reference: the number compared with and its band, in words.
        verdict: in words; `good` says whether it lets the run pass.
        origin: where the reference comes from.
    """

    case: str
    metric: str
    value: Optional[float]
    unit: str
    reference: str
    verdict: str
    origin: str
    good: bool = True


def last_cases(report: dict) -> list:
    """The last execution of every test case of a session, retries included, in the order in which they ran."""
    last = {}
    for run in report["runs"]:
        for case in run["testcases"]:
            last[case["unique_name"], case["partition"], case["environ"]] = case
    return list(last.values())


def rows(report: dict) -> list:
    """The verdict on every metric; a case that failed before its numbers were taken has one row that says why."""
    found = []
    for case in last_cases(report):
        name = f"{case.get('check') or case['name'].split()[0]} {case.get('point') or ''}".strip() + f" @{case['partition']}"
        if case["result"] == "skip":
            continue
        if case["result"] not in ("pass", "xfail") and case["fail_phase"] != "performance":
            reason = " ".join(str(case["fail_reason"] or "a check it depends on failed").split())
            stage = f"FAILED in {case['fail_phase']}" if case["fail_phase"] else "NOT RUN"
            found.append(Row(name, "-", None, "", "-", f"{stage}: {reason}", "-", good=False))
            continue
        if not case["perfvalues"] and not case["fixture"]:
            found.append(Row(name, "-", None, "", "-", "pass", "-"))
        for key, (value, reference, lower, upper, unit, result) in case["perfvalues"].items():
            metric = key.split(":")[-1]
            cell = case["cells"][metric]
            if cell["origin"] == "unknown":
                found.append(Row(name, metric, value, unit, "-", NOT_JUDGED, "unknown"))
                continue
            band = _band(reference, lower, upper)
            origin = f"{cell['origin']} {cell['date']}, {cell['runs']} run(s)"
            found.append(Row(name, metric, value, unit, band, *_judge(value, reference, lower, upper, result, origin)))
    return found


def _band(reference, lower, upper) -> str:
    low = f"{reference * (1 + lower):.4g}" if lower is not None else "any"
    high = f"{reference * (1 + upper):.4g}" if upper is not None else "any"
    return f"{reference:.4g} [{low} .. {high}]"


def _judge(value, reference, lower, upper, result, origin) -> tuple:
    if result in ("pass", "xfail"):
        return ("pass" if result == "pass" else "expected failure", origin, True)
    distance = f"{(value / reference - 1) * 100:+.1f} %"
    side = "above" if value > reference else "below"
    return (f"FAIL: {distance}, {side} the band", origin, False)


def table(found: list) -> str:
    """The rows as aligned text, and a line that counts them."""
    lines = [("check", "metric", "value", "reference [band]", "verdict", "origin")]
    for row in found:
        value = "-" if row.value is None else f"{row.value:.4g} {row.unit if row.unit != '1' else ''}".strip()
        lines.append((row.case, row.metric, value, row.reference, row.verdict, row.origin))
    widths = [max(len(line[i]) for line in lines) for i in range(4)]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)) + f"  {line[4]}" for line in lines]
    text = [line if row[5] in ("-", "unknown") else f"{line}  ({row[5]})" for line, row in zip(text, lines)]
    return "\n".join([*text, "", count(found)])


def count(found: list) -> str:
    unjudged = sum(row.verdict == NOT_JUDGED for row in found)
    failed = sum(not row.good for row in found)
    return f"{len(found)} verdicts: {len(found) - unjudged - failed} passed, {failed} failed, {unjudged} without a reference (recorded, not judged)"
