"""The test of the paper's claim, beside statsmodels and a simulation of its own power."""

import numpy as np
import pytest
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from reframe_tests.results import equivalence


@pytest.mark.parametrize("seed", range(5))
def test_p_and_bound_are_those_of_statsmodels(seed):
    rng = np.random.default_rng(seed)
    one, many = rng.normal(0.7, 0.01, 3 + seed), rng.normal(0.69, 0.02, 4)
    found = equivalence.not_worse(one, many, 0.02)
    compared = CompareMeans(DescrStatsW(many), DescrStatsW(one))
    _, p, _ = compared.ttest_ind(alternative="larger", usevar="unequal", value=-0.02)
    low, _ = compared.tconfint_diff(alpha=0.05, alternative="larger", usevar="unequal")
    assert found.p == pytest.approx(p, rel=1e-9)
    assert found.bound == pytest.approx(low, rel=1e-9)
    assert (found.state == "passed") == (p <= 0.05)


def share_passed(shift, seeds, repeats=4000):
    rng = np.random.default_rng(1)
    found = [
        equivalence.not_worse(rng.normal(0, 1, seeds), rng.normal(shift, 1, seeds), 2.0)
        for _ in range(repeats // 10)
    ]
    passed = np.mean([one.state == "passed" for one in found])
    return passed, np.median([one.power for one in found])


def test_a_claim_that_is_just_not_true_rarely_passes():
    passed, _ = share_passed(shift=-2.0, seeds=5)
    assert passed <= 0.085


def test_stated_power_is_that_of_a_simulation():
    passed, stated = share_passed(shift=0.0, seeds=8)
    assert passed == pytest.approx(stated, abs=0.1)


def test_clearly_worse_fails_and_scattered_seeds_are_not_certain():
    assert equivalence.not_worse([0.7, 0.71, 0.7], [0.5, 0.51, 0.5], 0.02).state == "failed"
    assert equivalence.not_worse([0.7, 0.6, 0.8], [0.7, 0.8, 0.6], 0.02).state == "not certain"


@pytest.mark.parametrize(
    ("one", "many", "why"),
    [
        ([0.7, 0.7], [0.7] * 3, "2 and 3 seeds"),
        ([0.7] * 3, [0.7, np.nan, 0.7], "not a finite number"),
        ([0.7] * 3, [0.7] * 3, "same score"),
    ],
)
def test_what_cannot_be_judged_says_why_and_never_passes(one, many, why):
    found = equivalence.not_worse(one, many, 0.02)
    assert found.state == "not judged" and why in found.sentence
