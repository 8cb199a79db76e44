"""Where a series of measurements changed its level, and whether that is more than noise.

Candidates come from the exact segmentation of `ruptures` (PELT in C, squared error: Killick et al.
2012). Each is kept only if a t-test calls the levels on its two sides different in the noise around
all levels, and each of the two is known to half the step between
them: three runs with an odd one among them are no level. The weakest is dropped first and its sides
joined, until all that are left pass. The penalty is low on purpose: it proposes, the test decides.
"""

import math
from typing import NamedTuple

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


def _noise(values) -> float:
    """Standard deviation of the noise, from differences of neighbours: a step hardly moves it."""
    import numpy as np
    from scipy import stats

    robust = stats.median_abs_deviation(np.diff(values), scale="normal") / math.sqrt(2)
    return robust or float(np.std(np.diff(values))) / math.sqrt(2)


def _evidence(parts: list) -> list:
    """|t| of every pair of neighbouring levels if they are a change, else 0."""
    from scipy import stats

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
    import numpy as np

    values = np.asarray(values, float)
    if len(values) < 2 * MIN_RUNS or np.ptp(values) <= ROUNDING * np.abs(values).max():
        return []
    relative = values / np.abs(values).max()  # no square of it under- or overflows
    scaled = ((relative - np.median(relative)) / _noise(relative)).reshape(-1, 1)
    import ruptures

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


def _describe(values, edges: list) -> list:
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
