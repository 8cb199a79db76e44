"""reframe_tests/results/changes.py on series with known answers."""

import math

import numpy as np
import pytest

from reframe_tests.results import changes


def test_a_step_is_found_where_it_is_with_its_size():
    rng = np.random.default_rng(0)
    values = 100 * (1 + 0.01 * rng.standard_normal(60))
    values[40:] *= 1.05
    (change,) = changes.find(values)
    assert change.index == 40 and change.runs == 20 and change.lasting
    assert change.effect == pytest.approx(0.05, abs=0.01)
    assert change.strength == pytest.approx(5, abs=1.5)


def test_a_change_that_went_away_is_told_as_over():
    values = np.r_[
        np.full(20, 10.0), np.full(10, 12.0), np.full(20, 10.0)
    ] + 0.01 * np.random.default_rng(1).standard_normal(50)
    up, down = changes.find(values)
    assert (up.index, up.runs, up.lasting) == (20, 10, False)
    assert (down.index, down.lasting) == (30, True)


def test_one_odd_night_is_no_change():
    values = 1 + 0.01 * np.random.default_rng(2).standard_normal(60)
    values[30] = 1.5
    assert changes.find(values) == []


@pytest.mark.parametrize("values", [[], [1.0], [1.0] * 50, [1.0, 2.0] * 2, [0.0] * 10])
def test_too_few_or_equal_values_hold_no_change(values):
    assert changes.find(values) == []


def test_levels_without_any_noise_still_change():
    (change,) = changes.find([5.0] * 10 + [6.0] * 5)
    assert change.index == 10 and change.strength == math.inf
