"""The steps of one epoch."""

import collections
import math
import time
from dataclasses import dataclass
from typing import Optional

import tensorflow as tf

from bigearth.errors import InputError
from bigearth.learn import watchdog
from bigearth.learn.guards import check_loss
from bigearth.learn.state import RunState
from bigearth.progress import Progress


@dataclass
class Started:
    """A step that the device works on.

    Attributes:
        number: over the whole run, from 0.
        rate: its learning rate.
        outcome: what the training step returned: tensors that may not be there yet.
        failure: why this rank had no batch for it, or None.
    """

    number: int
    rate: float
    outcome: tuple
    failure: Optional[str]


class StepLoop:
    """Runs the steps of an epoch from `run.step` on.

    A step receives what its rank knows: whether it was asked to stop, whether it has no batch, and,
    on rank 0, whether enough was measured. It returns these averaged over ranks, so that all ranks
    stop, fail or end at the same step. A rank that cannot read goes on with blank batches until
    then, as the others wait for its gradients.

    Attributes:
        ahead: how many steps the device is given beyond the one whose numbers are read. With 1 a
            GPU never waits for Python.
        told: whether some rank was asked to stop.
    """

    def __init__(self, run: RunState, progress: Progress, ahead: Optional[int] = None):
        if ahead is None:
            ahead = 1 if tf.config.list_logical_devices("GPU") else 0
        self.ahead = ahead
        self.told = False
        self._run = run
        self._progress = progress
        self._batches = run.readers["train"].batches(run.epoch, run.step)
        self._failure = None
        self._started = collections.deque()
        self._clock = 0.0

    def run(self) -> None:
        """Runs them to the end of the epoch, or to the step at which some rank was asked to stop;
        `run.step` is then the step to go on with. `run.ended` says whether enough was measured.

        Raises:
            InputError: on every rank: a rank cannot read, or the loss is bad.
        """
        with self._run.watchdog.watching():
            self._steps()

    def _steps(self) -> None:
        self._clock = time.perf_counter()
        run = self._run
        while run.step < run.steps_per_epoch and not self.told and not run.ended:
            self._start()
            if len(self._started) > self.ahead:
                self._finish()
        while self._started:
            self._finish()

    def _start(self) -> None:
        """Gives the device the next step."""
        run = self._run
        number = run.epoch * run.steps_per_epoch + run.step
        run.watchdog.doing = watchdog.DATA
        with run.result.timed("wait for data"):
            batch = self._next_batch()
        run.watchdog.doing = watchdog.STEP
        rate = run.rate_at(number)
        enough = run.measuring.enough and run.collective.rank == 0
        flags = [run.request.received, self._failure is not None, enough]
        outcome = run.train_step(
            batch,
            tf.constant(rate),
            tf.constant(run.epoch, tf.int64),
            flags=tf.constant([float(flag) for flag in flags]),
        )
        self._started.append(
            Started(number=number, rate=rate, outcome=outcome, failure=self._failure)
        )
        run.step += 1

    def _next_batch(self) -> dict:
        """The next batch; a blank one from the first that cannot be read on."""
        if self._failure is None:
            try:
                return next(self._batches)
            except InputError as error:
                self._failure = str(error)
        return self._run.readers["train"].blank()

    def _finish(self) -> None:
        """Reads the numbers of the oldest started step."""
        run = self._run
        step = self._started.popleft()
        (loss, told, failed, enough), own_loss, norm = (x.numpy() for x in step.outcome)
        if failed:
            reasons = run.collective.gather(step.failure)
            raise InputError(next(reason for reason in reasons if reason))
        row = {
            "step": step.number,
            "epoch": run.epoch + 1,
            "learning_rate": step.rate,
            "loss": float(loss),
            "gradient_norm": float(norm),
        }
        run.result.tables["steps"].append(row)
        check_loss(row, own_loss=float(own_loss), config=run.config, collective=run.collective)
        self._take_time()
        self._progress.update(run.global_batch, f"loss {loss:.4f}")
        self.told = self.told or bool(told > 0)
        run.ended = run.ended or bool(enough > 0)

    def _take_time(self) -> None:
        now = time.perf_counter()
        result, seconds = self._run.result, now - self._clock
        if math.isnan(result.first_step):
            result.first_step = seconds
        else:
            result.step_times[-1]["seconds"].append(seconds)
        self._run.measuring.add(seconds)
        self._run.watchdog.step_done()
        self._clock = now
