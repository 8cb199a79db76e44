"""Per system x check x point x metric: what changed, since when, by how much, and what else changed
with it."""

import math
import statistics
import time
from dataclasses import dataclass, replace

from bigearth.errors import InputError
from bigearth.record import METRICS

from . import alarms, commits, verdict
from .sessions import newest
from .values import day, iso, percent, quantity

REGRESSION, UNMEASURED = 1, 2
# of a case's evidence, in the order they are named
COMPARED = ("image", "driver", "commit", "dataset", "patches", "kernel")
MOST_LETTERS = 400  # of a reason
MIN_EFFECT = 0.01  # smaller relative changes are no alarm
SETTLED = 2  # a change is placed to within this many runs
NEWEST = 7  # runs that say where a drift has got to


@dataclass(frozen=True)
class Event:
    """A lasting change of one metric.

    Attributes:
        alarm: what `alarms.judge` raised, of all series that are one quantity.
        before, after: median of the level before and of the new one (of a drift: of the newest
            runs), of this series; effect: after / before - 1.
        index: of the first run of the new level among the runs of the series.
        since: when it ended (Unix s).
        runs: how many runs there are from that one on.
        direction: "worse" or "better".
        with_it: what else changed between the last run before and the first of the new level or
            the next two, in words.
    """

    alarm: alarms.Alarm
    before: float
    after: float
    index: int
    since: float
    runs: int
    direction: str
    with_it: tuple

    @property
    def effect(self) -> float:
        return self.after / self.before - 1 if self.before else math.inf

    @property
    def open(self) -> bool:
        """Whether it is for the worse and nobody has acknowledged it."""
        return self.direction == "worse" and self.alarm.acknowledged is None

    def sentence(self, metric: str) -> str:
        """E.g. "time_per_epoch +4.8 % since 2026-11-03, 7 runs, image changed (worse)"."""
        what = (
            f"{' and '.join(self.with_it)} changed"
            if self.with_it
            else "nothing recorded changed with it"
        )
        how = "a drift of " if self.alarm.kind == "drift" else ""
        runs = f"{self.runs} run{'s' * (self.runs != 1)}"
        known = self.alarm.acknowledged
        told = f", acknowledged by {known.name}: {known.reason}" if known else ""
        return (
            f"{metric} {how}{percent(self.effect)} since {day(self.since)}, {runs}, {what} "
            f"({self.direction}){told}"
        )


@dataclass(frozen=True)
class Series:
    """The history of one metric of one check and point on one system.

    Attributes:
        key: (system, check, point, metric).
        cases: the test cases that measured it, oldest first; values: of each; unit: of the values.
        events: its lasting changes, in order.
        steady: what `alarms.judge` says of it otherwise, in words.
        older: cases that measured it later with an older commit; they are not judged.
    """

    key: tuple
    cases: tuple
    values: tuple
    unit: str
    events: tuple = ()
    steady: str = ""
    older: tuple = ()

    @property
    def name(self) -> str:
        """In words: "juwels:gpus training nodes=1 time_per_epoch"."""
        return " ".join(part for part in self.key if part)

    def levels(self) -> list:
        """The median of the runs between two changes, for each run."""
        edges = sorted({0, len(self.values), *(event.index for event in self.events)})
        found = []
        for first, end in zip(edges, edges[1:]):
            found += [statistics.median(self.values[first:end])] * (end - first)
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


def _measured(cases: list) -> list:
    """Series of every (system, check, point, metric) with at least one finite value, in order of
    their keys; not judged yet."""
    grouped: dict = {}
    for case in cases:
        for metric, value in case.values.items():
            if math.isfinite(value.value) and math.isfinite(case.time):
                grouped.setdefault((*case.key, metric), []).append(case)
    order = commits.Order()
    found = []
    for key in sorted(grouped):
        members = grouped[key]
        late = order.older([case.evidence.get("commit") for case in members])
        kept = tuple(case for case, is_late in zip(members, late) if not is_late)
        found.append(
            Series(
                key=key,
                cases=kept,
                values=tuple(case.values[key[-1]].value for case in kept),
                unit=kept[-1].values[key[-1]].unit,
                older=tuple(case for case, is_late in zip(members, late) if is_late),
            )
        )
    return found


def _for_alarms(one: Series, turned: bool) -> alarms.Series:
    """A series as `alarms.judge` takes it; turned round, its alarms are changes for the better."""
    runs = tuple(
        alarms.Run(
            night=case.session,
            value=value,
            unit=case.values[one.key[-1]].unit,
            machine=case.evidence.get("machine"),
        )
        for case, value in zip(one.cases, one.values)
        if case.placed
    )
    lower = METRICS[one.key[-1]].better == "lower"
    return alarms.Series(key=one.key, runs=runs, lower_is_better=lower != turned)


def _events(one: Series, raised: list) -> tuple:
    """The changes of a series, in order.

    Args:
        raised: (alarm, direction) of all series.
    """
    place = {case.session: i for i, case in reversed(list(enumerate(one.cases)))}
    mine = [(a, direction) for a, direction in raised if one.key in a.keys and a.since in place]
    mine.sort(key=lambda pair: place[pair[0].since])
    edges = [0, *(place[alarm.since] for alarm, _ in mine), len(one.values)]
    found = []
    for number, (alarm, direction) in enumerate(mine, 1):
        first, index, end = edges[number - 1 : number + 2]
        level = one.values[index:end]
        settled = min(index + SETTLED, len(one.cases) - 1)
        found.append(
            Event(
                alarm=alarm,
                before=statistics.median(one.values[first:index] or level),
                after=statistics.median(level[-NEWEST:] if alarm.kind == "drift" else level),
                index=index,
                since=one.cases[index].time,
                runs=len(one.cases) - index,
                direction=direction,
                with_it=with_it(one.cases[max(index - 1, 0)], one.cases[settled]),
            )
        )
    return tuple(found)


def histories(cases: list, acknowledged: tuple = (), min_effect: float = MIN_EFFECT) -> list:
    """Series of every (system, check, point, metric) with at least one finite value, judged, in
    order of their keys. All series of a system are judged together.

    Args:
        acknowledged: of `alarms.read_acknowledgements`.
        min_effect: smaller relative changes are no alarm.
    """
    found = {one.key: one for one in _measured(cases)}
    site = alarms.Site(min_effect=min_effect)
    for system in dict.fromkeys(key[0] for key in found):
        here = [one for one in found.values() if one.key[0] == system and one.key[-1] in METRICS]
        placed = [case.session for case in cases if case.system == system and case.placed]
        order = list(dict.fromkeys(placed))
        if not here or not order:
            continue
        worse = alarms.judge(
            [_for_alarms(one, False) for one in here], order, acknowledged, site=site
        )
        better = alarms.judge([_for_alarms(one, True) for one in here], order, (), site=site)
        raised = [(alarm, "worse") for alarm in worse.alarms]
        raised += [(alarm, "better") for alarm in better.alarms]
        for one in here:
            sentence = worse.verdicts[one.key].sentence
            found[one.key] = replace(one, events=_events(one, raised), steady=sentence)
    return list(found.values())


def _changed_now(series: list):
    """A finding for every change for the worse that nobody has acknowledged."""
    for one in series:
        for event in one.events:
            if event.open:
                sentence = f"{' '.join(one.key[:3])}: {event.sentence(one.key[3])}"
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


def judge(cases: list, series: list) -> list:
    """What is wrong now: in the newest session of each system, or in a level that nobody has
    acknowledged.

    Returns:
        list of Finding, regressions first.
    """
    now = newest(cases)
    found = list(_changed_now(series))
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
    def unchanged(self) -> str:
        """What can be said where no lasting change was found."""
        from reframe_tests.results.cusum import LEAST_RUNS  # loads NumPy

        long = sum(len(one.values) > LEAST_RUNS for one in self.series)
        if long == len(self.series) > 0:
            return "No lasting change was found."
        short = f"too few runs to be judged: {LEAST_RUNS + 1} are needed."
        if not long:
            return f"Not known yet; all {len(self.series)} series have {short}"
        return (
            f"No lasting change was found in {long} of {len(self.series)} series; the others have "
            f"{short}"
        )

    @property
    def exit_code(self) -> int:
        """As of `exit_code`."""
        return exit_code(self.findings)


def judgement(cases: list, acknowledged: tuple = (), min_effect: float = MIN_EFFECT) -> Judgement:
    """Judges all cases; arguments as of `histories`."""
    series = histories(cases, acknowledged, min_effect)
    findings = judge(cases, series)
    now = newest(cases)
    new = {case.session for case in now}
    earlier = [case for case in cases if case.session not in new]
    sentences = {f.series: f.sentence for f in findings if f.code == REGRESSION}
    rows = verdict.regressed(verdict.rows(now, earlier), sentences)
    return Judgement(cases=cases, series=series, findings=findings, rows=rows)


def acknowledgement(
    judged: Judgement, series: str, name: str, reason: str, over: bool
) -> alarms.Acknowledgement:
    """What somebody says of the open alarm of a series.

    Args:
        series: its name, as in the sentences: "juwels:gpus training nodes=1 time_per_epoch".
        name, reason: who says it, and why.
        over: the change is explained and over, instead of the new normal.

    Raises:
        InputError: there is no such alarm.
    """
    opened = {one.name: event for one in judged.series for event in one.events if event.open}
    if series not in opened:
        known = "; ".join(opened) or "none is open"
        raise InputError(f"--acknowledge {series}: no open alarm has this name; expected: {known}")
    key = next(one.key for one in judged.series if one.name == series)
    sessions = [case.session for case in judged.cases if case.system == key[0] and case.placed]
    return alarms.Acknowledgement(
        key=key,
        since=opened[series].alarm.since,
        upto=sessions[-1],
        accepted=not over,
        name=name,
        reason=reason,
        when=iso(time.time()),
    )
