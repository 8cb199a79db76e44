"""bigearth/learn/loop.py: a rank that cannot read, however many steps the device is ahead."""

from types import SimpleNamespace

import pytest
import tensorflow as tf

from bigearth.errors import InputError
from bigearth.learn.collective import Single
from bigearth.learn.config import TrainConfig
from bigearth.learn.loop import StepLoop
from bigearth.learn.measuring import WARM_UP, Measuring
from bigearth.learn.signals import StopRequest
from bigearth.learn.state import Result
from bigearth.learn.watchdog import Watchdog
from bigearth.progress import Progress


class Reader:
    """Gives some batches, then cannot read any more."""

    def __init__(self, good):
        self._good = good

    def batches(self, epoch, start_step):
        for number in range(start_step, self._good):
            yield {"position": tf.constant([number])}
        raise InputError("f.h5: ends at byte 7")

    def blank(self):
        return {"position": tf.constant([-1])}


def run_of(reader, request=None):
    """A run of 8 steps whose training step returns its flags and counts what it is given."""
    seen = []

    def train_step(batch, rate, epoch, flags):
        seen.append(int(batch["position"][0]))
        return tf.concat([[0.5], flags], 0), tf.constant(0.5), tf.constant(1.0)

    result = Result()
    result.step_times.append({"epoch": 1, "timed": False, "seconds": []})
    run = SimpleNamespace(
        config=TrainConfig(data="f.h5"),
        collective=Single(),
        request=request or StopRequest(),
        result=result,
        readers={"train": reader},
        steps_per_epoch=8,
        global_batch=64,
        rate_at=lambda step: 0.1,
        train_step=train_step,
        epoch=0,
        step=0,
        measuring=Measuring(None),
        watchdog=Watchdog("stalled", rank=0, hosts=["n1"]),
        ended=False,
    )
    return run, seen


@pytest.mark.parametrize("ahead", [0, 1, 2])
def test_a_sample_that_cannot_be_read_fails_the_step_it_is_of(ahead):
    run, seen = run_of(Reader(good=3))
    with Progress(1, "", "", show=False) as progress:
        loop = StepLoop(run, progress, ahead=ahead)
        with pytest.raises(InputError, match="f.h5: ends at byte 7"):
            loop.run()
    assert [row["step"] for row in run.result.tables["steps"]] == [0, 1, 2]
    assert seen == [0, 1, 2] + [-1] * (1 + ahead)  # the others wait for this rank's gradients


@pytest.mark.parametrize("ahead", [0, 1, 2])
def test_told_to_stop_ends_with_the_steps_that_were_started(ahead):
    request = StopRequest()
    request.received = True
    run, seen = run_of(Reader(good=8), request)
    with Progress(1, "", "", show=False) as progress:
        loop = StepLoop(run, progress, ahead=ahead)
        loop.run()
    assert loop.told and run.step == len(seen) == len(run.result.tables["steps"]) == 1 + ahead


@pytest.mark.parametrize("ahead", [0, 2])
def test_ends_the_epoch_when_enough_was_measured(ahead):
    run, _ = run_of(Reader(good=20))
    run.steps_per_epoch = 20
    run.measuring = Measuring(0.01, least=2, most=2)
    with Progress(1, "", "", show=False) as progress:
        loop = StepLoop(run, progress, ahead=ahead)
        loop.run()
    # the step after says so to all ranks
    assert run.ended and not loop.told and run.step == WARM_UP + 2 + 1 + 2 * ahead
    assert run.measuring.facts()["steps"] == 2
