"""The paper's claim as a test: accuracy on n nodes is not worse than on one, but for a margin.

`not_worse(one, many, margin)` tests F1(n) >= F1(1) - margin over seeds, one-sided, without
assuming that both spreads are equal (Welch). A claim is passed only if the data show it: few or
scattered seeds end as "not certain", never as passed. The result states its power: how likely this
test would have shown a claim that is exactly true.
"""

import math
from typing import NamedTuple

import numpy as np

LEAST_SEEDS = 3
LEVEL = 0.05  # the chance of passing a claim that is just not true


class NotWorse(NamedTuple):
    """Result of the test.

    Attributes:
        state: "passed" (shown), "failed" (the opposite is shown), "not certain", or "not judged".
        difference: mean of `many` minus mean of `one`.
        bound: one-sided 95 % lower bound of the difference; the claim is bound >= -margin.
        p: of the hypothesis that it is worse by more than the margin.
        power: the chance of passing if both were equal, with the spreads and seeds there are.
        sentence: all of it in words.
    """

    state: str
    difference: float
    bound: float
    p: float
    power: float
    sentence: str


def not_worse(one, many, margin: float) -> NotWorse:
    """Tests whether the mean of `many` is at least the mean of `one` minus a margin.

    Args:
        one, many: scores of the seeds on one and on n nodes; higher is better.
        margin: positive, in units of the score.
    """
    from scipy import stats

    one, many = np.asarray(one, float), np.asarray(many, float)
    if min(len(one), len(many)) < LEAST_SEEDS or not np.isfinite([*one, *many]).all():
        return _not_judged(one, many)
    if np.ptp(one) == 0 and np.ptp(many) == 0:
        return _not_judged(one, many)
    parts = [sample.var(ddof=1) / len(sample) for sample in (one, many)]
    difference, error = float(many.mean() - one.mean()), math.sqrt(sum(parts))
    freedom = sum(parts) ** 2 / sum(v**2 / (len(s) - 1) for v, s in zip(parts, (one, many)))
    critical = stats.t.ppf(1 - LEVEL, freedom)
    p = float(stats.t.sf((difference + margin) / error, freedom))
    power = float(stats.nct.sf(critical, freedom, margin / error))
    bound = difference - critical * error
    if bound >= -margin:
        state = "passed"
    elif difference + critical * error < -margin:
        state = "failed"
    else:
        state = "not certain"
    sentence = (
        f"{len(many)} seeds against {len(one)}: {difference:+.4f}, with 95 % not below "
        f"{bound:+.4f} (accepted {-margin:+.4f}): {state}; power {power:.0%}"
    )
    return NotWorse(state, difference, float(bound), p=p, power=power, sentence=sentence)


def _not_judged(one: np.ndarray, many: np.ndarray) -> NotWorse:
    if min(len(one), len(many)) < LEAST_SEEDS:
        why = f"{len(one)} and {len(many)} seeds, expected {LEAST_SEEDS} or more of each"
    elif not np.isfinite([*one, *many]).all():
        why = "a score is not a finite number"
    else:
        why = "all seeds have the same score: their spread is not known; are the seeds used?"
    nothing = math.nan
    return NotWorse(
        "not judged", nothing, nothing, p=nothing, power=nothing, sentence=f"not judged: {why}"
    )
