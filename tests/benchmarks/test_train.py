"""The training program under real MPI ranks: one run, one global batch, one score, however many
ranks."""

import csv
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from bigearth import files, store

pytestmark = pytest.mark.mpi
SPLITS = np.tile([0, 0, 0, 0, 1, 2], 8)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """32 patches to train on, 8 to validate, 8 to test."""
    path = tmp_path_factory.mktemp("data") / "patches.h5"
    random = np.random.default_rng(2)
    store.create(
        path,
        [f"p{i:03d}" for i in range(len(SPLITS))],
        SPLITS.astype(np.uint8),
        "bilinear",
        "random numbers",
    )
    with h5py.File(path, "r+") as file:
        for key in ("data_super", "data_10m", "data_20m", "data_60m"):
            file[key][...] = random.integers(0, 4000, file[key].shape)
        file["classes"][...] = random.random((len(SPLITS), 43)) < 0.1
    store.finish(path)
    return path


@pytest.fixture(scope="module")
def train(mpirun, data, tmp_path_factory):
    def run(ranks, *options, output=None):
        output = output or tmp_path_factory.mktemp(f"ranks{ranks}")
        done = mpirun(
            ranks,
            "-m",
            "benchmarks.train",
            "--data",
            data,
            "--out",
            output,
            "--threads",
            1,
            *options,
        )
        return done, output

    return run


def losses(output):
    return [
        float(row["loss"])
        for row in csv.DictReader((output / "steps.csv").read_text().splitlines())
    ]


RECIPE = [
    "--epochs",
    2,
    "--steps-per-epoch",
    3,
    "--window",
    32,
    "--no-augment",
    "--batch-norm",
    "synchronised",
    "--zero-gamma",
]
RECIPE += ["--warmup-epochs", 1, "--checkpoint-epochs", 1]


@pytest.fixture(scope="module")
def one_and_two(train):
    return [train(ranks, *RECIPE, "--batch-size", 8 // ranks) for ranks in (1, 2)]


def test_one_rank_with_2n_and_two_ranks_with_n_have_the_same_losses(one_and_two):
    for done, _ in one_and_two:
        assert done.returncode == 0, done.stderr
    one, two = (losses(output) for _, output in one_and_two)
    assert len(one) == 6 and one[0] != one[5]
    np.testing.assert_allclose(one, two, rtol=0, atol=1e-5)


def test_two_ranks_go_on_from_the_checkpoint_of_one(one_and_two, train, tmp_path):
    _, one = one_and_two[0]
    shutil.copytree(one / "checkpoints", tmp_path / "checkpoints")
    (tmp_path / "checkpoints" / "checkpoint-0002-00000000.npz").unlink()
    done, _ = train(2, *RECIPE, "--batch-size", 4, "--resume", output=tmp_path)
    assert done.returncode == 0 and "resuming from" in done.stderr, done.stderr
    np.testing.assert_allclose(losses(tmp_path), losses(one), rtol=0, atol=1e-5)


def test_the_record_is_complete(one_and_two, data):
    done, output = one_and_two[1]
    record = json.loads((output / "result.json").read_text())
    assert record["workload"] == "train" and record["config"]["batch_size"] == 4
    for name in (
        "time_per_epoch",
        "throughput",
        "throughput_per_device",
        "step_time",
        "f1_micro",
        "f1_macro",
        "loss",
    ):
        assert np.isfinite(record["metrics"][name]["value"]), name
    assert [row["rank"] for row in record["ranks"]] == [0, 1]
    for row in record["ranks"]:
        assert row["step_time"]["min"] <= row["step_time"]["p50"] <= row["step_time"]["max"]
        assert row["phases"]["train"] > 0 and row["first_step"] > row["step_time"]["p50"]
    assert len(record["tables"]["epochs"]) == 2 and len(record["tables"]["per_class"]) == 43
    assert record["provenance"]["dataset_digest"] == store.Store(data).digest
    assert record["provenance"]["test_patches_scored"] == 8
    # the file was written a moment ago
    assert record["provenance"]["data_cached"] > 0.9 and "cores" in record["ranks"][1]
    machine = record["provenance"]["machine"]
    assert machine["mpirun"] and machine["file_system"]["mount"]
    samples = np.load(output / record["files"]["samples"])
    assert samples["rgb"].shape == (8, 120, 120, 3) and samples["rgb"].dtype == np.uint8
    assert samples["truth"].shape == samples["score"].shape == (8, 43)
    np.testing.assert_array_equal(samples["names"], store.Store(data).names[SPLITS == 2])
    assert done.stdout == "" and "epoch 2/2" in done.stderr
    assert not list(output.glob("*.lock"))


def test_scores_are_the_same_at_one_two_and_three_ranks(train):
    """The untrained network: its predictions are near the threshold, which is the hardest case."""
    rows = []
    for ranks in (1, 2, 3):
        done, output = train(ranks, "--epochs", 0, "--batch-size", 3)
        assert done.returncode == 0, done.stderr
        rows.append(json.loads((output / "result.json").read_text())["tables"]["per_class"])
    assert rows[0] == rows[1] == rows[2]
    assert 0 < sum(row["recall"] for row in rows[0]) < 43


def test_told_to_stop_before_training_begins(data, tmp_path):
    command = [
        sys.executable,
        "-m",
        "benchmarks.train",
        "--data",
        data,
        "--out",
        tmp_path,
        "--threads",
        1,
        "--network",
        "resnet5",
    ]
    command += ["--batch-size", 4, "--epochs", 1, "--window", 32]
    with subprocess.Popen(
        [str(word) for word in command], stderr=subprocess.PIPE, text=True
    ) as process:
        while "SigCgt" in (status := Path(f"/proc/{process.pid}/status").read_text()):
            # it listens
            if int(status.split("SigCgt:")[1].split()[0], 16) >> (signal.SIGUSR1 - 1) & 1:
                break
            time.sleep(0.01)
        process.send_signal(signal.SIGUSR1)
        stderr = process.communicate()[1]
    assert process.returncode == 75 and "saved" in stderr, stderr
    assert (
        list((tmp_path / "checkpoints").glob("*.npz")) and not (tmp_path / "result.json").exists()
    )


def test_a_mistake_is_one_sentence_and_exit_code_2(train):
    done, output = train(2, "--batch-size", 100)
    assert done.returncode == 2
    sentences = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(sentences) == 1 and "fewer than one global batch of 2 ranks x 100" in sentences[0]
    assert "Traceback" not in done.stderr and not (output / "result.json").exists()
    done, _ = train(1, "--batchsize", 8)
    assert done.returncode == 2 and "--batchsize" in done.stderr


DIFFERENT = """
import os, runpy, sys
if os.environ["OMPI_COMM_WORLD_RANK"] == "1":
    sys.argv += ["--seed", "1"]
runpy.run_module("benchmarks.train", run_name="__main__", alter_sys=True)
"""


def test_ranks_with_other_options_are_refused(mpirun, data, tmp_path):
    output = tmp_path / "out"
    done = mpirun(2, "-c", DIFFERENT, "--data", data, "--out", output, timeout=120)
    assert done.returncode == 2, done.stderr
    sentences = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(sentences) == 1 and "rank 1 on" in sentences[0] and "another options" in sentences[0]
    assert not output.exists()


def test_a_second_training_into_one_folder_is_refused(train, tmp_path):
    with files.lock(tmp_path / "result.json", "training"):
        done, _ = train(1, "--epochs", 0, output=tmp_path)
        assert done.returncode == 2
        assert "another training writes it (process" in done.stderr
        assert [path.name for path in tmp_path.iterdir()] == ["result.json.lock"]
