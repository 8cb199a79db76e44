"""The band in which the next run is expected, from the runs there are.

`calibrate(cells, lower_is_better, site)` takes the runs of all cells of one metric and gives a
`Band` for each. A site states how many red nights per month it accepts without a cause
(`Site`); the factor that keeps this promise is found by simulation of the whole procedure:

1. A night's first measurement beyond the `again` edge is measured again, at most `max_retries`
   times. One that comes back inside passes.
2. The cell is red when all measurements are beyond `again` and their mean is beyond `red`.

Three things make ten to twenty runs enough. The cells of a site have much the same noise: a cell's
spread is drawn towards that of the others, as far as they agree (as limma does for genes, Smyth
2004); one that is far noisier keeps its own. Autocorrelation and skewness are estimated over all
of them; where that is not possible, 0.5 and that of an exponential are assumed.

Call `calibrate` from the program that proposes references, `Band.judge` where a run is judged.
"""

import functools
import math
from dataclasses import dataclass
from typing import NamedTuple, Optional

import numpy as np

from bigearth.intervals import autocovariance

LEAST_RUNS = 10
WANTED_RUNS = 20
PROVISIONAL = 2.0  # times as many red nights are accepted below the wanted runs, for the power
POOL = 10  # cells that say something about each other
ASSUMED = 0.5  # autocorrelation of nights where it is not known
MOST_SKEWED = 2.0  # skewness of an exponential; also what is assumed where it is not known
NARROWEST = 0.01  # relative width of a band: a handful of equal runs does not mean no noise
TOO_GOOD = 3.0  # times the width on the bad side: further off is an error, no improvement
NOISY = 3.0  # standard deviations from the other cells' spread: not one of them
DRAWS = 100_000  # simulated cells
MOST_RUNS = 60  # of a simulated cell: more runs only make the promise safer
POWER = 0.95


@dataclass(frozen=True)
class Site:
    """What a site accepts.

    Attributes:
        red_nights: expected red nights per month over all cells if nothing has changed.
        cells: judged per night; 0 stands for as many as are calibrated.
        max_retries: most further measurements of a value beyond the band's edge.
    """

    red_nights: float = 1.0
    cells: int = 0
    max_retries: int = 2

    def rate(self, cells: int) -> float:
        """The false-alarm rate per night of one cell."""
        return 1 - (1 - min(self.red_nights / 30, 0.5)) ** (1 / max(self.cells or cells, 1))


class Factor(NamedTuple):
    """Edges in standard deviations beyond the mean, and the smallest shift that is red in 95 %."""

    again: float
    red: float
    detects: float


@dataclass(frozen=True)
class Band:
    """The band of one cell, in the unit of its values.

    Attributes:
        value: median of the runs.
        again: a value worse than this is measured again.
        red: the mean of a night's measurements is not worse than this, or the night is red.
        good: a value better than this is too good to be true.
        detects: the relative slow-down that is red in the same night in 95 %.
        runs: how many it rests on.
        provisional: True below 20 runs.
        lower_is_better: the direction.
    """

    value: float
    again: float
    red: float
    good: float
    detects: float
    runs: int
    provisional: bool
    lower_is_better: bool

    def worse(self, value: float, edge: float) -> bool:
        """Whether a value is on the bad side of an edge."""
        return value > edge if self.lower_is_better else value < edge

    def judge(self, values, max_retries: int) -> str:
        """What the measurements of one night say.

        Args:
            values: one or more, in order of time.
            max_retries: of the site.

        Returns:
            "passed", "again" (measure again before it is red), "failed" or "could not be measured".
        """
        if not len(values) or not all(math.isfinite(value) for value in values):
            return "could not be measured"
        if any(not self.worse(value, self.again) for value in values):
            return "passed"
        if len(values) <= max_retries:
            return "again"
        return "failed" if self.worse(float(np.mean(values)), self.red) else "passed"

    def sentence(self) -> str:
        """E.g. "12 runs (provisional: 20 or more are wanted); a change of 4.1 % is red ..."."""
        word = f" (provisional: {WANTED_RUNS} or more are wanted)" if self.provisional else ""
        return (
            f"{self.runs} runs{word}; a change of {self.detects:.1%} for the worse is red in the "
            f"same night in {POWER:.0%}"
        )


def calibrate(cells: dict, lower_is_better: bool, site: Optional[Site] = None) -> dict:
    """Bands of all cells of one metric.

    Args:
        cells: key -> (n,) values of like runs (same image, data and nodes), in order of time.
        lower_is_better: direction of the metric.
        site: what the site accepts.

    Returns:
        key -> Band, or a sentence why there is none.
    """
    site = site or Site()
    found: dict = {}
    scores = {}
    for key, values in cells.items():
        values = np.asarray(values, float)
        if not np.isfinite(values).all():
            found[key] = "a run is not a finite number; leave out what was not measured"
        elif len(values) < LEAST_RUNS:
            found[key] = f"{len(values)} run(s), expected {LEAST_RUNS} or more"
        elif (values <= 0).any():
            found[key] = "a run is 0 or negative: no relative band; state a reference by hand"
        else:
            scores[key] = np.log(values) if lower_is_better else -np.log(values)
    pool = _pool(list(scores.values()))
    rate = site.rate(len(scores))
    for key, series in scores.items():
        found[key] = _band(series, lower_is_better, pool, rate=rate, max_retries=site.max_retries)
    return {key: found[key] for key in cells}


class _Pool(NamedTuple):
    """What the cells of a site say together: the middle log spread, the weight of a cell's own, the
    log spread from which a cell is not one of them, autocorrelation, skewness."""

    spread: float
    own: float
    noisy: float
    autocorrelation: float
    skewness: float

    def spread_of(self, series: np.ndarray) -> tuple:
        """The spread that is taken for a cell, and the weight of its own."""
        spread = float(series.std(ddof=1))
        if spread == 0 or math.log(spread) > self.noisy:
            return spread, 1.0
        return math.exp(self.own * math.log(spread) + (1 - self.own) * self.spread), self.own


def _pool(series: list) -> _Pool:
    varying = [one for one in series if np.ptp(one) > 0]
    if len(varying) < POOL:
        return _Pool(
            spread=0.0,
            own=1.0,
            noisy=-math.inf,
            autocorrelation=ASSUMED,
            skewness=MOST_SKEWED,
        )
    spreads = np.array([math.log(one.std(ddof=1)) for one in varying])
    correlation = min(_upper([_correlation(one) for one in varying]), 0.9)
    # how far a cell's spread is off by chance: leave one run out; fewer runs count if they hang
    # together
    chance = np.mean([_jackknife(one) for one in varying])
    chance *= (1 + correlation**2) / (1 - correlation**2)
    middle = float(np.median(spreads))
    total = float(np.median(np.abs(spreads - middle)) * 1.4826) ** 2  # a noisy cell moves no other
    pool = _Pool(
        spread=middle,
        own=_up(max(total - chance, 0.0) / max(total, chance), 0.1),
        noisy=middle + NOISY * math.sqrt(max(total, chance)),
        autocorrelation=_up(correlation, 0.05),
        skewness=MOST_SKEWED,
    )
    skewness = _upper([_third(one) / pool.spread_of(one)[0] ** 3 for one in varying])
    return pool._replace(skewness=min(_up(skewness, 0.5), MOST_SKEWED))


def _upper(values: list) -> float:
    """One standard error above the mean, at least 0."""
    return max(float(np.mean(values) + np.std(values, ddof=1) / math.sqrt(len(values))), 0.0)


def _up(value: float, step: float) -> float:
    """Rounded up, so that few factors need to be simulated."""
    return round(math.ceil(value / step - 1e-9) * step, 2)


def _third(series: np.ndarray) -> float:
    """The third cumulant, without bias."""
    n = len(series)
    return float(((series - series.mean()) ** 3).sum() * n / ((n - 1) * (n - 2)))


def _correlation(series: np.ndarray) -> float:
    """Lag-1 autocorrelation without the bias of short series."""
    covariance = autocovariance(series, 1)
    return (covariance[1] / covariance[0] * len(series) + 1) / (len(series) - 3)


def _jackknife(series: np.ndarray) -> float:
    """Variance of the logarithm of a standard deviation."""
    n = len(series)
    total, squares = series.sum(), (series**2).sum()
    mean = (total - series) / (n - 1)
    variance = np.maximum((squares - series**2) / (n - 1) - mean**2, 1e-300)
    return float((n - 1) * np.var(np.log(variance) / 2))


def _band(
    series: np.ndarray, lower_is_better: bool, pool: _Pool, rate: float, max_retries: int
) -> Band:
    centre = float(series.mean())
    spread, own = pool.spread_of(series)
    provisional = len(series) < WANTED_RUNS
    factor = tolerance(
        runs=min(len(series), MOST_RUNS),
        rate=rate * (PROVISIONAL if provisional else 1),
        retries=max_retries,
        autocorrelation=pool.autocorrelation,
        skewness=pool.skewness,
        own=own,
    )
    sign = 1 if lower_is_better else -1
    # a band that is too narrow to believe is widened as a whole
    unit = max(spread, math.log1p(NARROWEST) / factor.red)
    again, red, detects = (edge * unit for edge in factor)
    return Band(
        value=math.exp(sign * float(np.median(series))),
        again=math.exp(sign * (centre + again)),
        red=math.exp(sign * (centre + red)),
        good=math.exp(sign * (centre - TOO_GOOD * red)),
        detects=math.expm1(detects),
        runs=len(series),
        provisional=provisional,
        lower_is_better=lower_is_better,
    )


@functools.cache
def tolerance(
    *, runs: int, rate: float, retries: int, autocorrelation: float, skewness: float, own: float
) -> Factor:
    """The factor for a wanted false-alarm rate, by simulation of baseline and night.

    The noise is normal with the given autocorrelation, which holds within a night, too, or a gamma
    law with the given skewness; the worse of the two counts. Of the possible `again` edges the one
    that detects the smallest shift is taken.

    Args:
        runs: in the baseline.
        rate: of false alarms per night.
        retries: most further measurements.
        autocorrelation: of neighbouring runs.
        skewness: of the noise towards the worse.
        own: weight of the baseline's own log spread against the true one.
    """
    rng = np.random.default_rng(0)
    normal = _standardised(
        baseline=_chain(rng.standard_normal((runs, DRAWS)), autocorrelation),
        night=_chain(rng.standard_normal((retries + 1, DRAWS * 10)), autocorrelation),
        own=own,
    )
    shape = 4 / max(skewness, 0.1) ** 2
    skewed = _standardised(
        baseline=(rng.gamma(shape, size=(runs, DRAWS)) - shape) / math.sqrt(shape),
        night=(rng.gamma(shape, size=(retries + 1, DRAWS * 10)) - shape) / math.sqrt(shape),
        own=own,
    )
    found = []
    for again in np.arange(1.0, 8.1, 0.5):
        red = max(_exceeded(*noise[:2], again, rate) for noise in (normal, skewed))
        detects = _detected(normal, again, red)
        found.append(Factor(again=float(again), red=red, detects=detects))
    return min(found, key=lambda factor: factor.detects)


def _chain(noise: np.ndarray, autocorrelation: float) -> np.ndarray:
    """White noise (n, draws) as a stationary autoregression along its first axis, in place."""
    for i in range(1, len(noise)):
        noise[i] *= math.sqrt(1 - autocorrelation**2)
        noise[i] += autocorrelation * noise[i - 1]
    return noise


def _standardised(baseline: np.ndarray, night: np.ndarray, own: float) -> tuple:
    """(least, mean) of every night's measurements in units of the baseline, and the unit."""
    mean, spread = baseline.mean(axis=0), baseline.std(axis=0, ddof=1)
    spread = np.exp(own * np.log(spread) + (1 - own) * np.log(spread).mean())
    copies = night.shape[1] // len(mean)
    mean, spread = np.tile(mean, copies), np.tile(spread, copies)
    return (night.min(axis=0) - mean) / spread, (night.mean(axis=0) - mean) / spread, spread


def _exceeded(least: np.ndarray, mean: np.ndarray, again: float, rate: float) -> float:
    """The edge that the means of so many nights are beyond."""
    beyond = np.sort(mean[least > again])[::-1]
    allowed = int(rate * len(least))
    return max(again, float(beyond[allowed])) if len(beyond) > allowed else again


def _detected(noise: tuple, again: float, red: float) -> float:
    """The smallest shift, in mean estimated standard deviations, that is red in 95 %."""
    least, mean, spread = noise
    needed = np.maximum(again - least, red - mean) * spread
    return float(np.quantile(needed, POWER) / spread.mean())
