"""The all-reduce on real ranks, and what is made of its times."""

import numpy as np
import pytest

from benchmarks import allreduce
from bigearth import record


@pytest.mark.mpi
@pytest.mark.parametrize("library, ranks", [("mpi", 3), ("horovod", 2)])
def test_ranks_sum_exactly_and_write_the_record(mpirun, tmp_path, library, ranks):
    options = ["--library", library, "--largest-mb", 1, "--repeats", 6, "--out", tmp_path]
    done = mpirun(ranks, "-m", "benchmarks.allreduce", *options)
    assert done.returncode == 0, done.stderr[-2000:]
    content = record.read(tmp_path / "result.json")
    sizes = content.tables["sizes"]
    assert [row["bytes"] for row in sizes] == [2**10, 2**12, 2**14, 2**16, 2**18, 2**20]
    assert content.tables["gradients"][0]["bytes"] == 94_497_452
    assert len(content.ranks) == ranks
    travelled = 2 * (ranks - 1) / ranks * 2**20 / 1e9
    assert content.value("allreduce_bandwidth") == pytest.approx(travelled / sizes[-1]["seconds"])
    low, high = content.metrics["allreduce_bandwidth"]["interval"]
    assert low <= content.value("allreduce_bandwidth") <= high


def test_one_rank_has_nothing_to_measure(mpirun, tmp_path):
    done = mpirun(1, "-m", "benchmarks.allreduce", "--out", tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    content = record.read(tmp_path / "result.json")
    assert content.value("allreduce_bandwidth") is None
    assert "one rank" in content.metrics["allreduce_bandwidth"]["reason"]


class Faulty:
    """Two ranks in one process; the sum has one wrong number."""

    rank, size = 0, 2

    def gather(self, value):
        return [value, value]

    def barrier(self):
        pass

    def summing(self, sizes):
        sums = [allreduce.exact(size, 2).astype(np.float32) for size in sizes]
        sums[-1][7] += 1
        return lambda: None, lambda: sums


def test_a_wrong_sum_is_an_error():
    with pytest.raises(RuntimeError, match="1 of 256 sums over 2 ranks are wrong"):
        allreduce.measure(Faulty(), [1024], 6)


@pytest.mark.parametrize("world_size", [2, 3, 4096])
def test_the_exact_sum_is_that_of_the_patterns(world_size):
    size = 4 * 600
    total = sum(allreduce.pattern(size, r).astype(np.int64) for r in range(world_size))
    np.testing.assert_array_equal(allreduce.exact(size, world_size), total)
    assert total.max() < 2**24  # float32 holds every partial sum


def test_sizes_end_with_the_largest():
    assert allreduce.sizes_to(3 << 20)[-2:] == [1 << 20, 3 << 20]
