"""How strongly the newest runs of one series say that it got worse.

The first runs are a frozen baseline: 20, then 40, then 60 of them as the series grows. Later runs
never move its level, so a slow drift and a partial recovery are measured against what once was.
Spread and autocorrelation come from up to 150 runs. Three steps:

1. Scores: distance from the baseline's median in robust standard deviations, cut off at 4 so that
   no single night decides, and scaled to unit spread.
2. Whitening: the part that the run before foretells is taken out (first-order autoregression, its
   coefficient corrected for the bias of short series and raised by its standard error); what
   autocorrelation is left, widens the noise.
3. Two statistics of the whitened scores. A CUSUM (Page 1954) with allowance 1 sums what exceeds
   it; it counts only while 5 of the last 7 runs lie 1.5 standard deviations off, so a burst of bad
   nights that is over is no change. A trend is the slope over all runs.

Each is turned into the rate per night at which a series without a change reaches it. The rates were
measured by simulation (`python -m reframe_tests.results.study`) on noise with autocorrelation 0.5
and on exponential noise, the worst that is promised for, with a margin of 1.4.
"""

import math
from typing import NamedTuple

import numpy as np

from bigearth.intervals import autocovariance

# runs that the level rests on, runs that the noise is known from
STAGES = ((20, 20), (40, 40), (60, 60), (60, 80), (60, 110), (60, 150))
SETTLED = 10  # runs after which a longer stage replaces the shorter
LEAST_RUNS, MOST_RUNS = 20, 60  # of a baseline
CUT = 4.0  # of the scores, in robust standard deviations
NO_NOISE = 0.0025  # taken for the spread where all runs of the baseline are equal
ALLOWANCE = 1.0
WINDOW, NEEDED, BEYOND = 7, 5, 1.5
TREND_RUNS = 60
TREND_CUT = 2.0  # of the whitened scores: a burst at the end is no trend
LAGS = 10
MARGIN = 1.4
CUSUM_RATE, CUSUM_DECAY = 2.0e-3, 0.55  # rate per night of CUSUMs beyond S: a exp(-b S)
TREND_RATE, TREND_DECAY = 1.0e-4, 2.6  # of trends beyond z: a exp(-b (z - 3))
CLEAR = 1e-3  # a step that is as rare as this
MOST_CORRELATION = 0.95


class Evidence(NamedTuple):
    """What every run of a series says, in the order of the runs.

    Attributes:
        p: (n,) rate per night at which a series without a change says as much; 1 where not judged.
        first: (n,) the run with which the change began.
        drift: (n,) True if it is a trend more than a step.
        baseline: (n,) runs that the level rests on.
    """

    p: np.ndarray
    first: np.ndarray
    drift: np.ndarray
    baseline: np.ndarray


def evidence(values, judged_from: int = 0) -> Evidence:
    """Looks at a series night by night.

    Args:
        values: (n,) finite floats in order, worse is larger, on a relative scale (logarithms).
        judged_from: runs before this one are explained: sums begin anew with it.
    """
    values = np.asarray(values, float)
    n = len(values)
    found = Evidence(
        p=np.ones(n),
        first=np.zeros(n, int),
        drift=np.zeros(n, bool),
        baseline=np.full(n, min(n, LEAST_RUNS)),
    )
    for stage, (size, known) in enumerate(STAGES):
        begin = known if stage == 0 else known + SETTLED
        if n > begin:
            part = _stage(values, size=size, known=known, judged_from=judged_from)
            for whole, new in zip(found, part):
                whole[begin:] = new[begin:]
    return found


def _stage(values: np.ndarray, *, size: int, known: int, judged_from: int) -> Evidence:
    """Evidence of all runs with one baseline."""
    n, start = len(values), max(size, judged_from)
    margin = MARGIN * math.sqrt(MOST_RUNS / size)  # a short baseline knows level and noise badly
    scores = _scores(values, size, known)
    white = _whiten(scores, known)
    step, first = np.ones(n), np.full(n, start)
    if n > start:
        sums, first[start:] = _cusum(white[start:])
        first[start:] += start
        beyond = np.concatenate([np.zeros(WINDOW - 1), scores[start:] > BEYOND])
        dense = np.convolve(beyond, np.ones(WINDOW), "valid") >= NEEDED
        rate = CUSUM_RATE * np.exp(-CUSUM_DECAY * sums)
        step[start:] = np.where(dense, np.minimum(1, margin * rate), 1)
    slope = _slopes(white, judged_from)
    trend = np.minimum(1, margin * TREND_RATE * np.exp(-TREND_DECAY * (slope - 3)))
    drift = (trend < step) & (step > CLEAR)  # a step says since when
    return Evidence(
        p=np.minimum(1, 2 * np.minimum(step, trend)),
        first=np.where(drift, np.minimum(start, n - 1), first),
        drift=drift,
        baseline=np.full(n, size),
    )


def _scores(values: np.ndarray, size: int, known: int) -> np.ndarray:
    centre = np.median(values[:size])
    spread = 1.4826 * np.median(np.abs(values[:known] - centre)) or values[:known].std()
    scores = np.clip((values - centre) / (spread or NO_NOISE), -CUT, CUT)
    return (scores - scores[:size].mean()) / (scores[:known].std(ddof=1) or 1.0)


def _whiten(scores: np.ndarray, known: int) -> np.ndarray:
    covariance = autocovariance(scores[:known], 1)
    coefficient = covariance[1] / covariance[0] if covariance[0] > 0 else 0.0
    coefficient += (1 + 3 * coefficient) / known
    coefficient += math.sqrt(max(1 - coefficient**2, 0.05) / known)
    coefficient = min(max(coefficient, 0.0), MOST_CORRELATION)
    white = scores.copy()
    white[1:] -= coefficient * scores[:-1]
    white[1:] /= math.sqrt(1 - coefficient**2)
    lags = min(LAGS, known // 4)
    left = autocovariance(white[1:known], lags)
    longrun = left[0] + 2 * ((1 - np.arange(1, lags + 1) / (lags + 1)) * left[1:]).sum()
    return white / math.sqrt(max(1.0, longrun))


def _cusum(white: np.ndarray) -> tuple:
    """(sums, index of the run with which each sum began)."""
    total = np.concatenate([[0.0], np.cumsum(white - ALLOWANCE)])
    least = np.minimum.accumulate(total)
    began = np.maximum.accumulate(np.where(total <= least, np.arange(len(total)), 0))
    return (total - least)[1:], np.minimum(began[1:], len(white) - 1)


def _slopes(white: np.ndarray, start: int) -> np.ndarray:
    """(n,) the slope of the runs from `start` to each, in its standard deviations: the least of the
    last 7 such slopes, as a trend does not come overnight."""
    part = np.clip(white[start:], -TREND_CUT, TREND_CUT)
    count = np.arange(1, len(part) + 1)
    place = count - 1.0
    moment = np.cumsum(place * part) - place / 2 * np.cumsum(part)
    spread = np.sqrt(np.maximum(count * (count**2 - 1.0) / 12, 1))
    slopes = np.where(count >= TREND_RUNS, moment / spread, 0.0)
    slopes = np.concatenate([np.zeros(min(start, len(white)) + WINDOW - 1), slopes])
    return np.lib.stride_tricks.sliding_window_view(slopes, WINDOW).min(axis=1)


def discoveries(p, rate: float) -> np.ndarray:
    """Which of one night's series are found worse: at most the share `rate` of such nights is
    expected to find any where nothing changed (Benjamini and Hochberg 1995).

    Args:
        p: (series,) of one night.
        rate: per night.

    Returns:
        (series,) bool.
    """
    p = np.asarray(p, float)
    order = np.sort(p)
    passed = np.flatnonzero(order <= rate * np.arange(1, len(p) + 1) / len(p))
    return p <= order[passed[-1]] if len(passed) else np.zeros(len(p), bool)
