import gc
import resource
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from bigearth.errors import InputError
from bigearth.learn.input import reader as reader_module
from bigearth.learn.input.reader import Reader
from bigearth.store import ARRAYS

NATIVE = ("data_10m", "data_20m", "data_60m")


class Labels:
    """A stand-in for a store where only the order of the samples matters."""

    path = "labels.h5"

    def __init__(self, size):
        self.classes = np.zeros((size, 43), np.uint8)


def positions_of(reader, epoch=0, start_step=0):
    return [batch["position"].numpy() for batch in reader.dataset(epoch, start_step)]


def all_ranks(size, batch_size, world_size, epoch=0, start_step=0, shuffle=True, seed=0):
    """Per rank, the list of its batches' positions."""
    file = Labels(size)
    readers = [
        Reader(file, np.arange(size), (), batch_size, rank, world_size, seed, shuffle)
        for rank in range(world_size)
    ]
    assert len({r.steps for r in readers}) == 1
    return [positions_of(r, epoch, start_step) for r in readers]


@given(st.integers(1, 5), st.integers(1, 7), st.integers(0, 400), st.integers(0, 30))
@settings(max_examples=60, deadline=None)
def test_an_epoch_has_full_batches_and_no_sample_twice(world_size, batch_size, more, epoch):
    global_batch = world_size * batch_size
    size = global_batch + more
    ranks = all_ranks(size, batch_size, world_size, epoch)
    assert {len(batch) for batches in ranks for batch in batches} == {batch_size}
    assert len(ranks[0]) == size // global_batch
    flat = np.concatenate([batch for batches in ranks for batch in batches])
    assert len(flat) == len(np.unique(flat)) == size // global_batch * global_batch
    assert flat.min() >= 0 and flat.max() < size


@given(st.integers(1, 5), st.integers(1, 7), st.integers(1, 200))
@settings(max_examples=60, deadline=None)
def test_in_order_every_sample_comes_once(world_size, batch_size, size):
    ranks = all_ranks(size, batch_size, world_size, shuffle=False)
    assert {len(batches) for batches in ranks} == {-(-size // (batch_size * world_size))}
    np.testing.assert_array_equal(
        np.sort(np.concatenate([b for batches in ranks for b in batches])), np.arange(size)
    )


@pytest.mark.parametrize("start_step", [0, 1, 5, 9])
def test_resumes_at_any_step(start_step):
    whole, rest = (
        all_ranks(101, 5, 2, epoch=2),
        all_ranks(101, 5, 2, epoch=2, start_step=start_step),
    )
    for batches, later in zip(whole, rest):
        np.testing.assert_array_equal(np.array(batches[start_step:]), np.array(later))


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("keys", [("data_super",), NATIVE])
def test_batches_hold_what_the_file_holds(patches, keys, shuffle):
    wanted = patches.indices("train")
    seen = []
    for rank in range(2):
        for batch in Reader(patches, wanted, keys, 8, rank, 2, shuffle=shuffle).dataset(epoch=1):
            position = batch["position"].numpy()
            for key in keys:
                assert batch[key].dtype == tf.uint16
                np.testing.assert_array_equal(batch[key].numpy(), patches.array(key)[position])
            np.testing.assert_array_equal(batch["classes"].numpy(), patches.classes[position])
            seen.append(position)
    seen = np.concatenate(seen)
    assert np.isin(seen, wanted).all() and len(np.unique(seen)) == len(seen) == (
        96 if shuffle else 97
    )


def test_one_shape_for_all_batches_of_training(patches):
    spec = Reader(patches, patches.indices("train"), ("data_60m",), 8).dataset(0).element_spec
    assert spec["data_60m"].shape == (8,) + ARRAYS["data_60m"].shape


def test_tensors_stay_as_they_were_while_the_reader_goes_on(patches):
    """Keeps every tensor of an epoch, and views of parts, while the reader runs on: no buffer may
    be used again under them."""
    reader = Reader(patches, patches.indices("train"), ("data_super",), 8)
    kept = [
        (batch["position"].numpy(), batch["data_super"], batch["data_super"][2:5])
        for batch in reader.dataset(0)
    ]
    for epoch in range(1, 4):
        for _ in reader.dataset(epoch):
            pass
    for position, tensor, part in kept:
        expected = patches.array("data_super")[position]
        np.testing.assert_array_equal(tensor.numpy(), expected)
        np.testing.assert_array_equal(part.numpy(), expected[2:5])


def test_a_slow_computation_on_a_batch_sees_that_batch(patches):
    """Maps a function that reads its input late, after the pipeline has run ahead."""
    reader = Reader(patches, patches.indices("train"), ("data_super",), 8)

    def late_sum(batch):
        tf.py_function(lambda: __import__("time").sleep(0.02), [], [])
        return batch["position"], tf.reduce_sum(
            tf.cast(batch["data_super"], tf.int64), axis=[1, 2, 3]
        )

    for position, total in reader.dataset(0).map(late_sum, num_parallel_calls=4).prefetch(4):
        np.testing.assert_array_equal(
            total.numpy(),
            patches.array("data_super")[position.numpy()].sum(axis=(1, 2, 3), dtype=np.int64),
        )


def test_a_view_of_a_batch_keeps_its_memory(patches):
    """NumPy views refer to the first owner: the last view, not the first array, decides when a
    buffer is free."""
    reader = Reader(patches, patches.indices("train"), ("data_60m",), 8)
    batches = reader.dataset(0).as_numpy_iterator()
    first = next(batches)
    position, part = first["position"][3], first["data_60m"][3]
    del first
    gc.collect()
    for _ in range(3):
        for batch in reader.dataset(1).as_numpy_iterator():
            assert not np.shares_memory(batch["data_60m"], part)
    np.testing.assert_array_equal(part, patches.array("data_60m")[position])


def test_tensorflow_takes_batches_without_copying_and_buffers_are_used_again(patches, monkeypatch):
    addresses = []
    take = reader_module._Buffers.take

    def note(self, count):
        batch = take(self, count)
        addresses.append(batch.ctypes.data)
        return batch

    monkeypatch.setattr(reader_module._Buffers, "take", note)
    reader = Reader(patches, patches.indices("train"), ("data_super",), 4)
    for epoch in range(5):
        for batch in reader.dataset(epoch):
            assert batch["data_super"]._numpy().ctypes.data in addresses
            del batch
    assert len(addresses) == 5 * 24
    assert len(set(addresses)) <= 12


def test_ends_early_without_leaving_work_behind(patches):
    reader = Reader(patches, patches.indices("train"), ("data_60m",), 4)
    for epoch in range(3):
        next(iter(reader.dataset(epoch)))
    assert len(positions_of(reader)) == 24


@pytest.mark.parametrize("cached", [True, False])
def test_both_ways_of_reading_agree(patches, monkeypatch, cached):
    from bigearth.learn.input.pagecache import Samples

    monkeypatch.setattr(Samples, "cached", lambda self, positions: cached)
    reader = Reader(patches, patches.indices("train"), NATIVE, 8, shuffle=False)
    for batch in reader.dataset(0).as_numpy_iterator():
        for key in NATIVE:
            np.testing.assert_array_equal(batch[key], patches.array(key)[batch["position"]])


def test_reads_stretches_of_neighbours_ahead_and_nothing_else(patches, tmp_path):
    import os
    import shutil

    from bigearth.learn.input.pagecache import Samples
    from bigearth.store import Store

    def cached():
        return [
            position for position in range(len(patches)) if samples.cached(np.array([position]))
        ]

    path = tmp_path / "unmapped.h5"
    shutil.copyfile(patches.path, path)
    samples = Samples(Store(path), "data_super")
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if cached():
        pytest.skip("files stay in memory here (tmpfs)")
    samples.prefetch(np.array([1, 90, 3, *range(40, 60)]))
    assert set(range(40, 60)) <= set(cached())
    assert not {1, 3} & set(cached())


def test_no_samples_and_too_few_are_refused(patches):
    with pytest.raises(InputError, match=r"patches\.h5: no samples"):
        Reader(patches, np.array([], np.int64), ("data_60m",), 8)
    with pytest.raises(
        InputError,
        match=r"97 samples do not fill one batch of 50 on each of 2 "
        r"ranks",
    ):
        Reader(patches, patches.indices("train"), ("data_60m",), 50, 0, 2)


def test_a_file_that_shrinks_is_named(patches, tmp_path):
    import os
    import shutil

    from bigearth.store import Store

    path = tmp_path / "short.h5"
    shutil.copyfile(patches.path, path)
    reader = Reader(Store(path), np.arange(len(patches)), ("data_super",), 8, shuffle=False)
    os.truncate(path, reader_offset(path) + 20 * 345_600)
    with pytest.raises(InputError, match=r"short\.h5: ends at byte"):
        for _ in reader.batches():
            pass


def reader_offset(path):
    import h5py

    with h5py.File(path, "r") as file:
        return file["data_super"].id.get_offset()


LARGER_THAN_MEMORY = """
import resource, sys
import numpy as np
from bigearth.learn.input.reader import Reader
from bigearth.store import Store

file = Store(sys.argv[1])
for _ in Reader(file, np.arange(8), ("data_60m",), 4, threads=2).dataset(0):
    pass  # TensorFlow has what it needs itself
reader = Reader(file, np.arange(len(file)), ("data_super",), 4, threads=2)
used = int(next(line for line in open("/proc/self/status") if line.startswith("VmData")).split()[1]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (used + 40_000_000, used + 40_000_000))
count = sum(len(batch["position"]) for epoch in range(3) for batch in reader.dataset(epoch))
print(count, "samples")
"""


def test_needs_memory_for_buffers_only(patches):
    """Reads 52 MB of a 76 MB file three times in a process that may allocate 40 MB more than
    before."""
    assert resource.RLIMIT_DATA  # Linux
    # the stacks of threads count as allocated
    small_stacks = ["bash", "-c", 'ulimit -s 512; exec "$@"', "-"]
    done = subprocess.run(
        [*small_stacks, sys.executable, "-c", LARGER_THAN_MEMORY, patches.path],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == "444 samples\n"


def test_the_pipeline_is_not_tuned(patches):
    """With TensorFlow's tuner on, iterators ended up to 20 s late: an epoch's time was not that of
    its steps."""
    assert (
        Reader(patches, patches.indices("train"), ("data_10m",), 4)
        .dataset(0)
        .options()
        .autotune.enabled
        is False
    )
