"""step_speed and batch_study: what they compute from what they measure."""

import dataclasses
import subprocess

import numpy as np
import pytest

from benchmarks.studies import batch_size as batch_study
from benchmarks.studies import step_speed
from bigearth import record
from bigearth.errors import InputError


def test_step_speed_compares_medians(tmp_path, capsys):
    rates = {
        "ours": [10.0, 12.0, 99.0],
        "from file": [11.4, 12.0, 11.4],
        "independent": [12.5],
        "stock": [6.0],
    }
    store = type("Store", (), {"digest": "sha256:0"})
    hosts = [(0, "n1", "CPU", 8.0), (1, "n1", "CPU", 9.0)]
    step_speed.write(
        step_speed.Config(data="x.h5", out=str(tmp_path), batch_size=6),
        "now",
        store,
        rates,
        hosts,
    )
    found = record.read(tmp_path / "result.json")
    ratios = {row["against"]: row["ratio"] for row in found.tables["ratios"]}
    assert ratios == pytest.approx(
        {"stock loop": 2.0, "batch in memory": 0.95, "independent ranks": 0.96}
    )
    assert found.value("throughput") == 12.0 and found.value("step_time") == pytest.approx(1.0)
    assert "first step 9.0 s" in capsys.readouterr().err


CONFIG = batch_study.Config(
    data="d.h5", out="out", repeats=3, epochs=20, batch_size=8, factor=16, launcher="mpirun -np 2"
)


def test_study_plans_every_kind_with_every_seed():
    runs = batch_study.plan(CONFIG)
    assert len(runs) == len(set(runs)) == 15
    words = batch_study.command(CONFIG, batch_study.Run("paper", "multispectral", "large", 2))
    assert words[:3] == ["mpirun", "-np", "2"]
    options = dict(zip(words[6::2], words[7::2]))
    assert (
        options["--batch-size"] == "128"
        and options["--seed"] == "2"
        and options["--epochs"] == "20"
    )
    # the paper's shares of 100 epochs
    assert options["--decay-epochs"] == "6,12,16" and options["--warmup-epochs"] == "1.0"
    assert options["--config"] == "paper"
    assert "--learning-rate" not in options


def test_study_tunes_a_recipe_at_both_batches_alike():
    config = dataclasses.replace(CONFIG, modern_rate=40.0)
    for batch in ("small", "large"):
        words = batch_study.command(config, batch_study.Run("modern", "rgb", batch, 0))
        assert words[words.index("--learning-rate") + 1] == "40.0"
    assert "--learning-rate" not in batch_study.command(
        config, batch_study.Run("paper", "rgb", "small", 0)
    )


def finished(folder, f1):
    folder.mkdir(parents=True)
    names = ("f1_micro", "f1_macro", "time_per_epoch")
    done = record.Record(
        workload="train",
        config={},
        metrics={name: record.metric(name, f1) for name in names},
        ranks=[],
        tables={},
        files={},
        provenance={},
    )
    record.write(folder / "result.json", done)


def test_study_keeps_finished_runs_counts_explosions_as_zero_and_stops_at_mistakes(
    tmp_path, monkeypatch
):
    config = dataclasses.replace(CONFIG, out=str(tmp_path))
    run = batch_study.Run("paper", "multispectral", "small", 0)
    answers = []
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: answers.pop())
    finished(tmp_path / run.name, 0.7)
    # nothing was run: no answer was needed
    assert batch_study.outcome(config, run)["f1_micro"] == 0.7
    other = dataclasses.replace(run, seed=1)
    answers.append(
        subprocess.CompletedProcess([], 2, "", "error: step 3: the loss is nan and more")
    )
    row = batch_study.outcome(config, other)
    assert row["f1_micro"] == 0.0 and "the loss is nan" in row["failure"]
    answers.append(subprocess.CompletedProcess([], 2, "", "error: d.h5: no such file"))
    with pytest.raises(
        InputError,
        match=r"paper-multispectral-small-1 failed \(error: d.h5: no "
        r"such file\)",
    ):
        batch_study.outcome(config, other)


def test_study_sums_up():
    rows = [
        dict(recipe=r, bands=b, batch=s, seed=i, f1_micro=v + d)
        for (r, b, s), v in {
            ("paper", "multispectral", "small"): 0.7,
            ("paper", "multispectral", "large"): 0.5,
            ("modern", "multispectral", "small"): 0.72,
            ("modern", "multispectral", "large"): 0.70,
            ("modern", "rgb", "small"): 0.6,
        }.items()
        for i, d in enumerate((-0.01, 0.0, 0.01))
    ]
    groups = batch_study.summary(rows)
    assert [g["mean"] for g in groups] == pytest.approx([0.7, 0.5, 0.72, 0.70, 0.6]) and groups[0][
        "std"
    ] == pytest.approx(0.01)
    keeps, adds = batch_study.claims(groups)
    assert not keeps["holds"] and keeps["value"] == pytest.approx(0.02)
    assert adds["holds"] and np.isclose(adds["value"], 0.12)
