"""The one verdict on what was measured: a row per metric of every test case, in one of four
states."""

import math
import statistics
from dataclasses import dataclass

from bigearth.record import METRICS

from .sessions import GOOD, Case, Value
from .values import percent

PASSED, FAILED = "passed", "failed"
NOT_JUDGED, NOT_MEASURED = "not judged", "could not be measured"
STATES = (FAILED, NOT_MEASURED, NOT_JUDGED, PASSED)  # worst first
# a rank this much slower than the median rank, or a phase that grew this much, is named
STANDS_OUT = 1.05
NO_REFERENCE = "no reference: recorded, not judged"
PREFLIGHT = "preflight"  # the check whose finding is its result: a fault there is a failure


@dataclass(frozen=True)
class Row:
    """The verdict on one metric of one test case, or on the case itself.

    Attributes:
        case: the test case.
        metric: "" if the row is about the case: it has no metric, or failed before its numbers.
        value: the metric's value and its reference; None if `metric` is "".
        state: one of STATES.
        detail: why, in words; "" if there is nothing to say.
        why: where the time went, for a metric that failed.
    """

    case: Case
    metric: str
    value: Value | None
    state: str
    detail: str = ""
    why: str = ""

    @property
    def good(self) -> bool:
        """Whether it lets the run pass."""
        return self.state in (PASSED, NOT_JUDGED)

    @property
    def key(self) -> tuple:
        """(system, check, point, metric), as of a series of the history."""
        return (*self.case.key, self.metric)


def rows(cases: list, earlier=()) -> list:
    """The verdict on every metric; a case that failed before its numbers were taken has one row
    that says why.

    Args:
        cases: of one session (or the newest of every system).
        earlier: cases of earlier sessions, to say what changed.
    """
    found = []
    for case in cases:
        if case.result == "skip":
            continue
        if case.result not in GOOD and case.phase != "performance":
            found.append(_broken(case))
            continue
        if not case.values and not case.fixture:
            found.append(Row(case, "", None, PASSED))
        for metric, value in case.values.items():
            state, detail = judge(metric, value)
            reason = why(case, earlier) if state == FAILED else ""
            found.append(Row(case, metric, value, state, detail, reason))
    return found


def _broken(case: Case) -> Row:
    reason = " ".join(case.reason.split()) or "a check it depends on failed"
    stage = f"FAILED in {case.phase}" if case.phase else "NOT RUN"
    judged = case.check == PREFLIGHT and case.phase == "sanity"
    return Row(case, "", None, FAILED if judged else NOT_MEASURED, f"{stage}: {reason}")


def judge(metric: str, value: Value) -> tuple:
    """The state of one value, and why."""
    if math.isnan(value.value):
        return NOT_MEASURED, "no value was recorded"
    if not value.judged:
        return NOT_JUDGED, NO_REFERENCE
    if value.verdict in ("pass", "xfail"):
        return PASSED, "" if value.verdict == "pass" else "expected failure"
    better = METRICS[metric].better if metric in METRICS else ""
    effect = percent(value.value / value.reference - 1)
    if not better:
        return FAILED, effect
    if (value.value > value.reference) == (better == "lower"):
        return FAILED, f"{effect}, regression"
    return FAILED, f"{effect}, too good to be true: see that all the work was done, then calibrate"


def why(case: Case, earlier) -> str:
    """Which rank was slow and which phase grew since the last good run of the same thing."""
    return "; ".join([_slowest_rank(case.evidence["ranks"]), _grown_phase(case, earlier)])


def _slowest_rank(ranks: list) -> str:
    times = [(row["step_time"], row) for row in ranks if row.get("step_time") is not None]
    if len(times) < 2:
        return "one rank only" if len(ranks) < 2 else "step times of ranks were not recorded"
    middle = statistics.median_low(time for time, _ in times)
    time, row = max(times, key=lambda pair: pair[0])
    if time < STANDS_OUT * middle:
        return f"no rank stands out (median step {middle:.3g} s on all {len(times)})"
    return (
        f"slowest is rank {row.get('rank')} on {row.get('hostname')}: median step {time:.3g} s, "
        f"{time / middle:.2f} times the median rank's"
    )


def _grown_phase(case: Case, earlier) -> str:
    alike = [old for old in earlier if old.result == "pass" and old.like == case.like]
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


def _phases(case: Case) -> dict:
    """phase -> seconds of the rank that spent most on it."""
    phases = [row.get("phases") or {} for row in case.evidence["ranks"]]
    names = dict.fromkeys(name for row in phases for name in row)
    return {name: max(row.get(name) or 0.0 for row in phases) for name in names}


def band(value: Value) -> str:
    """The reference and its limits, in words."""
    if not value.judged:
        return "-"
    low = "any" if math.isnan(value.low) else f"{value.low:.4g}"
    high = "any" if math.isnan(value.high) else f"{value.high:.4g}"
    return f"{value.reference:.4g} [{low} .. {high}]"


def basis(value: Value) -> str:
    """Where the reference comes from, in words; "" if there is none."""
    if value.origin in ("", "unknown"):
        return ""
    if value.date:
        return f"{value.origin} {value.date}, {value.runs} run(s)"
    return f"{value.origin}: {value.source}"


def table(found: list) -> str:
    """The rows as aligned text, and a line that counts them."""
    lines = [("check", "metric", "value", "reference [band]", "verdict", "")]
    for row in found:
        value, words = row.value, _words(row)
        if value is None:
            lines.append((row.case.name, "-", "-", "-", words, ""))
            continue
        unit = value.unit if value.unit != "1" else ""
        shown = "-" if math.isnan(value.value) else f"{value.value:.4g} {unit}".strip()
        cells = (row.case.name, row.metric, shown, band(value), words, basis(value))
        lines.append(cells)
    widths = [max(len(line[i]) for line in lines) for i in range(4)]
    text = []
    for line in lines:
        aligned = [cell.ljust(width) for cell, width in zip(line, widths)]
        text.append("  ".join([*aligned, line[4]]) + (f"  ({line[5]})" if line[5] else ""))
    reasons = [f"{row.case.name}, {row.metric}: {row.why}" for row in found if row.why]
    return "\n".join([*text, *([""] if reasons else []), *reasons, "", count(found)])


def _words(row: Row) -> str:
    if row.metric and row.state == FAILED:
        return f"FAIL: {row.detail}"
    return row.detail or "pass"


def count(found: list) -> str:
    """One line: how many rows are in which state."""
    unjudged = sum(row.state == NOT_JUDGED for row in found)
    failed = sum(not row.good for row in found)
    return (
        f"{len(found)} verdicts: {len(found) - unjudged - failed} passed, {failed} failed, "
        f"{unjudged} without a reference (recorded, not judged)"
    )
