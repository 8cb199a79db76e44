import errno
import os
import socket
import threading
from pathlib import Path

import numpy as np
import pytest

from bigearth.errors import InputError
from bigearth.learn.input import stage as module
from bigearth.learn.input.reader import Reader
from bigearth.learn.input.stage import part, stage


class Ranks:
    """Threads as the ranks of a run on nodes of equal size: gather through memory."""

    def __init__(self, size, local_size):
        self.size, self.local_size = size, local_size
        self._barrier = threading.Barrier(size, timeout=60)
        self._values = [None] * size

    def __call__(self, rank):
        ranks = self

        class Rank:
            def gather(self, value):
                if isinstance(value, str) and value == socket.gethostname():
                    value = f"node{rank // ranks.local_size}"
                ranks._values[rank] = value
                ranks._barrier.wait()
                values = list(ranks._values)
                ranks._barrier.wait()
                return values

        Rank.rank = rank
        return Rank()

    def run(self, work):
        """work(rank) on every rank; its results, or the exceptions it raised."""
        results = [None] * self.size

        def one(rank):
            try:
                results[rank] = work(self(rank))
            except Exception as error:
                results[rank] = error

        threads = [threading.Thread(target=one, args=(rank,)) for rank in range(self.size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results


def stage_on(ranks, patches, directory, keys=("data_20m", "data_60m")):
    return ranks.run(lambda rank: stage(patches, directory, keys, splits_of(patches), rank))


def splits_of(patches):
    return [patches.indices(split) for split in ("train", "val", "test")]


@pytest.mark.parametrize("size", [1, 15, 16, 17, 100, 1000])
def test_the_parts_of_all_nodes_are_the_whole(size):
    positions = np.arange(size) * 3
    parts = [part(positions, node, 7) for node in range(7)]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), positions)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_every_rank_reads_its_nodes_part_from_the_copy(patches, tmp_path):
    """Two nodes of two ranks: over an epoch no sample twice, all as in the file, in evaluation
    every sample once."""
    copies = stage_on(Ranks(4, 2), patches, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2  # one file per node, nothing temporary
    seen = {"train": [], "test": []}
    for rank, staged in enumerate(copies):
        assert (staged.node, staged.local_rank, staged.nodes, staged.local_size) == (
            rank // 2,
            rank % 2,
            2,
            2,
        )
        for split, shuffle in (("train", True), ("test", False)):
            reader = Reader(
                patches,
                patches.indices(split),
                staged.keys,
                4,
                rank,
                4,
                shuffle=shuffle,
                staged=staged,
            )
            assert reader.steps == (97 // 2 // 8 if shuffle else 2)
            for batch in reader.dataset(0).as_numpy_iterator():
                seen[split].append(batch["position"].copy())
                for key in staged.keys:
                    np.testing.assert_array_equal(batch[key], patches.array(key)[batch["position"]])
                np.testing.assert_array_equal(batch["classes"], patches.classes[batch["position"]])
    train, test = (np.concatenate(seen[split]) for split in ("train", "test"))
    assert len(train) == len(np.unique(train)) == 96
    np.testing.assert_array_equal(np.sort(test), patches.indices("test"))


def test_a_copy_is_used_again_without_reading_the_source(patches, tmp_path, monkeypatch):
    first = stage_on(Ranks(2, 2), patches, tmp_path)
    before = os.stat(first[0].path).st_mtime_ns
    monkeypatch.setattr(module, "_copy", lambda *_: pytest.fail("copied again"))
    # another number of ranks on the node makes no difference
    again = stage_on(Ranks(1, 1), patches, tmp_path)
    assert again[0].path == first[0].path and os.stat(first[0].path).st_mtime_ns == before


@pytest.mark.parametrize("byte", [0, -1, "middle"])
def test_a_copy_with_one_wrong_byte_is_made_again(patches, tmp_path, byte):
    path = Path(stage_on(Ranks(2, 2), patches, tmp_path)[0].path)
    good = path.read_bytes()
    bad = bytearray(good)
    bad[len(bad) // 2 if byte == "middle" else byte] ^= 1
    path.write_bytes(bad)
    stage_on(Ranks(2, 2), patches, tmp_path)
    assert path.read_bytes() == good


def test_a_copy_cut_short_is_made_again(patches, tmp_path):
    path = Path(stage_on(Ranks(2, 2), patches, tmp_path)[0].path)
    good = path.read_bytes()
    os.truncate(path, len(good) // 2)
    stage_on(Ranks(2, 2), patches, tmp_path)
    assert path.read_bytes() == good


def test_a_disk_that_writes_something_else_is_found(patches, tmp_path, monkeypatch):
    real = module._map

    def broken(path, staged, key):
        array = np.array(real(path, staged, key))
        if staged.local_rank == 1:
            array[-1].flat[0] ^= 1
        return array

    monkeypatch.setattr(module, "_map", broken)
    results = stage_on(Ranks(2, 2), patches, tmp_path)
    assert all(isinstance(r, InputError) and "reads back differently" in str(r) for r in results), (
        results
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["posix_fallocate", "fsync"])
def test_a_full_disk_ends_all_ranks_and_leaves_nothing(patches, tmp_path, monkeypatch, place):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module.os, place, full)
    results = stage_on(Ranks(2, 2), patches, tmp_path)
    assert all(isinstance(r, InputError) and "No space left" in str(r) for r in results), results
    assert list(tmp_path.iterdir()) == []


def test_nodes_of_different_sizes_are_refused(patches, tmp_path):
    results = stage_on(Ranks(3, 2), patches, tmp_path)
    assert all(
        isinstance(r, InputError) and "different numbers of ranks (node0 2, node1 1)" in str(r)
        for r in results
    ), results


def test_two_runs_that_stage_the_same_part_at_once_both_have_it(patches, tmp_path, monkeypatch):
    """The second run starts, and ends, while the first is in the middle of its copy."""
    real, second = module._copy, []

    def interrupted(*arguments, **options):
        monkeypatch.setattr(module, "_copy", real)
        second.extend(stage_on(Ranks(1, 1), patches, tmp_path, ("data_60m",)))
        Path(second[0].path).unlink()  # what the first does is its own
        return real(*arguments, **options)

    monkeypatch.setattr(module, "_copy", interrupted)
    first = stage_on(Ranks(1, 1), patches, tmp_path, ("data_60m",))
    assert len(second) == 1 and first[0].path == second[0].path
    expected = patches.array("data_60m")[first[0].positions]
    np.testing.assert_array_equal(first[0].array("data_60m"), expected)
    assert list(tmp_path.iterdir()) == [Path(first[0].path)]


def test_another_file_or_other_keys_have_another_copy(patches, tmp_path):
    stage_on(Ranks(1, 1), patches, tmp_path, ("data_60m",))
    stage_on(Ranks(1, 1), patches, tmp_path, ("data_20m",))
    assert len(list(tmp_path.iterdir())) == 2


STAGE = """
import sys
import numpy as np
from mpi4py import MPI
from bigearth.learn.input.reader import Reader
from bigearth.learn.input.stage import stage
from bigearth.store import Store

class Ranks:
    rank, gather = MPI.COMM_WORLD.rank, staticmethod(MPI.COMM_WORLD.allgather)

file = Store(sys.argv[1])
splits = [file.indices(split) for split in ("train", "val", "test")]
staged = stage(file, sys.argv[2], ("data_60m",), splits, Ranks)
reader = Reader(file, file.indices("val"), ("data_60m",), 4, shuffle=False, staged=staged)
seen = [(p, x.tobytes() == file.array("data_60m")[p].tobytes()) for b in reader.dataset(0).as_numpy_iterator() for p, x in zip(b["position"], b["data_60m"])]
seen = sorted(sum(MPI.COMM_WORLD.allgather(seen), []))
assert [p for p, _ in seen] == file.indices("val").tolist() and all(same for _, same in seen)
"""


@pytest.mark.mpi
def test_on_real_ranks(patches, tmp_path, mpirun):
    for _ in range(2):  # the second time the copy is there
        done = mpirun(2, "-c", STAGE, patches.path, tmp_path, timeout=100)
        assert done.returncode == 0, done.stderr[-2000:]
    assert len(list(tmp_path.iterdir())) == 1
