import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from bigearth.learn import thresholds


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20)), min_size=1, max_size=40))
@settings(max_examples=25, deadline=None)
def test_no_other_threshold_has_a_higher_f1(pairs):
    truth = np.array([[t] for t, _ in pairs])
    score = np.array([[s / 20] for _, s in pairs])
    found = thresholds.tune(truth, score)[0]
    if not truth.any():
        assert found == 0.5
        return
    best = max(
        f1_score(truth, score >= cut, zero_division=0) for cut in np.linspace(-0.025, 1.025, 22)
    )
    assert abs(f1_score(truth, score >= found) - best) < 1e-12


def test_of_equal_thresholds_the_one_nearest_to_a_half():
    # cuts at 0.15 (all three), 0.55 and 0.85: with one positive at the top the last is best; with
    # two alike classes 0.55
    truth = np.array([[1], [1], [0]])
    assert thresholds.tune(truth, np.array([[0.9], [0.8], [0.3]]))[0] == 0.55


def test_each_class_on_its_own():
    random = np.random.default_rng(0)
    truth = random.random((300, 5)) < 0.2
    score = np.clip(0.2 * truth + random.random((300, 5)) * 0.5, 0, 1)
    together = thresholds.tune(truth, score)
    np.testing.assert_array_equal(
        together, [thresholds.tune(truth[:, [c]], score[:, [c]])[0] for c in range(5)]
    )
    tuned = f1_score(truth, score >= together, average="macro")
    assert tuned > f1_score(truth, score >= 0.5, average="macro")
