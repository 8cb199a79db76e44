"""What a run's numbers mean, from ReFrame's own report: a table of verdicts and lines that a person
can act on."""

import statistics
from dataclasses import dataclass
from typing import Optional

from bigearth import record

from . import history

# a rank this much slower than the median rank, or a phase that grew this much, is named
STANDS_OUT = 1.05
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
        why: where the time went, for a metric that failed.
    """

    case: str
    metric: str
    value: Optional[float]
    unit: str
    reference: str
    verdict: str
    origin: str
    good: bool = True
    why: str = ""


def last_cases(report: dict) -> list:
    """The last execution of every test case of a session, retries included, in the order in which
    they ran."""
    last = {}
    for run in report["runs"]:
        for case in run["testcases"]:
            last[case["unique_name"], case["partition"], case["environ"]] = case
    return list(last.values())


def rows(report: dict, earlier=()) -> list:
    """The verdict on every metric; a case that failed before its numbers were taken has one row
    that says why.

    Args:
        report: ReFrame's report of one session.
        earlier: cases of earlier sessions (`history.cases`), to say what changed.
    """
    found = []
    for case in last_cases(report):
        name = (
            f"{case.get('check') or case['name'].split()[0]} {case.get('point') or ''}"
        ).strip() + f" @{case['partition']}"
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
            origin = (
                (f"{cell['origin']} {cell['date']}, {cell['runs']} run(s)")
                if "date" in cell
                else f"{cell['origin']}: {cell['source']}"
            )
            verdict, good = _judge(metric, value, reference, result)
            found.append(
                Row(
                    name,
                    metric,
                    value,
                    unit,
                    band,
                    verdict,
                    origin,
                    good,
                    "" if good else why(case, earlier),
                )
            )
    return found


def _band(reference, lower, upper) -> str:
    low = f"{reference * (1 + lower):.4g}" if lower is not None else "any"
    high = f"{reference * (1 + upper):.4g}" if upper is not None else "any"
    return f"{reference:.4g} [{low} .. {high}]"


def _judge(metric, value, reference, result) -> tuple:
    """The verdict in words, and whether it lets the run pass."""
    if result in ("pass", "xfail"):
        return ("pass" if result == "pass" else "expected failure"), True
    worse = (value > reference) == (record.METRICS[metric].better == "lower")
    meaning = (
        "regression"
        if worse
        else ("too good to be true: see that all the work was done, then calibrate")
    )
    return f"FAIL: {(value / reference - 1) * 100:+.1f} %, {meaning}", False


def why(case: dict, earlier) -> str:
    """Which rank was slow and which phase grew since the last good run of the same thing."""
    return "; ".join([_slowest_rank(case["evidence"]["ranks"]), _grown_phase(case, earlier)])


def _slowest_rank(ranks: list) -> str:
    times = [(row["step_time"], row) for row in ranks if row["step_time"] is not None]
    if len(times) < 2:
        return "one rank only" if len(ranks) < 2 else "step times of ranks were not recorded"
    middle = statistics.median_low(time for time, _ in times)
    time, row = max(times, key=lambda pair: pair[0])
    if time < STANDS_OUT * middle:
        return f"no rank stands out (median step {middle:.3g} s on all {len(times)})"
    return (
        f"slowest is rank {row['rank']} on {row['hostname']}: median step {time:.3g} s, "
        f"{time / middle:.2f} times the median rank's"
    )


def _grown_phase(case: dict, earlier) -> str:
    alike = [
        old for old in earlier if old["result"] == "pass" and history.key(old) == history.key(case)
    ]
    if not alike:
        return "no earlier good run of the same image and data to compare phases with"
    now, then = _phases(case), _phases(alike[-1])
    growth = {
        name: now[name] - then[name]
        for name in now
        if name in then and now[name] > STANDS_OUT * then[name]
    }
    if not growth:
        return "no phase grew since the last good run"
    name = max(growth, key=growth.get)
    return (
        f"phase '{name}' grew most: {then[name]:.3g} s in the last good run, {now[name]:.3g} s now"
    )


def _phases(case: dict) -> dict:
    """phase -> seconds of the rank that spent most on it."""
    ranks = case["evidence"]["ranks"]
    return {
        name: max(row["phases"].get(name, 0.0) for row in ranks)
        for name in {name for row in ranks for name in row["phases"]}
    }


def table(found: list) -> str:
    """The rows as aligned text, and a line that counts them."""
    lines = [("check", "metric", "value", "reference [band]", "verdict", "origin")]
    for row in found:
        value = (
            "-"
            if row.value is None
            else (f"{row.value:.4g} {row.unit if row.unit != '1' else ''}").strip()
        )
        lines.append((row.case, row.metric, value, row.reference, row.verdict, row.origin))
    widths = [max(len(line[i]) for line in lines) for i in range(4)]
    text = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths)) + (f"  {line[4]}")
        for line in lines
    ]
    text = [
        line if row[5] in ("-", "unknown") else f"{line}  ({row[5]})"
        for line, row in zip(text, lines)
    ]
    reasons = [f"{row.case}, {row.metric}: {row.why}" for row in found if row.why]
    return "\n".join([*text, *([""] if reasons else []), *reasons, "", count(found)])


def count(found: list) -> str:
    unjudged = sum(row.verdict == NOT_JUDGED for row in found)
    failed = sum(not row.good for row in found)
    return (
        f"{len(found)} verdicts: {len(found) - unjudged - failed} passed, {failed} failed, "
        f"{unjudged} without a reference (recorded, not judged)"
    )
