"""What a training run has (RunState) and what it leaves behind (Result)."""

import math
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Callable, Optional

import numpy as np

from bigearth.energy import Energy
from bigearth.learn.collective import Single
from bigearth.learn.config import TrainConfig
from bigearth.learn.efficiency import Times
from bigearth.learn.log import Log
from bigearth.learn.measuring import Measuring
from bigearth.learn.signals import StopRequest
from bigearth.learn.watchdog import Watchdog
from bigearth.store import Store


@dataclass
class Result:
    """What a run leaves behind; equal on all ranks but for `step_times`, `phases` and `first_step`,
    which are this rank's.

    An epoch is timed unless it is the first that a job trains: that one holds tracing, and may have
    been begun by the job before.

    Attributes:
        tables: "metrics": one row per epoch; "steps": one row per step {step, epoch,
            learning_rate, loss, gradient_norm}; "step_times": one row per epoch {epoch, timed,
            seconds: of each step on the rank that was slowest in it}.
        patches: how many patches of each split were used.
        scores: of the test split, as `metrics.scores` and `metrics.average_precision` give them.
        test_loss: mean over test patches and classes.
        positions: (N,) int64 positions of the test patches in the file, ascending.
        truth, probability: (N, C) uint8 and float32, of those patches.
        thresholds: (C,) float64, at which the scores were taken.
        step_times: one row per epoch of this job {epoch, timed, seconds: of each step}, the job's
            first step left out.
        phases: seconds by what they were spent on.
        first_step: seconds of the first step, tracing included.
        steps_per_epoch: of training.
        measured: of a timing run, see `measuring.Measuring.facts`; rank 0's.
        stopped: a signal ended the run before its end; a checkpoint has been saved, and there are
            no scores.
        energy: of the epochs that this job trained and validated, on this rank's counter.
        efficiency: what the experiment at the end measured; None if no step was trained.
    """

    tables: dict = field(default_factory=lambda: {"metrics": [], "steps": [], "step_times": []})
    patches: dict = field(default_factory=dict)
    scores: dict = field(default_factory=dict)
    test_loss: float = math.nan
    positions: Optional[np.ndarray] = None
    truth: Optional[np.ndarray] = None
    probability: Optional[np.ndarray] = None
    thresholds: Optional[np.ndarray] = None
    step_times: list = field(default_factory=list)
    phases: dict = field(default_factory=dict)
    first_step: float = math.nan
    steps_per_epoch: int = 0
    measured: Optional[dict] = None
    stopped: bool = False
    efficiency: Optional[Times] = None
    energy: Optional[Energy] = None

    @contextmanager
    def timed(self, phase: str):
        """Counts the seconds that the block takes to a phase."""
        start = time.perf_counter()
        yield
        self.phases[phase] = self.phases.get(phase, 0.0) + time.perf_counter() - start


@dataclass
class RunState:
    """A run: what it works with, and where it stands.

    Attributes:
        config, store, collective, log, request: as in `trainer.train`.
        result: filled as the run goes on.
        readers: split -> its reader; no "train" where no epoch is trained.
        steps_per_epoch: of training.
        network: the `resnet.ResNet`.
        variables: those of network and optimizer: all that a checkpoint has to hold.
        rate_at: the learning rate of a step, counted over the whole run.
        make_step: a training step that reduces over another collective.
        train_step, score_step: see `steps`.
        epoch, step: where a run that resumes now would go on, both from 0.
        seconds: what the steps of that epoch have taken so far.
        best_score: best validation F1 micro so far; -1 before the first.
        best: values of the network's variables at that score, or None.
        traced: whether this job has trained an epoch, so that the next one is timed.
        watchdog: ends the job if a step does not end.
        measuring: whether a timing run has measured enough.
        ended: whether training ends with this epoch, before the last one: enough was measured.
    """

    config: TrainConfig
    store: Store
    collective: Single
    log: Log
    request: StopRequest
    result: Result
    readers: dict
    steps_per_epoch: int
    network: Any
    variables: list
    rate_at: Callable
    make_step: Callable
    train_step: Callable
    score_step: Callable
    watchdog: Watchdog
    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    best_score: float = -1.0
    best: Optional[list] = None
    traced: bool = False
    measuring: Measuring = field(default_factory=lambda: Measuring(None))
    ended: bool = False

    @property
    def global_batch(self) -> int:
        """Samples of one step over all ranks."""
        return self.config.batch_size * self.collective.size
