"""The floor under F1, against brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from bigearth import constant


@settings(deadline=None)  # the first call loads scikit-learn
@given(st.integers(1, 40), st.integers(2, 5), st.integers(0, 2**32 - 1))
def test_best_constant_guess_is_the_best_of_all_constant_guesses(samples, classes, seed):
    truth = (np.random.default_rng(seed).random((samples, classes)) < 0.4).astype(int)
    guesses = [[(code >> i) & 1 for i in range(classes)] for code in range(2**classes)]
    best = max(
        f1_score(truth, np.tile(guess, (samples, 1)), average="micro", zero_division=0)
        for guess in guesses
    )
    assert constant.best(truth.sum(axis=0).tolist(), samples)[0] == pytest.approx(best, abs=1e-12)
