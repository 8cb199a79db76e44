"""Which patches of a file a run trains on, validates on and tests on."""

import hashlib
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigearth.learn.splits import SPLITS, drawn, repeated
from bigearth.store import SPLITS as CODES


def file_of(names: list, codes: list) -> SimpleNamespace:
    """What `drawn` reads of a file."""
    codes = np.array(codes)
    return SimpleNamespace(
        names=names, indices=lambda split: np.flatnonzero(codes == CODES.index(split))
    )


@given(
    st.lists(st.text(min_size=1, max_size=9), unique=True, max_size=60),
    st.randoms(use_true_random=False),
)
def test_drawn_split_by_a_plain_loop(names, random):
    names = sorted(names)
    codes = [random.randrange(4) for _ in names]
    found = drawn(file_of(names, codes))
    used = [i for i, code in enumerate(codes) if code != CODES.index("none")]
    ordered = sorted(used, key=lambda i: hashlib.sha256(names[i].encode()).digest())
    train, val = round(0.6 * len(used)), round(0.8 * len(used))
    expected = ordered[:train], ordered[train:val], ordered[val:]
    for split, positions in zip(SPLITS, expected):
        assert found[split].tolist() == sorted(positions)


def test_drawn_split_of_the_same_patches_is_the_same_in_any_file():
    names = [f"patch_{i:03}" for i in range(100)]
    whole = drawn(file_of(names, [i % 3 for i in range(100)]))
    other = drawn(file_of(["a", *names], [CODES.index("none"), *([0] * 100)]))
    assert [len(whole[split]) for split in SPLITS] == [60, 20, 20]
    for split in SPLITS:
        assert whole[split].tolist() == (other[split] - 1).tolist()


@pytest.mark.parametrize("count, sizes", [(0, [0, 0, 0]), (1, [1, 0, 0])])
def test_nearly_empty_files(count, sizes):
    found = drawn(file_of(["x"] * count, [0] * count))
    assert [len(found[split]) for split in SPLITS] == sizes


def test_patches_of_rare_classes_come_more_often():
    labels = np.zeros((400, 3), np.uint8)
    labels[:, 0] = 1  # in all
    labels[:100, 1] = 1  # in a quarter: just not rare
    labels[:4, 2] = 1  # in 1 %: five times
    counts = np.bincount(repeated(np.arange(400), labels, share=0.25, seed=3), minlength=400)
    assert (counts[:4] == 5).all() and (counts[4:] == 1).all()
    labels[:40, 2] = 1  # in 10 %: sqrt(2.5) times in the mean
    found = repeated(np.arange(400), labels, share=0.25, seed=3)
    counts = np.bincount(found, minlength=400)
    assert set(counts[:40]) == {1, 2} and abs(counts[:40].mean() - 2.5**0.5) < 0.25
    assert (np.diff(found) >= 0).all() and len(
        repeated(np.arange(400), labels, share=0, seed=3)
    ) == 400
