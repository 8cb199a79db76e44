"""The program of experiments: its runs, what it chooses by, and what it makes of the scores."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmarks import train
from benchmarks.studies import experiments
from benchmarks.studies.experiments import Arm, Config, Run
from bigearth import cli, intervals, record
from bigearth.errors import InputError
from bigearth.learn.config import TrainConfig

PROGRAM = cli.Program("benchmarks.train", "", recipes=Path(train.__file__).parent / "configs")
CONFIG = Config(experiment="imbalance", data="d.h5", out="out")


@pytest.mark.parametrize("name", experiments.EXPERIMENTS)
def test_every_arm_is_a_command_that_training_takes(name):
    arms = experiments.EXPERIMENTS[name].arms
    assert len({arm.name for arm in arms}) == len(arms) > 1
    folders = set()
    for arm in arms:
        words = experiments.command(CONFIG, Run(arm, 2, 3.0))
        options = words[words.index("benchmarks.train") + 1 :]
        parsed = cli.parse(TrainConfig, options, PROGRAM)
        assert parsed.seed == 2 and parsed.epochs == CONFIG.epochs
        folders.add(parsed.out)
    assert len(folders) == len(arms)


def finished(path, f1, validation):
    """The record of a run."""
    names = ("f1_micro", "f1_macro")
    path.mkdir(parents=True)
    about = dict.fromkeys(("config", "files", "provenance"), {})
    tables = {"epochs": [{"val_f1_micro": v} for v in validation], "per_class": [{"f1": f1}]}
    metrics = {name: record.metric(name, f1) for name in names}
    made = record.Record(workload="train", metrics=metrics, ranks=[], tables=tables, **about)
    record.write(path / "result.json", made)


def test_the_rate_is_chosen_on_the_validation_split_alone(tmp_path):
    config, arm = Config(experiment="optimizers", data="d", out=str(tmp_path)), Arm("a", {}, (1, 2))
    finished(tmp_path / Run(arm, 0, 1).folder, f1=0.9, validation=[0.5, 0.4])
    finished(tmp_path / Run(arm, 0, 2).folder, f1=0.1, validation=[0.2, 0.6])
    rate, rows = experiments.rate_of(config, arm, {})
    assert rate == 2 and [row["val_f1_micro"] for row in rows] == [0.5, 0.6]
    assert experiments.rate_of(config, Arm("b", tuned="a"), {"a": rate}) == (2, [])


def test_an_explosion_is_a_result_and_a_mistake_ends_the_study(tmp_path, monkeypatch):
    config, run = Config(experiment="bands", data="d", out=str(tmp_path)), Run(Arm("a"), 0, 1.0)
    answers = ["error: d: no such file", "error: step 3: the loss is nan, and more"]
    monkeypatch.setattr(
        subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 2, "", answers.pop())
    )
    row = experiments.outcome(config, run)
    assert row["f1_micro"] == 0 and "the loss is nan" in row["failure"]
    with pytest.raises(InputError, match=r"run a-1-0 failed \(error: d: no such file\)"):
        experiments.outcome(config, run)


def test_differences_are_paired_by_seed_with_students_interval():
    arms = (Arm("a"), Arm("b"))
    scores = {"a": [0.5, 0.7, 0.6], "b": [0.52, 0.71, 0.63]}
    rows = [
        {"arm": arm, "seed": seed, "f1_micro": f1, "f1_macro": f1 / 2}
        for arm, values in scores.items()
        for seed, f1 in enumerate(values)
    ]
    (found,) = experiments.comparisons(rows, arms, "f1_micro")
    theirs = stats.ttest_rel(scores["b"], scores["a"]).confidence_interval()
    assert found["difference"] == pytest.approx(0.02)
    assert (found["low"], found["high"]) == pytest.approx(tuple(theirs))
    first = experiments.summary(rows, arms)[0]
    assert first["mean"] == pytest.approx(0.6) and first["runs"] == 3
    assert first["low"] < 0.5 < 0.7 < first["high"]


def test_students_interval_holds_the_truth():
    draws = np.random.default_rng(0).normal(1, 2, (2000, 3))
    found = np.array([intervals.seeds_interval(values) for values in draws])
    assert 0.93 < np.mean((found[:, 0] <= 1) & (found[:, 1] >= 1)) < 0.97
