"""`python -m plots history`: per site x check x metric, what changed, since when, by how much, and
what else changed with it.

Ends with exit code 0 (steady), 1 (a regression: a new lasting change for the worse, or a value
outside its band in the newest session) or 2 (nothing regressed, but something could not be
measured; also every mistake of the user's).
"""

import datetime
import math
import sys
from dataclasses import dataclass

import numpy as np
from scipy import stats

from bigearth.cli import REQUIRED, option
from bigearth.errors import InputError
from bigearth.record import METRICS
from plots import changes, export, figure, results, tables, timeline

REGRESSION, UNMEASURED = 1, 2
# of a case's evidence, in the order they are told
COMPARED = ("image", "driver", "commit", "dataset", "patches", "kernel")
GOOD = ("pass", "skip", "xfail", "xpass")  # results of a case that was measured, or was not to be
MOST_LETTERS = 400  # of a reason
MOST_FINDINGS = 20  # that a summary tells
TREND_RUNS = 200  # a trend is fitted to at most this many runs, the newest ones


@dataclass(frozen=True)
class Config:
    """Options of `python -m plots history`."""

    results: str = option(
        REQUIRED, "folder with ReFrame's results.db or run-*.json reports, or one such file"
    )
    out: str = option(
        REQUIRED,
        "folder for the exports (CSV, Parquet, OpenMetrics, JUnit), the summary and the picture",
    )
    recent: int = option(
        10, "a change for the worse counts as a regression while it is at most this many runs old"
    )
    min_effect: float = option(
        0.02, "relative changes smaller than this are told but are no regression"
    )


@dataclass(frozen=True)
class Event:
    """A lasting change of one metric.

    Attributes:
        change: see `plots.changes.Change`.
        since: when the first run of the new level ended (Unix s).
        direction: "worse", "better", or "other" where neither way is better.
        with_it: what else changed between the last run before and the runs that establish the new
            level, in words.
    """

    change: changes.Change
    since: float
    direction: str
    with_it: tuple

    def sentence(self, metric: str) -> str:
        """E.g. "time_per_epoch +4.8 % since 2026-11-03, 7 runs, image changed (worse)"."""
        ended = "" if self.change.lasting else ", over since"
        what = (
            f"{' and '.join(self.with_it)} changed"
            if self.with_it
            else ("nothing recorded changed with it")
        )
        runs = f"{self.change.runs} run{'s' * (self.change.runs != 1)}"
        verdict = f" ({self.direction})" if self.direction in ("worse", "better") else ""
        return (
            f"{metric} {percent(self.change.effect)} since {day(self.since)}, {runs}{ended}, "
            f"{what}{verdict}"
        )


@dataclass(frozen=True)
class Series:
    """The history of one metric of one check and point on one system.

    Attributes:
        key: (system, check, point, metric).
        cases: the test cases that measured it, in order of time; values: (n,) floats; unit: of the
            values.
        events: its lasting changes, in order.
        trend: relative change a 30 days of the current level, 0 if it is not distinguishable from 0
            (95 %).
    """

    key: tuple
    cases: tuple
    values: np.ndarray
    unit: str
    events: tuple
    trend: float

    @property
    def name(self) -> str:
        """In words: "local:default training nodes=1 time_per_epoch"."""
        return " ".join(part for part in self.key if part)

    def levels(self) -> np.ndarray:
        """(n,): the mean of the level that each run belongs to."""
        edges = [0, *(event.change.index for event in self.events), len(self.values)]
        return np.concatenate(
            [np.full(b - a, self.values[a:b].mean()) for a, b in zip(edges, edges[1:])]
        )


@dataclass(frozen=True)
class Finding:
    """Something that decides the exit code: `code` is REGRESSION or UNMEASURED, `sentence` says
    where and what."""

    code: int
    series: tuple
    sentence: str


def day(time: float) -> str:
    """The date (UTC) of a Unix time."""
    return datetime.datetime.fromtimestamp(time, datetime.timezone.utc).strftime("%Y-%m-%d")


def quantity(value: float, unit: str) -> str:
    """A value with its unit, four digits; the unit 1 is left out."""
    return f"{value:.4g}" if unit in ("", "1") else f"{value:.4g} {unit}"


def percent(effect: float) -> str:
    """A relative change in words."""
    if not math.isfinite(effect):
        return "from 0"
    return f"{100 * effect:+.1f} %" if abs(effect) < 1e4 else f"{100 * effect:+.3g} %"


def _with_it(before, after) -> tuple:
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
    better = METRICS.get(metric, ("", ""))[1]
    if better not in ("lower", "higher"):
        return "other"
    return "better" if (effect < 0) == (better == "lower") else "worse"


def _trend(times: np.ndarray, values: np.ndarray) -> float:
    times, values = times[-TREND_RUNS:], values[-TREND_RUNS:]
    if len(values) < 4 * changes.MIN_RUNS or not np.ptp(times) or not values.mean():
        return 0.0
    slope, _, low, high = stats.theilslopes(values, times)
    return float(slope * 30 * 86400 / values.mean()) if low * high > 0 else 0.0


def _series(key: tuple, cases: list) -> Series:
    values = np.array([case.values[key[-1]].value for case in cases])
    found = changes.find(values)
    events = tuple(
        # A step is placed to within a run or two: what differs from the last run before is looked
        # for until the level is established.
        Event(
            c,
            cases[c.index].time,
            _direction(key[-1], c.effect),
            _with_it(cases[c.index - 1], cases[c.index + changes.MIN_RUNS - 1]),
        )
        for c in found
    )
    start = found[-1].index if found else 0
    times = np.array([case.time for case in cases])
    unit = cases[-1].values[key[-1]].unit
    return Series(key, tuple(cases), values, unit, events, _trend(times[start:], values[start:]))


def histories(cases: list) -> list:
    """Series of every (system, check, point, metric) with at least one finite value, in order of
    their keys."""
    grouped: dict = {}
    for case in cases:
        for metric, value in case.values.items():
            if math.isfinite(value.value) and math.isfinite(case.time):
                grouped.setdefault((*case.key, metric), []).append(case)
    return [_series(key, grouped[key]) for key in sorted(grouped)]


def newest(cases: list) -> list:
    """The cases of each system's newest session."""
    # cases are in order of time, those without one at the end
    last = {case.system: case.session for case in cases}
    last.update({case.system: case.session for case in cases if math.isfinite(case.time)})
    return [case for case in cases if last.get(case.system) == case.session]


def judge(cases: list, series: list, recent: int, min_effect: float) -> list:
    """What is wrong now: in the newest session of each system, or in a level that began at most
    `recent` runs ago.

    Returns:
        list of Finding, regressions first.
    """
    now = newest(cases)
    sessions = {case.session for case in now}
    found = []
    for one in series:
        last = one.events[-1] if one.events else None
        is_now = last and one.cases[-1].session in sessions and last.change.runs <= recent
        if is_now and last.direction == "worse" and abs(last.change.effect) >= min_effect:
            found.append(
                Finding(
                    REGRESSION, one.key, f"{' '.join(one.key[:3])}: {last.sentence(one.key[3])}"
                )
            )
    for case in now:
        where = " ".join(case.key)
        outside = {
            metric: v
            for metric, v in case.values.items()
            if v.verdict == "fail" and math.isfinite(v.value)
        }
        for metric, v in outside.items():
            away = (
                (f"{percent(v.value / v.reference - 1)} from its reference")
                if math.isfinite(v.reference)
                else "outside its band"
            )
            found.append(
                Finding(
                    REGRESSION,
                    (*case.key, metric),
                    f"{where}: {metric} is {quantity(v.value, v.unit)}, {away}",
                )
            )
        if case.result not in GOOD and not (case.phase == "performance" and outside):
            reason = figure.short(case.reason, MOST_LETTERS) or "no reason recorded"
            found.append(
                Finding(
                    UNMEASURED,
                    case.key,
                    f"{where}: could not be measured ({case.phase or case.result}): {reason}",
                )
            )
    for system in {case.system for case in now}:
        if all(case.result == "skip" for case in now if case.system == system):
            found.append(
                Finding(
                    UNMEASURED,
                    (system,),
                    f"{system}: could not be measured: every "
                    "check of the newest session was skipped",
                )
            )
    return sorted(found, key=lambda finding: finding.code)


def exit_code(findings: list) -> int:
    """1 if anything regressed, else 2 if anything could not be measured, else 0."""
    return min((finding.code for finding in findings), default=0)


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
        lines.append(tables.pipes((*cells, len(one.values))))
    lines += (
        [f"| … | {len(series) - 30} more series in history.csv | | | | | |"]
        if len(series) > 30
        else []
    )
    return "\n".join(lines) + "\n"


def run(config: Config) -> int:
    """Writes all exports, prints the summary's sentences and returns the exit code."""
    if config.recent < 1 or not 0 <= config.min_effect < 1:
        raise InputError(
            f"--recent is {config.recent} and --min-effect {config.min_effect}: "
            "expected at least 1, and from 0 up to below 1"
        )
    cases = results.load(config.results).cases
    if not cases:
        raise InputError(
            f"{config.results}: holds no ReFrame session; expected results.db or run-*.json "
            "reports; run ReFrame with storage on"
        )
    out = figure.output_folder(config.out)
    series = histories(cases)
    findings = judge(cases, series, config.recent, config.min_effect)
    export.write_all(out, series, findings)
    text = summary(cases, series, findings)
    export.write_text(out / "summary.md", text)
    figure.use_style()
    figure.save(timeline.PANEL, series, out)
    print(text, file=sys.stderr)
    print(out)
    return exit_code(findings)
