"""Bands: the promise of red nights and the power, on noise that the simulation inside does not
share, and what is refused."""

import math

import numpy as np
import pytest
from scipy import stats

from reframe_tests.results import calibration, study
from reframe_tests.results.calibration import calibrate


@pytest.mark.parametrize("kind", ["normal", "exponential", "lognormal", "AR(1) 0.5"])
@pytest.mark.parametrize(("runs", "most"), [(20, 1.5), (10, 3.0)])
def test_red_nights_without_a_cause_are_few_and_a_slow_down_is_red(kind, runs, most):
    red, slower = study.band_line(kind, runs, study.Config(repeats=3))
    assert red <= most and slower >= 0.95


def test_one_measurement_of_one_normal_cell_is_a_prediction_interval():
    """Without retries, pooling, skewness and autocorrelation the factor is Student's."""
    found = calibration.tolerance(
        runs=10, rate=0.01, retries=0, autocorrelation=0.0, skewness=0.0, own=1.0
    )
    student = stats.t.ppf(0.99, 9) * math.sqrt(1 + 1 / 10)
    assert max(found.again, found.red) == pytest.approx(student, rel=0.05)


def test_judging_measures_again_before_it_is_red():
    values = 100 * (1 + 0.01 * np.random.default_rng(1).standard_normal((12, 20)))
    band = calibrate(dict(enumerate(values)), lower_is_better=True)[0]
    assert band.provisional is False and "20 runs" in band.sentence()
    assert band.judge([100], 2) == "passed"
    assert band.judge([110], 2) == "again"
    assert band.judge([110, 100], 2) == "passed"
    assert band.judge([110, 111], 2) == "again"
    assert band.judge([110, 111, 112], 2) == "failed"
    assert band.judge([110], 0) == "failed"
    assert band.judge([math.nan], 2) == band.judge([], 2) == "could not be measured"


def test_direction_turns_the_band_round():
    values = np.exp(0.01 * np.random.default_rng(2).standard_normal((12, 20)))
    time = calibrate(dict(enumerate(values)), lower_is_better=True)[0]
    rate = calibrate(dict(enumerate(1 / values)), lower_is_better=False)[0]
    assert rate.red == pytest.approx(1 / time.red) and rate.again == pytest.approx(1 / time.again)
    assert time.good < time.value < time.again <= time.red
    assert rate.good > rate.value > rate.again >= rate.red


def test_a_noisy_cell_keeps_its_own_spread_and_widens_no_other():
    rng = np.random.default_rng(3)
    quiet = {i: 100 * (1 + 0.01 * rng.standard_normal(20)) for i in range(30)}
    without = calibrate(quiet, lower_is_better=True)
    noisy = calibrate(
        {**quiet, "noisy": 100 * (1 + 0.1 * rng.standard_normal(20))}, lower_is_better=True
    )
    assert noisy["noisy"].detects > 4 * noisy[0].detects
    assert noisy[0].detects == pytest.approx(without[0].detects, rel=0.15)


def test_few_or_unusable_runs_have_no_band_but_a_sentence():
    found = calibrate(
        {
            "one": [1.0],
            "nine": [1.0] * 9,
            "nan": [1.0] * 10 + [math.nan],
            "zero": [0.0] * 10,
            "ten": 1 + 0.01 * np.arange(10),
        },
        lower_is_better=True,
    )
    assert found["one"].startswith("1 run(s)") and found["nine"].startswith("9 run(s)")
    assert "not a finite number" in found["nan"] and "0 or negative" in found["zero"]
    assert found["ten"].provisional and "20 or more are wanted" in found["ten"].sentence()


def test_equal_runs_do_not_prove_that_there_is_no_noise():
    band = calibrate({"equal": [5.0] * 20}, lower_is_better=True)["equal"]
    assert band.red >= 5.0 * (1 + calibration.NARROWEST) * (1 - 1e-9)
