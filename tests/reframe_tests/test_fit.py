"""Data and work that do not fit each other are found before a job is submitted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reframe_tests import budget, fit

PATCHES = {"train": 914, "val": 400, "test": 400}


@pytest.mark.parametrize(
    "change, message",
    [
        (
            {"ranks": 16},
            "one step of 16 ranks with 64 patches each need 1,024 patches for training",
        ),
        ({"steps": 40}, "40 steps of 4 ranks with 64 patches each need 10,240"),
        ({"ranks": 401, "batch_size": 1}, "the val split has 400 patches for 401 ranks"),
        ({}, ""),
        ({"batch_size": 0, "ranks": 300}, ""),
    ],
)
def test_misfits(change, message):
    work = {"name": "scaling nodes=4", "patches": PATCHES, "ranks": 4, "batch_size": 64}
    found = fit.misfit(**{**work, **change})
    assert message in found and bool(found) == bool(message)


@given(st.integers(1, 400), st.integers(0, 256))
def test_synthetic_patches_are_enough_for_the_steps(ranks, batch_size):
    train = int(budget.TRAIN_SHARE * budget.patches_for(ranks, batch_size))
    steps = budget.STEPS
    batch = batch_size or budget.BATCH_SIZE
    split = {"train": train + 1}  # the share is rounded down
    assert not fit.misfit(name="x", patches=split, ranks=ranks, batch_size=batch, steps=steps)
