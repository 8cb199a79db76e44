"""Where a series of measurements changed its level, and whether that is more than noise.

Candidates come from the exact segmentation of `ruptures` (PELT in C, squared error: Killick et al.
2012). Each is kept only if a t-test calls the levels on its two sides different in the noise around
all levels, and each of the two is known to half the step between
them: three runs with an odd one among them are no level. The weakest is dropped first and its sides
    joined, until all that are left
pass. The penalty is low on purpose: it proposes, the test decides.

How often this finds a real step and cries wolf is measured by `python -m plots.changes` (a
benchmark with known answers).
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import ruptures
from scipy import stats

from bigearth import cli
from bigearth.cli import option

MIN_RUNS = 3  # a level rests on at least this many runs: one odd night is an outlier, not a change
ALPHA = 5e-4  # of the t-test: what counts in a short series, whose noise is badly known
# what counts in a longer one: every night asks again, and the segmentation picks the best place to
# split
LEAST_T = 5.0
ROUNDING = 1e-9  # relative differences that are no more than that of an arithmetic
PENALTY = 8.0  # in units of the noise variance


class Change(NamedTuple):
    """A lasting change of level.

    Attributes:
        index: the first run of the new level.
        before, after: mean of the level before and of the new one.
        effect: relative change, after / before - 1.
        strength: the change in standard deviations of the noise around the levels.
        runs: how many runs the new level has lasted (to the next change or the end).
        lasting: True if it is the level of the last run.
    """

    index: int
    before: float
    after: float
    effect: float
    strength: float
    runs: int
    lasting: bool


def _noise(values: np.ndarray) -> float:
    """Standard deviation of the noise, from differences of neighbours: a step hardly moves it."""
    robust = stats.median_abs_deviation(np.diff(values), scale="normal") / math.sqrt(2)
    return robust or float(np.std(np.diff(values))) / math.sqrt(2)


def _evidence(parts: list) -> list:
    """|t| of every pair of neighbouring levels if they are a change, else 0."""
    freedom = sum(map(len, parts)) - len(parts)
    variance = sum(part.var() * len(part) for part in parts) / freedom
    found = []
    for left, right in zip(parts, parts[1:]):
        step = abs(left.mean() - right.mean())
        spread = math.sqrt(variance * (1 / len(left) + 1 / len(right)))
        t = step / spread if spread > 1e-12 * step else math.inf if step else 0.0
        vague = max(part.std(ddof=1) / math.sqrt(len(part)) for part in (left, right)) > step / 2
        found.append(
            t if t >= LEAST_T and 2 * stats.t.sf(t, freedom) < ALPHA and not vague else 0.0
        )
    return found


def find(values) -> list:
    """The changes of level in a series.

    Args:
        values: finite floats in order of time; runs that measured nothing are left out beforehand.

    Returns:
        list of Change, in order.
    """
    values = np.asarray(values, float)
    if len(values) < 2 * MIN_RUNS or np.ptp(values) <= ROUNDING * np.abs(values).max():
        return []
    relative = values / np.abs(values).max()  # no square of it under- or overflows
    scaled = ((relative - np.median(relative)) / _noise(relative)).reshape(-1, 1)
    segmentation = ruptures.KernelCPD(kernel="linear", min_size=MIN_RUNS).fit(scaled)
    edges = [0, *segmentation.predict(pen=PENALTY)]
    while len(edges) > 2:
        parts = [relative[a:b] for a, b in zip(edges, edges[1:])]
        evidence = _evidence(parts)
        worst = int(np.argmin(evidence))
        if evidence[worst]:
            break
        del edges[worst + 1]
    return _describe(values, edges)


def _describe(values: np.ndarray, edges: list) -> list:
    parts = [values[a:b] for a, b in zip(edges, edges[1:])]
    spread = math.sqrt(
        sum(part.var() * len(part) for part in parts) / max(1, len(values) - len(parts))
    )
    found = []
    for i in range(1, len(parts)):
        before, after = float(parts[i - 1].mean()), float(parts[i].mean())
        found.append(
            Change(
                index=edges[i],
                before=before,
                after=after,
                effect=after / before - 1 if before else math.inf,
                strength=float(abs(after - before) / spread) if spread else math.inf,
                runs=len(parts[i]),
                lasting=i == len(parts) - 1,
            )
        )
    return found


def first_alarm(values, start: int = 2 * MIN_RUNS):
    """The first run after which a nightly look at the series so far reports a change; None if it
    never does."""
    return next((n - 1 for n in range(start, len(values) + 1) if find(values[:n])), None)


@dataclass(frozen=True)
class BenchmarkConfig:
    """Options of the benchmark."""

    series: int = option(100, "series of each kind")
    runs: int = option(60, "runs of one series, looked at after every one")
    step: float = option(0.05, "relative size of the step")
    noise: float = option(0.01, "relative standard deviation of the noise (normal)")
    seed: int = option(1, "of the random numbers")


def benchmark(config: BenchmarkConfig) -> dict:
    """Plays series with known answers, night by night.

    Returns:
        "found": series whose step (at a random run of the middle two thirds, up or down) was
        reported within 3 runs and not before; "false_alarms": series without a step in which any
        night reported a change.
    """
    rng = np.random.default_rng(config.seed)
    found = alarms = 0
    for _ in range(config.series):
        values = 1 + config.noise * rng.standard_normal(config.runs)
        alarms += first_alarm(values) is not None
        at = int(rng.integers(config.runs // 6, config.runs - config.runs // 6))
        values = 1 + config.noise * rng.standard_normal(config.runs)
        values[at:] *= 1 + config.step * rng.choice((-1, 1))
        alarm = first_alarm(values)
        found += alarm is not None and at <= alarm < at + 3
    return {"series": config.series, "found": found, "false_alarms": alarms}


def _run(config: BenchmarkConfig) -> None:
    result = benchmark(config)
    print(
        f"steps of {config.step:.1%} in {config.noise:.1%} noise found within 3 runs: "
        f"{result['found']} of {result['series']}"
    )
    print(
        f"series of {config.runs} runs without a step and with a false alarm: "
        f"{result['false_alarms']} of {result['series']}"
    )


if __name__ == "__main__":
    cli.main(
        BenchmarkConfig,
        _run,
        cli.Program(
            module="plots.changes",
            description="Measures how well changes of level are found, on series with known answers.",
        ),
    )
