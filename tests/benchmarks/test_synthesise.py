"""Synthetic patches straight into HDF5: the patches of the archive, the same bytes for any number
of ranks."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bigearth import store

ROOT = Path(__file__).parents[2]
MODULE = ("-m", "benchmarks.synthesise")


def alone(*arguments):
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("direct") / "patches.h5"
    alone(*MODULE, "--patches", 130, "--seed", 3, "--out", path)
    return path


def test_the_patches_of_the_archive(file, tmp_path):
    synthesis = ("-m", "bigearth.synthetic.synthesis", "--patches", 130, "--seed", 3)
    alone(*synthesis, "--out", tmp_path / "archive")
    prepare = ("-m", "benchmarks.prepare", "--archive", tmp_path / "archive")
    alone(*prepare, "--out", tmp_path / "other.h5")
    assert store.Store(file).digest == store.Store(tmp_path / "other.h5").digest


def test_the_record(file):
    result = json.loads(file.with_suffix(".result.json").read_text())
    assert result["workload"] == "synthesise" and result["config"]["seed"] == 3
    assert result["metrics"]["patch_throughput"]["value"] > 0
    assert result["metrics"]["read_bandwidth"]["value"] is None
    assert result["provenance"]["dataset_digest"] == store.Store(file).digest


@pytest.mark.mpi
@pytest.mark.parametrize(("ranks", "more"), [(2, ()), (3, ("--io", "rank0"))])
def test_same_bytes_for_any_number_of_ranks(file, mpirun, tmp_path, ranks, more):
    out = tmp_path / "out.h5"
    done = mpirun(ranks, *MODULE, "--patches", 130, "--seed", 3, "--out", out, *more)
    assert done.returncode == 0, done.stderr
    assert out.read_bytes() == file.read_bytes()
