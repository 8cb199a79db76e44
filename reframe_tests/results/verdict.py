"""The one verdict on what was measured: a row per metric of every test case, in one of four
states, and a headline that says no more than was judged."""

import json
import math
import os
import statistics
import textwrap
from dataclasses import dataclass, replace

from bigearth.record import METRICS

from .sessions import GOOD, Case, Value
from .values import percent, quantity

PASSED, FAILED = "passed", "failed"
NOT_JUDGED, NOT_MEASURED = "not judged", "could not be measured"
STATES = (FAILED, NOT_MEASURED, NOT_JUDGED, PASSED)  # worst first
# a rank this much slower than the median rank, or a phase that grew this much, is named
STANDS_OUT = 1.05
NO_REFERENCE = "no reference: recorded, not judged"
ACCURACY = ("f1_", "precision_", "recall_", "average_precision_", "loss")  # names begin so
COLOURS = {PASSED: "32", FAILED: "31", NOT_MEASURED: "31", NOT_JUDGED: "33"}
SCREEN = 110  # columns of a sentence on a terminal
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
        why: where the time went, for a metric that failed: the sentence of "why not faster" first.
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
            found.append(Row(case, "", None, state=PASSED))
        for metric, value in case.values.items():
            state, detail = judge(metric, value)
            reason = why(case, earlier) if state == FAILED else ""
            found.append(Row(case, metric, value, state=state, detail=detail, why=reason))
    return found


def _broken(case: Case) -> Row:
    reason = " ".join(case.reason.split()) or "a check it depends on failed"
    stage = f"FAILED in {case.phase}" if case.phase else "NOT RUN"
    judged = case.check == PREFLIGHT and case.phase == "sanity"
    return Row(
        case, "", None, state=FAILED if judged else NOT_MEASURED, detail=f"{stage}: {reason}"
    )


def judge(metric: str, value: Value) -> tuple:
    """The state of one value, and why."""
    if math.isnan(value.value):
        return NOT_MEASURED, "no value was recorded"
    if not value.judged:
        return NOT_JUDGED, NO_REFERENCE
    if value.verdict in ("pass", "xfail"):
        return PASSED, "" if value.verdict == "pass" else "expected failure"
    better = METRICS[metric].better if metric in METRICS else ""
    effect = percent(value.value / value.reference - 1) + _doubt(value)
    if not better:
        return FAILED, effect
    if (value.value > value.reference) == (better == "lower"):
        return FAILED, f"{effect}, regression"
    return FAILED, f"{effect}, too good to be true: see that all the work was done, then calibrate"


def _doubt(value: Value) -> str:
    """A word where a failed value's interval reaches into its band."""
    low, high = value.interval
    least = -math.inf if math.isnan(value.low) else value.low
    most = math.inf if math.isnan(value.high) else value.high
    return " (not certain: its interval reaches the band)" if low <= most and high >= least else ""


def why(case: Case, earlier) -> str:
    """Why it was not faster, which rank was slow, and which phase grew since the last good run of
    the same thing."""
    told = [case.evidence["efficiency"]] if case.evidence.get("efficiency") else []
    return "; ".join([*told, _slowest_rank(case.evidence["ranks"]), _grown_phase(case, earlier)])


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


def regressed(found: list, sentences: dict) -> list:
    """The rows, those failed that the history says regressed, though each value by itself may be
    within its band: of a check that ran several times the last run, as it is the series that
    regressed and not each run.

    Args:
        sentences: (system, check, point, metric) -> what the history found.
    """
    last = {row.key: place for place, row in enumerate(found)}
    return [
        replace(
            row,
            state=FAILED,
            detail=sentences[row.key],
            why=row.case.evidence.get("efficiency") or "",
        )
        if row.metric and row.key in sentences and row.state != FAILED and last[row.key] == place
        else row
        for place, row in enumerate(found)
    ]


def is_accuracy(metric: str) -> bool:
    """Whether a metric says how good the model is; all others say how fast it is."""
    return metric.startswith(ACCURACY)


def counts(found: list) -> dict:
    """State -> how many rows, in the order of STATES."""
    return {state: sum(row.state == state for row in found) for state in STATES}


def headline(found: list) -> tuple:
    """(the verdict on all rows in words, its state): never more than was judged."""
    of = counts(found)
    metrics = [row for row in found if row.metric]
    if of[FAILED]:
        worst = "something regressed" if any(r.metric for r in _failed(found)) else "a check failed"
        return f"Not accepted: {worst} ({of[FAILED]} of {len(found)} failed)", FAILED
    if of[NOT_MEASURED]:
        lost = f"{of[NOT_MEASURED]} of {len(found)}"
        return f"Could not be measured completely: {lost} without a result", NOT_MEASURED
    if not metrics:
        return "Nothing was measured", NOT_JUDGED
    if not of[NOT_JUDGED]:
        return f"Accepted: all {len(metrics)} metrics were judged and passed", PASSED
    unknown = f"{of[NOT_JUDGED]} of {len(metrics)} without a reference"
    parts = [_part(name, metrics, wanted) for name, wanted in (("accuracy", 1), ("speed", 0))]
    words = ", ".join(part for part in parts if part)
    if not any(row.state == PASSED for row in metrics):
        return f"Measured, not judged: {unknown}", NOT_JUDGED
    return f"{words[0].upper()}{words[1:]}: {unknown}", NOT_JUDGED


def _failed(found: list) -> list:
    return [row for row in found if row.state == FAILED]


def _part(name: str, metrics: list, wanted: bool) -> str:
    """One side of a headline: "accuracy OK", "speed not judged", "speed judged in part"."""
    states = {row.state for row in metrics if is_accuracy(row.metric) == bool(wanted)}
    words = {PASSED: f"{name} OK", NOT_JUDGED: f"{name} not judged"}
    if len(states) > 1:
        return f"{name} judged in part"
    return words[states.pop()] if states else ""


def measured(value: Value) -> str:
    """A value with its interval, if it is known, and its unit."""
    if math.isnan(value.value):
        return "-"
    low, high = value.interval
    if math.isnan(low) or math.isnan(high):
        return quantity(value.value, value.unit)
    unit = "" if value.unit in ("", "1") else f" {value.unit}"
    return f"{value.value:.4g} [{low:.4g} to {high:.4g}]{unit}"


def _cells(row: Row) -> tuple:
    """A row of a table in words: check, metric, value, reference and band, state."""
    if row.value is None:
        return (row.case.name, "-", "-", "-", row.state)
    return (row.case.name, row.metric, measured(row.value), band(row.value), row.state)


def _lines(found: list, colour: bool = False) -> list:
    head = ("check", "metric", "value", "reference [band]", "verdict")
    cells = [_cells(row) for row in found]
    widths = [max(map(len, column)) for column in zip(head, *cells)]
    lines = ["  ".join(name.ljust(width) for name, width in zip(head, widths)).rstrip()]
    for row, words in zip(found, cells):
        text = "  ".join(cell.ljust(width) for cell, width in zip(words[:4], widths))
        state = f"\033[{COLOURS[row.state]}m{row.state}\033[0m" if colour else row.state
        more = [row.detail] if row.detail and row.detail != NO_REFERENCE else []
        more += [basis(row.value)] if row.value is not None and row.value.judged else []
        lines.append(f"{text}  {state}" + (f"  ({'; '.join(more)})" if more else ""))
    return lines


def table(found: list) -> str:
    """The rows as aligned text, and a line that counts them."""
    return "\n".join([*_lines(found), *_reasons(found), "", count(found)])


def _reasons(found: list) -> list:
    reasons = [f"{row.case.name}, {row.metric}: {row.why}" for row in found if row.why]
    return ["", *reasons] if reasons else []


def count(found: list) -> str:
    """One line: how many rows are in which state."""
    of = counts(found)
    unjudged = f"{of[NOT_JUDGED]} not judged (no reference)"
    lost = f", {of[NOT_MEASURED]} could not be measured" if of[NOT_MEASURED] else ""
    return f"{len(found)} verdicts: {of[PASSED]} passed, {of[FAILED]} failed, {unjudged}{lost}"


def wants_colour(stream) -> bool:
    """Whether a stream is a terminal whose user has not set NO_COLOR."""
    return stream.isatty() and not os.environ.get("NO_COLOR")


def why_not_faster(found: list) -> str:
    """The sentence of the newest case on the most ranks that was measured; "" if none has one."""
    told = [row.case for row in found if row.metric and row.case.evidence.get("efficiency")]
    if not told:
        return ""
    largest = max(reversed(told), key=lambda case: case.tasks)
    return f"{largest.name}: {largest.evidence['efficiency']}"


def next_step(found: list) -> str:
    """What to do after this run."""
    state = headline(found)[1]
    first = next((row for row in found if row.state == state and not row.good), None)
    if first is not None:
        where = f"; its files: {first.case.output}" if first.case.output else ""
        return f"see {first.case.name}{where}; run it again: {repeat(first.case)}"
    if state == NOT_JUDGED:
        site = found[0].case.system.split(":")[0].split("@")[0] if found else "SITE"
        return (
            f"run it more often, then `bigearth-bench calibrate --site {site}` proposes references"
        )
    return "`bigearth-bench history` follows these numbers from run to run"


def repeat(case: Case) -> str:
    """The command that runs a case again."""
    site = case.system.split(":")[0].split("@")[0]
    name = f"/{case.hash}" if case.hash else f"^{case.check}"
    return f"bigearth-bench run --site {site} -n '{name}'"


def screen(
    found: list, *, report: str = "", seconds: float = math.nan, colour: bool = False
) -> str:
    """The end of a run on one screen: the verdict first, then every row, why it was not faster,
    where the report is and what to do next.

    Args:
        found: what `rows` returned.
        report: the report's file, "" if none was written.
        seconds: how long the run took.
        colour: whether to colour the states, see `wants_colour`.
    """
    words, state = headline(found)
    if colour:
        words = f"\033[1;{COLOURS[state]}m{words}\033[0m"
    took = "" if math.isnan(seconds) else f"   {seconds // 60:.0f} min {seconds % 60:.0f} s"
    lines = [f" RESULT  {words}{took}", *(f"   {line}" for line in _lines(found, colour))]
    lines += [f"   {line}".rstrip() for line in _reasons(found)]
    told = textwrap.wrap(why_not_faster(found), SCREEN)
    lines += [f"{'' if i else ' Why':9}{part}" for i, part in enumerate(told)]
    lines += [f" Report  {report}"] if report else []
    return "\n".join([*lines, f" Next    {next_step(found)}", f" {count(found)}"])


def line(found: list, report: str = "") -> str:
    """The last line of a run, for scripts: words of the form name=value."""
    of = {name.replace(" ", "_"): number for name, number in counts(found).items()}
    state = headline(found)[1].replace(" ", "_")
    words = [f"state={state}", *(f"{name}={number}" for name, number in of.items())]
    return " ".join(["bigearth-bench:", *words, *([f"report={report}"] if report else [])])


def as_json(found: list, report: str = "") -> str:
    """The verdict as one JSON object: headline, state, counts and all rows."""
    words, state = headline(found)
    content = {"headline": words, "state": state, "counts": counts(found), "report": report or None}
    return json.dumps({**content, "rows": [_json(row) for row in found]}, allow_nan=False)


def _json(row: Row) -> dict:
    names = ("system", "check", "point", "metric")
    content = {**dict(zip(names, row.key)), "state": row.state, "detail": row.detail}
    if row.value is None:
        return content
    value = row.value
    numbers = {"value": value.value, "reference": value.reference}
    numbers.update(low=value.low, high=value.high)
    known = {name: None if math.isnan(v) else v for name, v in numbers.items()}
    return {**content, **known, "unit": value.unit, "origin": value.origin}
