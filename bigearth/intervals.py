"""How well a measured number is known: 95 % intervals, and when to stop measuring.

Nothing here assumes normal noise. The interval of a median comes from the order of the samples
alone. That of a mean or of a ratio of sums (samples over time) comes from a moving-block
bootstrap: blocks of neighbours are drawn, so neighbours that move together are not counted as
independent. How often the intervals hold the true value is measured in tests/test_intervals.py.
"""

import math
from statistics import NormalDist
from typing import NamedTuple, Optional, Tuple

import numpy as np

LEVEL = 0.95
DRAWS = 2000  # of a bootstrap: its own error is then a few per cent of the interval's width
LEAST_BLOCKS = 5  # independent pieces that a bootstrap needs at least
GROWTH = 1.15  # between two looks: fewer looks, fewer lucky ones


class Look(NamedTuple):
    """What one look at the samples so far says.

    Attributes:
        enough: whether to stop measuring.
        narrow: whether the interval is as narrow as wanted; False where `most` ended the measuring.
        interval: of the mean, None while it is unknown.
    """

    enough: bool
    narrow: bool
    interval: Optional[Tuple[float, float]]


def median_interval(samples, level: float = LEVEL) -> Optional[Tuple[float, float]]:
    """The nonparametric interval of the median: two of the samples, chosen by the binomial law.

    It is widened where neighbours in time move together.

    Args:
        samples: (n,) finite floats in order of time.
        level: the least probability that the interval holds the median.

    Returns:
        (low, high), or None where even smallest and largest are too likely to miss it (n < 6).
    """
    ordered = np.sort(np.asarray(samples, float))
    n = len(ordered)
    if n == 0:
        return None
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    probability = np.exp(logs[n] - logs - logs[::-1] - n * math.log(2))
    # the k smallest and the k largest samples are outside where this many is rare enough
    below = np.cumsum(probability)
    outside = int(np.searchsorted(below, (1 - level) / 2, side="right"))
    if outside == 0:
        return None
    sides = (np.asarray(samples, float) > np.median(ordered)).astype(float)
    outside = max(1, math.floor(n / 2 - (n / 2 - outside) * math.sqrt(inflation(sides))))
    return float(ordered[outside - 1]), float(ordered[n - outside])


def autocovariance(samples, lags: int) -> np.ndarray:
    """Autocovariance of a series around its mean, divided by n at every lag.

    Args:
        samples: (n,) floats in order of time.
        lags: the largest lag.

    Returns:
        (lags + 1,): at lag 0 the variance.
    """
    x = np.asarray(samples, float)
    x = x - x.mean()
    n = len(x)
    return np.array([x[: n - lag] @ x[lag:] / n for lag in range(min(lags, n - 1) + 1)])


def inflation(samples) -> float:
    """How many times the variance of a mean is that of as many independent samples.

    That of a first-order autoregression, its coefficient corrected for the bias of short series.

    Args:
        samples: (n,) floats in order of time.

    Returns:
        at least 1: no credit is given for neighbours that move against each other.
    """
    covariance = autocovariance(samples, 1)
    if len(covariance) < 2 or covariance[0] <= 0:
        return 1.0
    n = len(samples)
    coefficient = covariance[1] / covariance[0]
    coefficient = min(coefficient + (1 + 3 * coefficient) / n, 1 - 2 / n)
    return max(1.0, (1 + coefficient) / (1 - coefficient))


def block_length(samples) -> int:
    """Length of the bootstrap's blocks from the estimated autocorrelation.

    Politis and White (2004), with the correction of Patton, Politis and White (2009), for circular
    blocks: correlations count up to twice the last lag that stands out of the noise.

    Args:
        samples: (n,) floats in order of time.

    Returns:
        from 1 (independent) to a fifth of n.
    """
    n = len(samples)
    longest = max(1, n // LEAST_BLOCKS)
    run = max(5, math.ceil(math.sqrt(math.log10(max(n, 2)))))
    covariance = autocovariance(samples, longest + run)
    if covariance[0] <= 0:
        return 1
    quiet = np.abs(covariance[1:] / covariance[0]) < 2 * math.sqrt(math.log10(n) / n)
    last = next((m for m in range(len(quiet)) if quiet[m : m + run].all()), len(quiet))
    if last == 0:
        return 1
    lags = np.arange(1, min(2 * last, len(covariance) - 1) + 1)
    taper = np.minimum(1, 2 * (1 - lags / (2 * last)))
    longrun = covariance[0] + 2 * (taper * covariance[lags]).sum()
    slope = 2 * (taper * lags * covariance[lags]).sum()
    if longrun <= 0:
        return 1
    best = (1.5 * (slope / longrun) ** 2 * n) ** (1 / 3)
    return int(min(max(1, math.ceil(best)), longest))


def ratio_interval(
    above, below, level: float = LEVEL, seed: int = 0
) -> Optional[Tuple[float, float]]:
    """The interval of sum(above) / sum(below), e.g. of the samples and the seconds of every step.

    Args:
        above, below: (n,) finite floats in order of time; the sum of `below` is not 0.
        level: the probability with which the interval holds the ratio.
        seed: of the draws: equal samples give equal intervals on every rank.

    Returns:
        (low, high), or None for fewer than 10 samples.
    """
    above, below = np.asarray(above, float), np.asarray(below, float)
    n = len(above)
    if n < 2 * LEAST_BLOCKS:
        return None
    centre = above.sum() / below.sum()
    # what every sample adds to the ratio's error: its autocorrelation is the one that matters
    parts = above - centre * below
    length = block_length(parts)
    blocks = n // length
    starts = np.random.default_rng(seed).integers(0, n, (DRAWS, blocks))
    drawn = [_block_sums(part, length)[starts].sum(axis=1) for part in (above, below)]
    error = drawn[0] / drawn[1] - centre
    # few blocks know their spread badly (Student's law), leave out the spread of their own mean,
    # and see only the part of the autocorrelation that fits into a block
    unseen = inflation(parts) / max(_seen(parts, length), 1.0)
    wider = _student(level, blocks - 1) * math.sqrt(blocks / (blocks - 1) * max(1.0, unseen))
    low, high = np.quantile(error, [(1 - level) / 2, (1 + level) / 2]) * wider
    return float(centre + low), float(centre + high)


def mean_interval(samples, level: float = LEVEL, seed: int = 0) -> Optional[Tuple[float, float]]:
    """The interval of the mean; see `ratio_interval`."""
    return ratio_interval(samples, np.ones(len(samples)), level=level, seed=seed)


def seeds_interval(values, level: float = LEVEL) -> Tuple[float, float]:
    """The interval of the mean of a few independent runs: Student's, so it takes their noise as
    normal. Of two runs or more; equal ones give an interval without width.

    Args:
        values: (n,) finite floats, of seeds or of differences paired by seed.
    """
    from scipy import stats  # slow to load, and few need it

    values = np.asarray(values, float)
    quantile = stats.t.ppf((1 + level) / 2, len(values) - 1)
    half = float(quantile * values.std(ddof=1) / math.sqrt(len(values)))
    return float(values.mean() - half), float(values.mean() + half)


def _seen(parts: np.ndarray, length: int) -> float:
    """The inflation that blocks of one length hold."""
    variance = parts.var() * length
    return float(_block_sums(parts - parts.mean(), length).var() / variance) if variance else 1.0


def _block_sums(values: np.ndarray, length: int) -> np.ndarray:
    """(n,): the sum of `length` values from each place on, around the end."""
    total = np.concatenate([[0.0], np.cumsum(np.concatenate([values, values[: length - 1]]))])
    return total[length:] - total[:-length]


def _student(level: float, freedom: int) -> float:
    """Quantile of Student's t over that of the normal law (Cornish and Fisher)."""
    z = NormalDist().inv_cdf((1 + level) / 2)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return 1 + (first / freedom + second / freedom**2 + third / freedom**3) / z


def is_look(n: int, least: int, most: int) -> bool:
    """Whether n samples are a moment to look: least, then every 15 % more, then most."""
    return n >= most or (
        n >= least
        and (n == least or math.floor(_looks(n, least)) > math.floor(_looks(n - 1, least)))
    )


def _looks(n: int, least: int) -> float:
    return math.log(max(n, least) / least) / math.log(GROWTH)


def enough(samples, width: float = 0.01, least: int = 30, most: int = 1000) -> Look:
    """Whether the mean of a measurement is known well enough to stop it.

    Call it after every sample or after every few. It looks only at certain sizes (`is_look`),
    because whoever looks all the time stops in a lucky moment.

    Args:
        samples: (n,) positive floats in order of time, e.g. seconds of every timed step.
        width: wanted half-width of the 95 % interval, relative to the mean: 0.01 is +-1 %.
        least, most: fewest and most samples; at `most` it is enough in any case.
    """
    n = len(samples)
    if not is_look(n, least, most):
        return Look(enough=False, narrow=False, interval=None)
    interval = mean_interval(samples)
    narrow = interval is not None and half_width(interval, float(np.mean(samples))) <= width
    return Look(enough=narrow or n >= most, narrow=narrow, interval=interval)


def half_width(interval: Tuple[float, float], centre: float) -> float:
    """Half the width of an interval, relative to its centre."""
    return (interval[1] - interval[0]) / 2 / abs(centre)
