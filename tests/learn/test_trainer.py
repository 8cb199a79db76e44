"""One process, the real network, a few steps: what a run gives, and that it can be stopped and
resumed."""

import copy
import csv
import dataclasses
import functools
import os
import shutil
import signal

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_recall_fscore_support

from bigearth import cli, nomenclature
from bigearth.errors import InputError
from bigearth.learn import checkpoint, splits, trainer
from bigearth.learn.collective import Single
from bigearth.learn.config import TrainConfig
from bigearth.learn.log import Log
from bigearth.learn.loop import StepLoop
from bigearth.learn.measuring import Measuring
from bigearth.learn.signals import StopRequest

OPTIONS = dict(
    window=32,
    batch_size=8,
    epochs=2,
    steps_per_epoch=3,
    warmup_epochs=1,
    zero_gamma=True,
    checkpoint_epochs=1,
    learning_rate=0.5,
    mixup=0.2,
)


def config_for(store, output, **options):
    config = TrainConfig(data=store.path, out=os.fspath(output), **{**OPTIONS, **options})
    config.check()
    return config


@pytest.fixture(scope="module")
def whole(patches, tmp_path_factory):
    """An undisturbed run: its folder and result."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, trainer.train(
        config_for(patches, folder), patches, Single(), Log(folder, 2), StopRequest()
    )


def losses(result):
    return [row["loss"] for row in result.tables["steps"]]


def test_scores_are_those_of_scikit_learn(whole, patches):
    _, result = whole
    assert result.positions.tolist() == patches.indices("test").tolist()
    np.testing.assert_array_equal(result.truth, patches.classes[result.positions])
    for average in ("micro", "macro", "weighted", "samples"):
        expected = precision_recall_fscore_support(
            result.truth, result.probability >= 0.5, average=average, zero_division=0
        )[:3]
        np.testing.assert_allclose(
            [result.scores[f"{name}_{average}"] for name in ("precision", "recall", "f1")],
            expected,
            atol=1e-12,
        )
    present = result.truth.any(0)
    expected = average_precision_score(
        result.truth[:, present], result.probability[:, present], average=None
    )
    got = np.array([row["average_precision"] for row in result.scores["per_class"]], float)
    np.testing.assert_allclose(got[present], expected, atol=1e-12)
    assert np.isnan(got[~present]).all()


def test_tables_say_what_happened(whole):
    _, result = whole
    assert [row["step"] for row in result.tables["steps"]] == list(range(6))
    assert [row["epoch"] for row in result.tables["metrics"]] == [1, 2]
    rates = [row["learning_rate"] for row in result.tables["steps"]]
    peak = 0.5 * 8 / 256
    np.testing.assert_allclose(rates, [peak / 3, 2 * peak / 3, peak, peak, peak, peak])
    first = result.tables["metrics"][0]
    assert first["train_loss"] == pytest.approx(np.mean(losses(result)[:3]))
    assert first["throughput"] == pytest.approx(24 / first["time"])
    assert first["samples"] == 24 and [row["timed"] for row in result.tables["metrics"]] == [
        False,
        True,
    ]
    assert [len(row["seconds"]) for row in result.step_times] == [2, 3]
    assert result.first_step > max(max(row["seconds"]) for row in result.step_times)
    for own, slowest in zip(result.step_times, result.tables["step_times"]):
        assert slowest["seconds"] == pytest.approx(own["seconds"], abs=1e-6)


def test_stopped_by_a_signal_and_resumed_is_the_undisturbed_run(whole, patches, tmp_path):
    class Warned(Log):
        def epoch_start(self, epoch):
            if epoch == 1:
                os.kill(os.getpid(), signal.SIGUSR1)

    previous = signal.getsignal(signal.SIGUSR1)
    with StopRequest().listening() as request:
        first = trainer.train(
            config_for(patches, tmp_path, resume=True), patches, Single(), Warned(), request
        )
    signal.signal(signal.SIGUSR1, previous)
    assert first.stopped and len(first.tables["steps"]) == 4 and not first.scores
    last = checkpoint.found(tmp_path / "checkpoints")[-1]
    assert checkpoint.load(last).epoch == 1 and checkpoint.load(last).samples == 8

    second = trainer.train(
        config_for(patches, tmp_path, resume=True), patches, Single(), Log(), StopRequest()
    )
    _, undisturbed = whole
    np.testing.assert_allclose(losses(second), losses(undisturbed), rtol=0, atol=1e-6)
    np.testing.assert_allclose(second.probability, undisturbed.probability, atol=1e-5)
    # the epoch that one job began and another ended is not timed, nor is the first
    assert [row["timed"] for row in second.tables["metrics"]] == [False, False]
    assert [len(row["seconds"]) for row in second.tables["step_times"]] == [2, 1]
    assert [row["val_f1_micro"] for row in second.tables["metrics"]] == [
        row["val_f1_micro"] for row in undisturbed.tables["metrics"]
    ]


def test_steps_that_run_ahead_of_their_numbers_are_the_same(whole, patches, tmp_path, monkeypatch):
    """As on a GPU: the device is two steps ahead of what Python has read, also where it stops."""
    monkeypatch.setattr(trainer, "StepLoop", functools.partial(StepLoop, ahead=2))

    class Warned(Log):
        def epoch_start(self, epoch):
            request.received = True

    config, request = config_for(patches, tmp_path, resume=True), StopRequest()
    first = trainer.train(config, patches, Single(), Warned(), request)
    assert first.stopped and len(first.tables["steps"]) == 3
    second = trainer.train(config, patches, Single(), Log(), StopRequest())
    assert losses(second) == losses(whole[1])


def test_a_timing_run_ends_when_enough_was_measured(patches, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "Measuring", functools.partial(Measuring, least=2, most=2))
    config = config_for(patches, tmp_path, network="resnet5", interval=0.5, epochs=4)
    result = trainer.train(config, patches, Single(), Log(), StopRequest())
    # three steps per epoch: five to warm up, two that count, and one that tells all ranks
    assert [row["samples"] for row in result.tables["metrics"]] == [24, 24, 16]
    assert result.measured["steps"] == 2 and result.steps_per_epoch == 3
    assert result.scores["f1_micro"] >= 0


def test_checkpoint_of_another_recipe_is_refused(whole, patches, tmp_path):
    shutil.copytree(whole[0] / "checkpoints", tmp_path / "checkpoints")
    with pytest.raises(InputError, match=r"another recipe \(momentum 0.9, now 0.8\)"):
        trainer.train(
            config_for(patches, tmp_path, resume=True, momentum=0.8),
            patches,
            Single(),
            Log(),
            StopRequest(),
        )


def test_exploding_loss_stops_and_the_last_checkpoint_stays(patches, tmp_path):
    with pytest.raises(InputError, match=r"step \d: the loss is .*rank 0 on .*--learning-rate"):
        trainer.train(
            config_for(patches, tmp_path, learning_rate=1e12, warmup_epochs=0),
            patches,
            Single(),
            Log(tmp_path),
            StopRequest(),
        )
    assert not (tmp_path / "checkpoints").exists()
    rows = list(csv.DictReader((tmp_path / "steps.csv").read_text().splitlines()))
    # the step that exploded is the last
    assert not float(rows[-1]["loss"]) <= 10 and float(rows[0]["loss"]) < 1


@pytest.mark.parametrize("told_in", [1, 2, 3], ids=["first validation", "last validation", "test"])
def test_told_to_stop_while_scores_are_taken_and_resumed_is_the_undisturbed_run(
    patches, tmp_path, monkeypatch, told_in
):
    undisturbed = trainer.train(
        config_for(patches, tmp_path / "whole", network="resnet5", tune_thresholds=True),
        patches,
        Single(),
        Log(),
        StopRequest(),
    )
    request, calls, evaluate = StopRequest(), [], trainer.evaluate

    def told(*arguments, **options):
        calls.append(1)
        request.received = len(calls) == told_in
        return evaluate(*arguments, **options)

    monkeypatch.setattr(trainer, "evaluate", told)
    config = config_for(patches, tmp_path, network="resnet5", tune_thresholds=True, resume=True)
    first = trainer.train(config, patches, Single(), Log(tmp_path), request)
    assert first.stopped and not first.scores
    second = trainer.train(config, patches, Single(), Log(tmp_path), StopRequest())
    assert (
        not second.stopped
        and losses(second) == losses(undisturbed)
        and second.scores == undisturbed.scores
    )


def test_new_run_is_not_mixed_with_the_checkpoints_of_another(whole, patches, tmp_path):
    shutil.copytree(whole[0] / "checkpoints", tmp_path / "checkpoints")
    with pytest.raises(
        InputError,
        match=r"checkpoints: holds checkpoints of an earlier "
        r"run.*--resume",
    ):
        trainer.train(config_for(patches, tmp_path), patches, Single(), Log(), StopRequest())


def test_patches_without_one_of_the_19_classes_are_left_out(patches, tmp_path):
    patches = copy.copy(patches)
    patches.classes = patches.classes.copy()
    targetless = ~nomenclature.to_19(np.eye(43, dtype=np.uint8)).any(1)
    patches.classes[::3] = targetless
    config = config_for(
        patches,
        tmp_path,
        network="resnet5",
        classes="19",
        batch_size=4,
        epochs=1,
        stage=os.fspath(tmp_path / "scratch"),
    )
    result = trainer.train(config, patches, Single(), Log(), StopRequest())
    labelled = nomenclature.to_19(patches.classes).any(1)
    assert not labelled[::3].any() and labelled.any()
    assert result.positions.tolist() == [p for p in patches.indices("test") if labelled[p]]
    assert result.truth.any(1).all() and result.truth.shape[1] == 19
    assert result.patches == {
        split: int(labelled[patches.indices(split)].sum()) for split in ("train", "val", "test")
    }


@pytest.mark.parametrize(
    "options, ranks, expected",
    [
        (
            dict(batch_size=98),
            1,
            "97 patches, fewer than one global batch of 1 ranks x 98; "
            "lower --batch-size to at most 97",
        ),
        (dict(batch_size=1), 31, "the val split has 30 patches for 31 ranks"),
    ],
)
def test_too_little_data_is_refused(patches, tmp_path, options, ranks, expected):
    with pytest.raises(InputError, match=expected):
        samples = {split: patches.indices(split) for split in splits.SPLITS}
        splits.check_splits(config_for(patches, tmp_path, **options), patches.path, samples, ranks)


def test_empty_split_is_refused(patches, tmp_path):
    samples = {split: np.arange(9 if split != "val" else 0) for split in splits.SPLITS}
    with pytest.raises(
        InputError, match="f.h5: no patch with a label of the 43 classes is in the val split"
    ):
        splits.check_splits(config_for(patches, tmp_path), "f.h5", samples, 1)


@pytest.mark.parametrize("value", ["60,30", "a"])
def test_boundaries_that_do_not_ascend_are_refused(value):
    with pytest.raises(InputError, match="--decay-epochs is"):
        TrainConfig(data="x.h5", decay_epochs=value).check()


@pytest.mark.parametrize("name, value", [("batch_size", 0), ("window", 31), ("dropout", 1.0)])
def test_values_outside_their_limits_are_refused(name, value):
    with pytest.raises(InputError, match=f"--{name.replace('_', '-')} is"):
        cli.check(dataclasses.replace(TrainConfig(data="x.h5"), **{name: value}))
