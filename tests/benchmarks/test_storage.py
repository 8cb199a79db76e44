"""The file system's ceilings: on real ranks, and what is made of their times."""

import os

import numpy as np
import pytest

from benchmarks import storage
from benchmarks.studies import reader_speed
from bigearth import record
from bigearth.store import Store


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return reader_speed.make_file(tmp_path_factory.mktemp("data") / "random.h5", 9)


@pytest.mark.mpi
def test_ranks_read_and_write_and_leave_nothing(mpirun, data, tmp_path):
    options = ["--data", data, "--out", tmp_path, "--write-mb", 1, "--samples", 3]
    done = mpirun(2, "-m", "benchmarks.storage", *options)
    assert done.returncode == 0, done.stderr[-2000:]
    content = record.read(tmp_path / "result.json")
    assert os.listdir(os.path.dirname(data)) == ["random.h5"]
    for name in ("storage_sequential_warm", "storage_opens", "storage_write", "storage_fsync"):
        low, high = content.metrics[name]["interval"]
        assert 0 < low <= content.value(name) <= high
    turns = [t["seconds"] for t in content.tables["turns"] if t["name"] == "storage_random_warm"]
    moved = 2 * 3 * storage.SAMPLE_BYTES / 1e9
    assert content.value("storage_random_warm") == pytest.approx(moved / np.median(turns))


def test_every_sample_is_read_once_in_any_order(data, monkeypatch):
    file = Store(data)
    places = []
    whole = os.preadv
    monkeypatch.setattr(
        os, "preadv", lambda f, b, offset: places.append(offset) or whole(f, b, offset)
    )
    storage.read_randomly(file, np.array([5, 0, 7, 2, 3, 8]))
    first = file.offsets["data_super"]
    assert sorted(places) == [first + n * storage.SAMPLE_BYTES for n in (0, 2, 3, 5, 7, 8)]


def test_what_was_not_measured_is_null_with_its_reason():
    seconds = {name: [0.5] * 5 + [1.0] for name in (*storage.READS, "storage_opens")}
    amounts = {**dict.fromkeys(storage.READS, 2.0), "storage_opens": 100}
    metrics = storage.metrics_of(seconds, amounts, cached=0.5, reason="read-only")
    assert metrics["storage_random_warm"]["value"] == 4.0
    assert metrics["storage_random_warm"]["interval"] == [2.0, 4.0]
    assert metrics["storage_opens"]["value"] == 200
    assert "50% of the samples stayed" in metrics["storage_random_cold"]["reason"]
    assert metrics["storage_write"]["reason"] == "read-only"
    cold = storage.metrics_of(seconds, amounts, cached=0.05, reason="read-only")
    assert cold["storage_random_cold"]["value"] == 4.0


def test_a_folder_that_cannot_be_written_is_a_reason(mpirun, tmp_path):
    done = mpirun(1, "-m", "benchmarks.storage", "--data", "missing.h5", "--out", tmp_path)
    assert done.returncode == 2 and "missing.h5: no such file" in done.stderr
    from mpi4py import MPI

    config = storage.Config(data="/proc/data.h5", repeats=6)
    seconds, reason = storage.writes(MPI.COMM_SELF, config)
    assert seconds == {} and reason.startswith("the folder of the data: ")
