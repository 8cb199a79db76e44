"""Per system x check x point x metric: what changed, since when, by how much, and what else changed
with it."""

import math
from dataclasses import dataclass

from bigearth.record import METRICS

from . import commits, verdict
from .sessions import newest
from .values import day, percent, quantity

REGRESSION, UNMEASURED = 1, 2
# of a case's evidence, in the order they are told
COMPARED = ("image", "driver", "commit", "dataset", "patches", "kernel")
MOST_LETTERS = 400  # of a reason
TREND_RUNS = 200  # a trend is fitted to at most this many runs, the newest ones


@dataclass(frozen=True)
class Event:
    """A lasting change of one metric.

    Attributes:
        change: see `changes.Change`.
        since: when the first run of the new level ended (Unix s).
        direction: "worse", "better", or "other" where neither way is better.
        with_it: what else changed between the last run before and the runs that establish the new
            level, in words.
    """

    change: tuple
    since: float
    direction: str
    with_it: tuple

    def sentence(self, metric: str) -> str:
        """E.g. "time_per_epoch +4.8 % since 2026-11-03, 7 runs, image changed (worse)"."""
        ended = "" if self.change.lasting else ", over since"
        what = (
            f"{' and '.join(self.with_it)} changed"
            if self.with_it
            else "nothing recorded changed with it"
        )
        runs = f"{self.change.runs} run{'s' * (self.change.runs != 1)}"
        judged = f" ({self.direction})" if self.direction in ("worse", "better") else ""
        return (
            f"{metric} {percent(self.change.effect)} since {day(self.since)}, {runs}{ended}, "
            f"{what}{judged}"
        )


@dataclass(frozen=True)
class Series:
    """The history of one metric of one check and point on one system.

    Attributes:
        key: (system, check, point, metric).
        cases: the test cases that measured it, oldest first; values: of each; unit: of the values.
        events: its lasting changes, in order.
        trend: relative change per 30 days of the current level, 0 if it is not distinguishable from
            0 (95 %).
        older: cases that measured it later with an older commit; they are not judged.
    """

    key: tuple
    cases: tuple
    values: tuple
    unit: str
    events: tuple
    trend: float
    older: tuple = ()

    @property
    def name(self) -> str:
        """In words: "juwels:gpus training nodes=1 time_per_epoch"."""
        return " ".join(part for part in self.key if part)

    def levels(self) -> list:
        """The mean of the level that each run belongs to."""
        edges = [0, *(event.change.index for event in self.events), len(self.values)]
        found = []
        for first, end in zip(edges, edges[1:]):
            part = self.values[first:end]
            found += [math.fsum(part) / len(part)] * len(part)
        return found


@dataclass(frozen=True)
class Finding:
    """Something that decides the exit code: `code` is REGRESSION or UNMEASURED, `sentence` says
    where and what."""

    code: int
    series: tuple
    sentence: str


def with_it(before, after) -> tuple:
    """What differs between two cases' evidence, in words; what neither recorded is not compared."""
    found = [name for name in COMPARED if before.evidence.get(name) != after.evidence.get(name)]
    old, new = before.evidence.get("packages") or {}, after.evidence.get("packages") or {}
    found += [
        f"{name} ({old.get(name)} to {new.get(name)})"
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]
    if before.nodelist != after.nodelist:
        found.append("node list")
    return tuple(found)


def _direction(metric: str, effect: float) -> str:
    if metric not in METRICS:
        return "other"
    return "better" if (effect < 0) == (METRICS[metric].better == "lower") else "worse"


def trend(times: list, values: list) -> float:
    """The slope of some values (Theil and Sen) relative to their mean, per 30 days; 0 if its 95 %
    interval holds 0 or the values are too few."""
    from scipy import stats

    from . import changes

    times, values = times[-TREND_RUNS:], values[-TREND_RUNS:]
    few = len(values) < 4 * changes.MIN_RUNS
    if few or min(times) == max(times) or not math.fsum(values):
        return 0.0
    slope, _, low, high = stats.theilslopes(values, times)
    mean = math.fsum(values) / len(values)
    return float(slope * 30 * 86400 / mean) if low * high > 0 else 0.0


def _series(key: tuple, found: list, order: commits.Order) -> Series:
    from . import changes

    older = order.older([case.evidence.get("commit") for case in found])
    cases = [case for case, late in zip(found, older) if not late]
    values = [case.values[key[-1]].value for case in cases]
    changed = changes.find(values)
    events = tuple(
        # A step is placed to within a run or two: what differs from the last run before is looked
        # for until the level is established.
        Event(
            change=c,
            since=cases[c.index].time,
            direction=_direction(key[-1], c.effect),
            with_it=with_it(cases[c.index - 1], cases[c.index + changes.MIN_RUNS - 1]),
        )
        for c in changed
    )
    start = changed[-1].index if changed else 0
    return Series(
        key=key,
        cases=tuple(cases),
        values=tuple(values),
        unit=cases[-1].values[key[-1]].unit,
        events=events,
        trend=trend([case.time for case in cases[start:]], values[start:]),
        older=tuple(case for case, late in zip(found, older) if late),
    )


def histories(cases: list) -> list:
    """Series of every (system, check, point, metric) with at least one finite value, in order of
    their keys."""
    grouped: dict = {}
    for case in cases:
        for metric, value in case.values.items():
            if math.isfinite(value.value) and math.isfinite(case.time):
                grouped.setdefault((*case.key, metric), []).append(case)
    order = commits.Order()
    return [_series(key, grouped[key], order) for key in sorted(grouped)]


def _changed_now(series: list, sessions: set, recent: int, min_effect: float):
    """A finding for every change for the worse that began at most `recent` runs ago."""
    for one in series:
        last = one.events[-1] if one.events else None
        is_now = last and one.cases[-1].session in sessions and last.change.runs <= recent
        if is_now and last.direction == "worse" and abs(last.change.effect) >= min_effect:
            sentence = f"{' '.join(one.key[:3])}: {last.sentence(one.key[3])}"
            yield Finding(REGRESSION, one.key, sentence)


def _failed_now(rows: list):
    """A finding for every row of the newest sessions that does not let them pass."""
    for row in rows:
        where = " ".join(row.case.key)
        if row.good:
            continue
        if row.state == verdict.FAILED and row.metric:
            value = row.value
            away = f"{percent(value.value / value.reference - 1)} from its reference"
            sentence = f"{where}: {row.metric} is {quantity(value.value, value.unit)}, {away}"
            yield Finding(REGRESSION, row.key, sentence)
            continue
        code = REGRESSION if row.state == verdict.FAILED else UNMEASURED
        reason = " ".join((row.case.reason or "no reason recorded").split())[:MOST_LETTERS]
        state = row.state
        if row.metric:
            reason, state = row.detail, f"{row.metric} {row.state}"
        at = "" if row.metric else f" ({row.case.phase or row.case.result})"
        yield Finding(
            code, row.key if row.metric else row.case.key, f"{where}: {state}{at}: {reason}"
        )


def judge(cases: list, series: list, recent: int, min_effect: float) -> list:
    """What is wrong now: in the newest session of each system, or in a level that began at most
    `recent` runs ago.

    Returns:
        list of Finding, regressions first.
    """
    now = newest(cases)
    found = list(_changed_now(series, {case.session for case in now}, recent, min_effect))
    found += _failed_now(verdict.rows(now))
    for session in dict.fromkeys(case.session for case in now if not case.placed):
        sentence = (
            f"session {session}: has no time, or one in the future, so its place among the others "
            "is not known; see the clock of that machine"
        )
        found.append(Finding(UNMEASURED, (session,), sentence))
    for system in sorted({case.system for case in now}):
        if all(case.result == "skip" for case in now if case.system == system):
            sentence = (
                f"{system}: could not be measured: every check of the newest session was skipped"
            )
            found.append(Finding(UNMEASURED, (system,), sentence))
    return sorted(found, key=lambda finding: finding.code)


def exit_code(findings: list) -> int:
    """1 if anything regressed, else 2 if anything could not be measured, else 0."""
    return min((finding.code for finding in findings), default=0)


@dataclass(frozen=True)
class Judgement:
    """All that is said about some results.

    Attributes:
        cases: all of them; series: their histories; findings: what is wrong now.
        rows: the verdict on every metric of the newest sessions, regressions of the history
            included.
    """

    cases: list
    series: list
    findings: list
    rows: list

    @property
    def headline(self) -> tuple:
        """(words, state), as of `verdict.headline`."""
        if not self.cases:
            return "Measured, not judged: no ReFrame session was found", verdict.NOT_JUDGED
        words, state = verdict.headline(self.rows)
        unmeasured = [finding for finding in self.findings if finding.code == UNMEASURED]
        if unmeasured and state in (verdict.PASSED, verdict.NOT_JUDGED):
            return "Could not be measured completely", verdict.NOT_MEASURED
        return words, state

    @property
    def exit_code(self) -> int:
        """As of `exit_code`."""
        return exit_code(self.findings)


def judgement(cases: list, recent: int, min_effect: float) -> Judgement:
    """Judges all cases; arguments as of `judge`."""
    series = histories(cases)
    findings = judge(cases, series, recent, min_effect)
    now = newest(cases)
    new = {case.session for case in now}
    earlier = [case for case in cases if case.session not in new]
    sentences = {f.series: f.sentence for f in findings if f.code == REGRESSION}
    rows = verdict.regressed(verdict.rows(now, earlier), sentences)
    return Judgement(cases=cases, series=series, findings=findings, rows=rows)
