"""bigearth/learn/measuring.py: neither too soon nor for ever."""

import numpy as np
import pytest

from bigearth.learn.measuring import WARM_UP, Measuring


def steps_until_enough(measuring, times):
    for number, seconds in enumerate(times, 1):
        measuring.add(seconds)
        if measuring.enough:
            return number
    return None


def test_quiet_steps_need_few_and_noisy_ones_more():
    random = np.random.default_rng(0)
    needed = []
    for cv in (0.001, 0.05, 0.1):
        measuring = Measuring(0.01)
        times = [9.0] * WARM_UP + list(0.5 * (1 + cv * random.standard_normal(2000)))
        needed.append(steps_until_enough(measuring, times))
        facts = measuring.facts()
        assert facts["steps"] == needed[-1] - WARM_UP and facts["narrow"]
        low, high = facts["interval"]
        assert (high - low) / 2 <= 0.01 * facts["step_time"] < high
        assert facts["step_time"] == pytest.approx(0.5, rel=0.02)  # the warm-up is left out
    assert needed[0] == WARM_UP + 30 < needed[1] < needed[2]


def test_stops_at_the_most_and_says_that_it_is_not_narrow():
    random = np.random.default_rng(1)
    measuring = Measuring(0.001, least=10, most=50)
    times = random.lognormal(0, 1, 200)
    assert steps_until_enough(measuring, times) == WARM_UP + 50
    assert measuring.facts()["narrow"] is False


def test_a_plain_run_is_never_enough():
    measuring = Measuring(None)
    assert steps_until_enough(measuring, [0.5] * 3000) is None and measuring.facts() is None
