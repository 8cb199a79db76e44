"""bigearth/intervals.py: coverage on known distributions, SciPy and statsmodels beside it."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import signal, stats
from statsmodels.tsa import stattools

from bigearth import intervals

SERIES = 400  # per coverage: its own standard error is 0.011 at 0.95


def correlated(rng, count, coefficient):
    """A first-order autoregression of unit variance."""
    innovations = rng.standard_normal(count + 100) * math.sqrt(1 - coefficient**2)
    return signal.lfilter([1], [1, -coefficient], innovations)[100:]


# name -> (draw, mean, median)
KINDS = {
    "normal": (lambda rng, n: rng.standard_normal(n), 0, 0),
    "exponential": (lambda rng, n: rng.exponential(size=n), 1, math.log(2)),
    "lognormal": (lambda rng, n: rng.lognormal(sigma=0.5, size=n), math.exp(0.125), 1),
    "AR(1) 0.5": (lambda rng, n: correlated(rng, n, 0.5), 0, 0),
}


@pytest.mark.parametrize("kind", KINDS)
def test_intervals_hold_the_truth_as_often_as_they_say(kind):
    draw, mean, median = KINDS[kind]
    rng = np.random.default_rng(1)
    held = np.zeros(2)
    for seed in range(SERIES):
        samples = draw(rng, 100)
        for i, (found, truth) in enumerate(
            [(intervals.mean_interval(samples, seed=seed), mean),
             (intervals.median_interval(samples), median)]
        ):  # fmt: skip
            held[i] += found[0] <= truth <= found[1]
    assert (held / SERIES >= 0.915).all() and (held / SERIES <= 0.995).all(), held / SERIES


@pytest.mark.parametrize("kind", ["normal", "exponential", "AR(1) 0.5"])
def test_stopping_when_narrow_keeps_the_coverage(kind):
    draw, mean, _ = KINDS[kind]
    rng = np.random.default_rng(2)
    held, stopped = 0, []
    for _ in range(200):
        samples = 1 + 0.03 * (draw(rng, 600) - mean)
        look = next(
            found
            for n in range(30, 601)
            if intervals.is_look(n, 30, 600)
            for found in [intervals.enough(samples[:n], 0.01, 30, 600)]
            if found.enough
        )
        held += look.interval[0] <= 1 <= look.interval[1]
        stopped.append(look.narrow)
    assert held / 200 >= 0.9, held
    assert np.mean(stopped) > 0.95


def alternating(values):
    """The same values, low and high in turn: no positive autocorrelation widens the interval."""
    ordered = np.sort(values)
    half = len(ordered) // 2
    order = np.empty(len(ordered), int)
    order[::2] = np.arange(half, len(ordered))
    order[1::2] = np.arange(half)
    return ordered[order]


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200, unique=True),
    st.sampled_from([0.9, 0.95, 0.99]),
)
def test_median_of_independent_samples_is_scipys(values, level):
    found = intervals.median_interval(alternating(values), level)
    theirs = stats.quantile_test(values, p=0.5).confidence_interval(level)
    if found is None:
        assert not all(map(math.isfinite, theirs))
    else:
        assert found == (theirs.low, theirs.high)


def test_autocovariance_is_statsmodels():
    samples = correlated(np.random.default_rng(3), 200, 0.6)
    theirs = stattools.acovf(samples, fft=False, nlag=20)
    np.testing.assert_allclose(intervals.autocovariance(samples, 20), theirs, rtol=1e-10)


def test_blocks_are_as_long_as_theory_says():
    assert intervals.block_length(np.random.default_rng(4).standard_normal(4000)) <= 4
    coefficient, n = 0.5, 4000
    lags = np.arange(1, 100)
    longrun = 1 + 2 * (coefficient**lags).sum()
    best = (1.5 * (2 * (lags * coefficient**lags).sum() / longrun) ** 2 * n) ** (1 / 3)
    samples = correlated(np.random.default_rng(5), n, coefficient)
    assert intervals.block_length(samples) == pytest.approx(best, rel=0.35)


def test_interval_of_a_throughput_is_that_of_samples_over_time():
    rng = np.random.default_rng(6)
    seconds = rng.gamma(20, 0.05, 300)
    images = np.where(np.arange(300) % 10 == 9, 20.0, 64.0)  # the last batch is a short one
    low, high = intervals.ratio_interval(images, seconds)
    assert low < images.sum() / seconds.sum() < high
    # the spread of a ratio by the delta method
    parts = images - images.sum() / seconds.sum() * seconds
    spread = 1.96 * parts.std() / math.sqrt(300) / seconds.mean()
    assert (high - low) / 2 == pytest.approx(spread, rel=0.15)


@given(st.lists(st.floats(0.1, 10), min_size=10, max_size=60), st.floats(0.001, 1000))
def test_interval_scales_with_its_unit_and_holds_the_mean(values, scale):
    low, high = intervals.mean_interval(values)
    assert low <= np.mean(values) * (1 + 1e-9) and high >= np.mean(values) * (1 - 1e-9)
    other = intervals.mean_interval(np.array(values) * scale)
    np.testing.assert_allclose(other, (low * scale, high * scale), rtol=1e-6)


def test_too_few_samples_have_no_interval():
    assert intervals.median_interval([1, 2, 3, 4, 5]) is None
    assert intervals.median_interval([]) is None
    assert intervals.mean_interval(np.ones(9)) is None


def test_equal_samples_are_known_exactly():
    assert intervals.mean_interval(np.full(50, 3.0)) == (3.0, 3.0)
    assert intervals.median_interval(np.full(50, 3.0)) == (3.0, 3.0)
    assert intervals.enough(np.full(30, 3.0)).narrow


def test_measuring_ends_at_the_most_even_when_it_is_not_narrow():
    noisy = 1 + 0.5 * np.random.default_rng(7).standard_normal(40)
    assert not intervals.enough(noisy[:39], 0.01, 30, 40).enough
    look = intervals.enough(noisy, 0.01, 30, 40)
    assert look.enough and not look.narrow and look.interval


def test_looks_are_few():
    looks = [n for n in range(1, 2001) if intervals.is_look(n, 30, 1000)]
    assert looks[0] == 30 and 1000 in looks
    assert sum(n < 1000 for n in looks) <= 27
