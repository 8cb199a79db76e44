"""Data-parallel training and scoring; `train` reads top to bottom."""

import collections
import dataclasses
import math
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Optional

import numpy as np
import tensorflow as tf

from bigearth import cli
from bigearth.errors import InputError, together
from bigearth.learn import checkpoint, losses, metrics, optimizer, resnet, thresholds
from bigearth.learn.collective import Single
from bigearth.learn.evaluation import evaluate, join
from bigearth.learn.guards import check_equal_weights, check_loss
from bigearth.learn.input.reader import Reader
from bigearth.learn.input.stage import stage
from bigearth.learn.inputs import Preprocess
from bigearth.learn.labels import label_names, labels_of, samples_of
from bigearth.learn.log import Log
from bigearth.learn.schedule import Schedule, peak_rate
from bigearth.learn.signals import StopRequest
from bigearth.learn.steps import compute_dtype, make_score_step, make_train_step
from bigearth.progress import Progress

SPLITS = ("train", "val", "test")


@dataclass
class Result:
    """What a run leaves behind; equal on all ranks but for `step_times`, `phases` and `first_step`,
    which are this rank's.

    Attributes:
        tables: "metrics": a row an epoch; "steps": a row a step {step, epoch, learning_rate, loss,
            gradient_norm}.
        patches: how many patches of each split were used.
        scores: of the test split, as `metrics.scores` and `metrics.average_precision` give them.
        test_loss: mean over test patches and classes.
        positions: (N,) int64 positions of the test patches in the file, ascending.
        truth, probability: (N, C) uint8 and float32, of those patches.
        thresholds: (C,) float64, at which the scores were taken.
        step_times: seconds of every training step but the first.
        phases: seconds by what they were spent on.
        first_step: seconds of the first step, tracing included.
        stopped: a signal ended the run before its end; a checkpoint has been saved, and there are
            no scores.
    """

    tables: dict = field(default_factory=lambda: {"metrics": [], "steps": []})
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
    stopped: bool = False


def train(config, store, collective: Single, log: Log, request: StopRequest) -> Result:
    """Trains on the train split, validates after every epoch, and scores the test split with the
    best weights of the validation.

    A rank that is told to stop ends the run on all ranks at the next step, or at once where scores
    are taken: with a checkpoint to go on from.

    Args:
        config: a `benchmarks.configs.TrainConfig` that has passed its `check()`.
        store: the open `bigearth.store.Store`.
        collective: this rank's connection to the others.
        log: where rank 0 writes while the run goes on.
        request: whether this rank has been told to stop.

    Raises:
        InputError: on every rank: a split too small for the batch and the ranks, a checkpoint of
            another run, a sample that cannot be read, or a loss that is not finite or has exploded.
    """
    result = Result()
    classes = int(config.classes)
    global_batch = config.batch_size * collective.size

    # data
    samples = {split: samples_of(store, split, classes) for split in SPLITS}
    check_splits(config, store.path, samples, collective)
    result.patches = {split: len(positions) for split, positions in samples.items()}
    preprocess = Preprocess(config.bands, config.upsample)
    preprocess.check(store)
    with _timed(result.phases, "stage"):
        staged = (
            stage(store, config.stage, preprocess.keys, list(samples.values()), collective)
            if config.stage
            else None
        )
    readers = {
        split: Reader(
            store,
            samples[split],
            preprocess.keys,
            config.batch_size,
            collective.rank,
            collective.size,
            config.seed,
            split == "train",
            staged,
        )
        for split in SPLITS
        if split != "train" or config.epochs
    }
    steps_per_epoch = (
        min(readers["train"].steps, config.steps_per_epoch or math.inf) if config.epochs else 1
    )

    # network and optimizer
    network = resnet.ResNet(
        *(
            config.network,
            preprocess.channels,
            classes,
            config.dropout,
            config.batch_norm,
            config.zero_gamma,
        ),
        *(compute_dtype(config), config.seed, collective),
    )
    train_labels = labels_of(store.classes[samples["train"]], classes)
    if config.prior_bias:
        network.set_prior(train_labels.mean(0))
    optim = optimizer.create(
        config.optimizer,
        network.trainable,
        config.weight_decay,
        config.momentum,
    )
    scale = optimizer.LossScale() if config.precision == "float16" else None
    variables = network.variables + optim.state + (scale.state if scale else [])
    rate_at = Schedule(
        peak_rate(config.learning_rate, global_batch, config.scaling),
        steps_per_epoch,
        config.epochs,
        config.schedule,
        config.warmup_epochs,
        config.boundaries(),
    )
    loss_of = losses.make(config.loss, train_labels)
    train_step = make_train_step(config, preprocess, network, optim, scale, loss_of, collective)
    score_step = make_score_step(config, preprocess, network)

    # where to begin
    folder = os.path.join(config.out, "checkpoints")
    first_epoch, first_step, done_seconds, best_score, best = 0, 0, 0.0, -1.0, None
    last = collective.gather(checkpoint.found(folder)[-1:])[0]  # rank 0 saves them
    with together(collective.gather):
        if last and not config.resume:
            raise InputError(
                f"{folder}: holds checkpoints of an earlier run, expected none where a new run "
                "begins; go on with it (--resume), or give "
                "another --out"
            )
    if last:
        with together(collective.gather):
            state = checkpoint.load(last[0])
            checkpoint.check(
                last[0],
                state,
                config=dataclasses.asdict(config),
                resumes=cli.resumes(type(config)),
                digest=store.digest,
                shapes=[v.shape for v in variables],
            )
        for variable, value in zip(variables, state.variables):
            variable.assign(value)
        own = (
            state.statistics[collective.rank]
            if len(state.statistics) == collective.size
            else state.statistics.mean(0)
        )
        set_statistics(network, own)
        result.tables, done_seconds, best_score, best = (
            state.tables,
            state.seconds,
            state.best_score,
            state.best,
        )
        first_epoch, first_step = state.epoch, min(state.samples // global_batch, steps_per_epoch)
        log.say(f"resuming from {last[0]}: epoch {first_epoch + 1}, step {first_step}")
    else:
        collective.broadcast(variables)
    check_equal_weights(network.trainable, collective, "at the start")
    with together(collective.gather):
        log.start(
            {
                "global_batch_size": global_batch,
                "train_samples": result.patches["train"],
                "eval_samples": result.patches["val"],
                "seed": config.seed,
                "opt_name": config.optimizer,
                "opt_base_learning_rate": rate_at.peak,
            },
            resumed=bool(last),
        )

    def save(epoch, samples, seconds):
        statistics = np.stack(collective.gather(get_statistics(network)))
        with together(collective.gather), _timed(result.phases, "checkpoint"):
            if collective.rank == 0:
                values = [v.numpy() for v in variables]
                state = checkpoint.State(
                    *(
                        dataclasses.asdict(config),
                        store.digest,
                        epoch,
                        samples,
                        global_batch,
                        seconds,
                        result.tables,
                        best_score,
                        values,
                    ),
                    *(statistics, best),
                )
                log.say(f"saved {checkpoint.save(folder, state, config.checkpoint_keep)}")

    def stop(epoch, samples, seconds):
        save(epoch, samples, seconds)
        with together(collective.gather):
            log.tables(result.tables)
        result.stopped = True
        return result

    # training
    with collective.trace(config.timeline):
        for epoch in range(first_epoch, config.epochs):
            with together(collective.gather):
                if first_step == 0:
                    log.epoch_start(epoch)
            collective.barrier()
            begun = time.perf_counter()
            try:
                with Progress(
                    steps_per_epoch * global_batch,
                    f"epoch {epoch + 1}",
                    "img",
                    collective.rank == 0,
                ) as progress:
                    stopped_at = _run_steps(
                        *(
                            config,
                            epoch,
                            range(first_step, steps_per_epoch),
                            steps_per_epoch,
                            readers["train"],
                            train_step,
                            rate_at,
                        ),
                        *(collective, request, result, progress),
                    )
            except InputError:
                log.tables(result.tables)  # the steps that led there
                raise
            collective.barrier()
            seconds = done_seconds + time.perf_counter() - begun
            result.phases["train"] = result.phases.get("train", 0.0) + seconds - done_seconds
            if stopped_at is not None:
                return stop(epoch, stopped_at * global_batch, seconds)
            first_step, done_seconds = 0, 0.0

            average_statistics(network, collective)
            check_equal_weights(network.variables, collective, f"after epoch {epoch + 1}")
            with _timed(result.phases, "validate"):
                validation = evaluate(
                    readers["val"], score_step, config.batch_size, classes, collective, request
                )
            if validation is None:
                return stop(epoch, steps_per_epoch * global_batch, seconds)
            scores = metrics.scores(validation.counts, label_names(classes))
            result.tables["metrics"].append(
                _epoch_row(
                    epoch, seconds, steps_per_epoch * global_batch, result, validation.loss, scores
                )
            )
            if scores["f1_micro"] > best_score:
                best_score, best = scores["f1_micro"], [v.numpy() for v in network.variables]
            with together(collective.gather):
                log.epoch(result.tables["metrics"][-1], result.tables)
            if config.checkpoint_epochs and (epoch + 1) % config.checkpoint_epochs == 0:
                save(epoch + 1, 0, 0.0)

    # scores, with the weights of the best validation score: all that a run needs that is stopped
    # from here on
    for variable, value in zip(network.variables, best or []):
        variable.assign(value)
    result.thresholds = np.full(classes, thresholds.DEFAULT)
    if config.tune_thresholds:
        with _timed(result.phases, "validate"):
            validation = evaluate(
                readers["val"], score_step, config.batch_size, classes, collective, request
            )
            if validation is None:
                return stop(config.epochs, 0, 0.0)
            _, truth, probability = join(collective.gather(validation.rows))
            result.thresholds = thresholds.tune(truth, probability)
    with _timed(result.phases, "test"):
        test = evaluate(
            readers["test"],
            score_step,
            config.batch_size,
            classes,
            collective,
            request,
            result.thresholds,
        )
        if test is None:
            return stop(config.epochs, 0, 0.0)
        result.positions, result.truth, result.probability = join(collective.gather(test.rows))
    result.test_loss = test.loss
    result.scores = metrics.scores(test.counts, label_names(classes))
    precision = metrics.average_precision(result.truth, result.probability)
    result.scores.update({k: v for k, v in precision.items() if k != "per_class"})
    for row, value in zip(result.scores["per_class"], precision["per_class"]):
        row["average_precision"] = float(value)
    return result


def _run_steps(
    config,
    epoch,
    steps,
    steps_per_epoch,
    reader,
    train_step,
    rate_at,
    collective,
    request,
    result,
    progress,
):
    """Runs steps of one epoch.

    On a GPU a step's numbers are read while the next one runs, so that it never waits for Python.
    On every rank the same numbers lead to the same decision to go on, stop or fail.

    Returns:
        None, or the step to go on with because some rank was told to stop.
    """
    global_batch = config.batch_size * collective.size
    data = reader.dataset(epoch, steps.start)
    batches = iter(data)
    running = collections.deque()
    ahead = 1 if tf.config.list_logical_devices("GPU") else 0
    clock = time.perf_counter()
    failure, stopping = None, False

    def finish():
        """Reads the oldest running step; returns whether any rank was told to stop."""
        nonlocal clock
        step, rate, outcome = running.popleft()
        (loss, stop, failed), own_loss, norm = (x.numpy() for x in outcome)
        if failed:
            raise next(InputError(message) for message in collective.gather(failure) if message)
        result.tables["steps"].append(
            dict(
                step=step,
                epoch=epoch + 1,
                learning_rate=rate,
                loss=float(loss),
                gradient_norm=float(norm),
            )
        )
        check_loss(
            float(loss), float(own_loss), float(norm), step, rate, config.loss_limit, collective
        )
        now = time.perf_counter()
        if math.isnan(result.first_step):
            result.first_step = now - clock
        else:
            result.step_times.append(now - clock)
        clock = now
        progress.update(global_batch, f"loss {loss:.4f}")
        return stop > 0

    for step in steps:
        with _timed(result.phases, "wait for data"):
            batch, failure = _fetch(batches, data, reader)
        rate = rate_at(epoch * steps_per_epoch + step)
        flags = tf.constant([float(request.received), float(failure is not None)])
        running.append(
            (
                epoch * steps_per_epoch + step,
                rate,
                train_step(batch, tf.constant(rate), tf.constant(epoch, tf.int64), flags),
            )
        )
        stopping = len(running) > ahead and finish()
        if stopping:
            break
    return step + 1 if any([stopping, *(finish() for _ in range(len(running)))]) else None


def _fetch(batches, data, reader):
    """The next batch and None; or a blank batch and why this rank cannot read, for all ranks to
    fail together after the step."""
    try:
        return next(batches), None
    except (tf.errors.OpError, InputError):
        if reader.failure is None:
            raise
        return {
            key: tf.zeros(spec.shape, spec.dtype) for key, spec in data.element_spec.items()
        }, str(reader.failure)


def check_splits(config, path: str, samples: dict, collective: Single) -> None:
    """Refuses a file whose splits are too small for this run.

    Args:
        path: of the file.
        samples: split -> positions of the patches to be used.

    Raises:
        InputError: an empty split, more ranks than samples, or fewer training samples than one
            global batch.
    """
    for split in SPLITS:
        count = len(samples[split])
        if count == 0:
            raise InputError(
                f"{path}: no patch with a label of the {config.classes} classes is in the {split} "
                "split; expected at least one; prepare the "
                f"file with a list of {split} patches"
            )
        if count < collective.size:
            raise InputError(
                f"{path}: the {split} split has {count} patches for {collective.size} "
                f"ranks; start at most {count} ranks"
            )
        if split == "train" and config.epochs and config.batch_size * collective.size > count:
            raise InputError(
                f"{path}: the train split has {count} patches, fewer than one global batch of "
                f"{collective.size} ranks x "
                f"{config.batch_size}; lower --batch-size to at most {count // collective.size}"
            )


def get_statistics(network) -> np.ndarray:
    """BatchNorm's moving statistics in one vector, float32."""
    return np.concatenate([v.numpy().ravel() for v in network.statistics])


def set_statistics(network, values: np.ndarray) -> None:
    """Puts back what `get_statistics` gave."""
    ends = np.cumsum([int(np.prod(v.shape)) for v in network.statistics])
    for variable, part in zip(network.statistics, np.split(values, ends[:-1])):
        variable.assign(part.reshape(variable.shape))


def average_statistics(network, collective: Single) -> None:
    """Gives all ranks the mean of their moving statistics, which each gathered from its own
    batches."""
    set_statistics(network, collective.sum(get_statistics(network)) / np.float32(collective.size))


@contextmanager
def _timed(phases: dict, name: str):
    start = time.perf_counter()
    yield
    phases[name] = phases.get(name, 0.0) + time.perf_counter() - start


def _epoch_row(
    epoch: int, seconds: float, samples: int, result: Result, val_loss: float, val_scores: dict
) -> dict:
    own = [row for row in result.tables["steps"] if row["epoch"] == epoch + 1]
    return {
        "epoch": epoch + 1,
        "time": seconds,
        "throughput": samples / seconds,
        "learning_rate": own[-1]["learning_rate"],
        "train_loss": float(np.mean([row["loss"] for row in own])),
        "val_loss": val_loss,
        "val_f1_micro": val_scores["f1_micro"],
        "val_f1_macro": val_scores["f1_macro"],
    }
