"""The experiment at the end of a training: it changes nothing, and fills the tree."""

import dataclasses
import os

import numpy as np
import pytest

from bigearth import record
from bigearth.learn import efficiency, probe, trainer
from bigearth.learn.collective import Single
from bigearth.learn.config import TrainConfig
from bigearth.learn.log import Log
from bigearth.learn.signals import StopRequest

OPTIONS = dict(network="resnet5", window=32, batch_size=8, epochs=4, warmup_epochs=1)


def trained(patches, folder, **options):
    config = TrainConfig(data=patches.path, out=os.fspath(folder), **{**OPTIONS, **options})
    return trainer.train(config, patches, Single(), Log(folder, config.epochs), StopRequest())


@pytest.fixture(scope="module")
def result(patches, tmp_path_factory):
    return trained(patches, tmp_path_factory.mktemp("probed"))


def test_the_run_is_bit_by_bit_the_one_without_it(result, patches, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "probe", lambda run: None)
    without = trained(patches, tmp_path)
    assert without.efficiency is None
    rows = [[row["loss"] for row in r.tables["steps"]] for r in (result, without)]
    assert rows[0] == rows[1] and len(rows[0]) == 4 * 12
    np.testing.assert_array_equal(result.probability, without.probability)


def test_one_rank_has_steps_of_its_run_and_from_memory(result):
    times = result.efficiency
    assert set(times.steps) == {"full", "resident"}
    assert times.steps["full"].shape == (47, 1)  # all but the first
    assert times.steps["resident"].shape == (probe.TURNS, 1)
    tree = efficiency.tree(times, ["n1"])
    step = times.total_seconds / times.run_steps
    assert tree["efficiency"] == pytest.approx(times.steps["resident"].mean() / step)
    assert tree["factors"]["communication"] == {"value": None, "reason": "one rank"}
    assert tree["factors"]["input"]["interval"] is not None


def test_a_job_shorter_than_the_experiment_goes_without(patches, tmp_path):
    times = trained(patches, tmp_path, epochs=1, steps_per_epoch=4).efficiency
    tree = efficiency.tree(times, ["n1"])
    assert tree["factors"]["input"]["value"] is None
    assert "the job took 4 steps" in tree["factors"]["input"]["reason"]


def test_a_run_without_steps_has_no_tree(patches, tmp_path):
    assert trained(patches, tmp_path, epochs=0).efficiency is None


@pytest.mark.mpi
def test_two_ranks_fill_the_tree_and_the_record_has_it(mpirun, patches, tmp_path):
    options = dict(OPTIONS, batch_size=4, data=patches.path, out=tmp_path, threads=1)
    words = [word for name, v in options.items() for word in (f"--{name.replace('_', '-')}", v)]
    done = mpirun(2, "-m", "benchmarks.train", *words)
    assert done.returncode == 0, done.stderr[-3000:]
    tree = record.read(tmp_path / "result.json").efficiency
    assert all(factor["value"] > 0 for factor in tree["factors"].values())
    assert tree["ranks"] == 2 and tree["bus_bandwidth"] > 0
    assert tree["sentence"] in done.stderr
    found = dataclasses.asdict(TrainConfig())  # no option of it
    assert not [name for name in found if "probe" in name or "efficiency" in name]


@pytest.mark.mpi
def test_normalisation_over_all_ranks_leaves_out_steps_without_communication(
    mpirun, patches, tmp_path
):
    options = dict(OPTIONS, batch_size=4, data=patches.path, out=tmp_path, threads=1)
    words = [word for name, v in options.items() for word in (f"--{name.replace('_', '-')}", v)]
    done = mpirun(2, "-m", "benchmarks.train", *words, "--batch-norm", "synchronised")
    assert done.returncode == 0, done.stderr[-3000:]
    factors = record.read(tmp_path / "result.json").efficiency["factors"]
    assert "communicates within the step" in factors["communication"]["reason"]
    assert factors["input"]["value"] > 0
