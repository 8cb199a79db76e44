"""bigearth/learn/input/dealing.py: who gets which samples when."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigearth.learn.input.dealing import WINDOW, Dealing

# a batch per rank, ranks, steps, samples that are left over
SIZES = (st.integers(1, 6), st.integers(1, 8), st.integers(1, 70), st.integers(0, 5))


def dealing(batch_size, world_size, steps, left=0, rank=0, seed=0):
    positions = 3 * np.arange(batch_size * world_size * steps + left) + 7  # other patches between
    return Dealing(
        positions=positions,
        batch_size=batch_size,
        rank=rank,
        world_size=world_size,
        steps=steps,
        seed=seed,
        shuffle=True,
    )


def batches(batch_size, world_size, steps, left=0, epoch=0):
    """(ranks, steps, batch_size) positions."""
    ranks = [dealing(batch_size, world_size, steps, left, rank) for rank in range(world_size)]
    order = ranks[0].order(epoch)
    return np.array([[rank.batch(order, step) for step in range(steps)] for rank in ranks])


@given(*SIZES, st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_every_sample_once_but_those_left_over(batch_size, world_size, steps, left, epoch):
    left = min(left, batch_size * world_size - 1)
    found = batches(batch_size, world_size, steps, left, epoch)
    assert found.shape == (world_size, steps, batch_size)
    wanted = dealing(batch_size, world_size, steps, left).positions
    assert np.isin(found, wanted).all() and len(np.unique(found)) == found.size
    assert found.size == len(wanted) - left


@given(*SIZES)
@settings(max_examples=60, deadline=None)
def test_in_a_window_a_place_has_one_stretch_of_the_file(batch_size, world_size, steps, left):
    """A sample of it in every step; only the stretch around the end of the file is in two parts."""
    left = min(left, batch_size * world_size - 1)
    mine = dealing(batch_size, world_size, steps, left)
    positions, broken = mine.positions, 0
    taken = batches(batch_size, world_size, steps, left).transpose(1, 0, 2).reshape(steps, -1)
    for first, end in zip(mine.bounds(), mine.bounds()[1:]):
        for stretch in taken[first:end].T:
            rows = np.sort(np.searchsorted(positions, stretch))
            # the samples that are left out may be within it
            broken += rows[-1] - rows[0] > len(rows) - 1 + left
    assert broken <= 1


def test_windows_are_few_of_almost_equal_length_and_cover_every_step():
    for steps in range(1, 200):
        lengths = np.diff(dealing(1, 1, steps).bounds())
        assert lengths.sum() == steps and len(lengths) == -(-steps // WINDOW)
        assert lengths.min() >= 1 and lengths.max() <= WINDOW and np.ptp(lengths) <= 1
        mine = dealing(1, 1, steps)
        ends = [mine.window_end(step) for step in range(steps)]
        assert ends == np.repeat(mine.bounds()[1:], lengths).tolist()
        assert mine.window_end(steps) == steps


@given(st.integers(1, 60), st.integers(0, 5), st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_a_step_is_the_same_set_on_another_number_of_ranks(steps, left, epoch):
    one = batches(12, 1, steps, left, epoch)
    for ranks in (2, 3, 4, 12):
        other = batches(12 // ranks, ranks, steps, left, epoch)
        for step in range(steps):
            assert np.array_equal(np.sort(one[:, step].ravel()), np.sort(other[:, step].ravel()))


@pytest.mark.parametrize("world_size", [1, 4, 16, 96])
def test_a_local_batch_comes_from_as_many_tiles_as_an_independent_draw(world_size):
    """100 tiles of 2,500 neighbours: 64 samples drawn independently are of 47.4 tiles."""
    tile = np.repeat(np.arange(100), 2500)
    steps = len(tile) // (64 * world_size)
    order = dealing(64, world_size, steps).order(0)
    tiles = tile[(order - 7) // 3].reshape(-1, 64)
    found = np.mean([len(np.unique(batch)) for batch in tiles])
    assert found == pytest.approx(100 * (1 - 0.99**64), rel=0.05)


def test_the_left_over_rotates():
    mine = dealing(10, 1, 10, left=3)
    times = np.zeros(103, int)
    for epoch in range(34):
        left = np.setdiff1d(mine.positions, mine.order(epoch))
        assert len(left) == 3
        times[(left - 7) // 3] += 1
    assert times.max() == 1  # 34 * 3 = 102 different samples


def test_epochs_and_seeds_differ_and_repeat():
    def order(seed, epoch):
        return dealing(10, 1, 100, seed=seed).order(epoch)

    np.testing.assert_array_equal(order(1, 0), order(1, 0))
    assert (order(1, 0) != order(1, 1)).mean() > 0.9
    assert (order(1, 0) != order(2, 0)).mean() > 0.9


def test_the_shuffle_is_global():
    """A step's samples come from all over the file, and not in its order."""
    batch_size, steps = 8, 800
    order = dealing(batch_size, 1, steps).order(0).reshape(-1, batch_size) // 3
    size = batch_size * steps
    assert np.ptp(order, axis=1).mean() > 0.5 * size
    first_half = (order < size / 2).mean(axis=1)
    assert 0.4 < first_half.mean() < 0.6
    assert abs(np.corrcoef(order.ravel(), np.arange(size))[0, 1]) < 0.2
    # neighbours in the file do not follow each other
    assert (np.diff(order.ravel()) == 1).mean() < 0.02


def test_stretches_begin_elsewhere_in_every_epoch():
    """Else the same neighbours would be kept apart, or be seen close in time, for ever."""
    mine = dealing(4, 1, 64)
    starts = set()
    for epoch in range(20):
        order = mine.order(epoch).reshape(64, 4)
        starts.add(int(order[: mine.bounds()[1], 0].min() - 7) // 3 % WINDOW)
    assert len(starts) > 8
