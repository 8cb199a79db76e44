"""Data-parallel training and scoring; `train` reads top to bottom."""

import math
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from bigearth import nomenclature
from bigearth.errors import InputError
from bigearth.learn import augment, losses, metrics, optimizer, resnet
from bigearth.learn.collective import Single
from bigearth.learn.guards import check_equal_weights, check_finite
from bigearth.learn.inputs import Preprocess
from bigearth.learn.reader import Reader
from bigearth.learn.schedule import Schedule, peak_rate
from bigearth.progress import Progress


@dataclass
class Result:
    """What a run leaves behind; equal on all ranks but for `step_times` and `phases`, which are this rank's.

    Attributes:
        epochs: one row an epoch (see `_epoch_row`).
        steps: one row a step: step, epoch, learning_rate, loss (mean over ranks), gradient_norm.
        scores: of the test split, as `metrics.scores` gives them.
        test_loss: mean over test patches and classes.
        truth, probability: (N, 43) uint8 and float32, for the test patches in the order of `positions`.
        positions: (N,) int64 positions of the test patches in the file, ascending.
        step_times: seconds of every training step but the first.
        phases: seconds by what they were spent on.
        first_step: seconds of the first step, tracing included.
    """

    epochs: list = field(default_factory=list)
    steps: list = field(default_factory=list)
    scores: dict = field(default_factory=dict)
    test_loss: float = math.nan
    truth: np.ndarray = None
    probability: np.ndarray = None
    positions: np.ndarray = None
    step_times: list = field(default_factory=list)
    phases: dict = field(default_factory=dict)
    first_step: float = math.nan


def train(config, store, collective: Single, on_epoch=lambda result: None) -> Result:
    """Trains on the train split, validates after every epoch, and scores the test split at the end.

    Args:
        config: a `benchmarks.configs.TrainConfig`.
        store: the open `bigearth.store.Store`.
        collective: this rank's connection to the others.
        on_epoch: called on every rank after each epoch with the result so far.

    Raises:
        InputError: on every rank: a split too small for the batch and the ranks, or a loss that is not finite.
    """
    result = Result()
    show = collective.rank == 0

    preprocess = Preprocess(config.bands, config.upsample)
    preprocess.check(store)
    readers = {split: _reader(config, store, split, preprocess.keys, collective) for split in ("train", "val", "test")}
    steps_per_epoch = min(readers["train"].steps, config.steps_per_epoch or readers["train"].steps)

    network = resnet.ResNet50(
        preprocess.channels,
        len(nomenclature.LABELS),
        config.dropout,
        config.batch_norm,
        False,
        config.precision,
        config.seed,
        collective,
        config.network,
    )
    optim = optimizer.create("sgd", network.trainable, 0.0, config.momentum, True)
    collective.broadcast(network.variables + optim.state)
    check_equal_weights(network.variables, collective, "at the start")

    rate_at = Schedule(
        peak_rate(config.learning_rate, config.batch_size * collective.size),
        steps_per_epoch,
        config.epochs,
        config.schedule,
        config.warmup_epochs,
        boundaries(config.decay_epochs),
    )
    train_step = _train_step(config, preprocess, network, optim, collective)
    score_step = _score_step(preprocess, network)

    for epoch in range(config.epochs):
        collective.barrier()
        start = time.perf_counter()
        with Progress(steps_per_epoch * config.batch_size * collective.size, f"epoch {epoch + 1}", "img", show) as progress:
            batches = iter(readers["train"].dataset(epoch))
            for step in range(epoch * steps_per_epoch, (epoch + 1) * steps_per_epoch):
                began = time.perf_counter()
                with _timed(result.phases, "wait for data"):
                    batch = next(batches)
                rate = rate_at(step)
                loss, own_loss, norm = (float(x) for x in train_step(batch, tf.constant(rate), tf.constant(epoch, tf.int64)))
                check_finite(loss, own_loss, norm, step, rate, collective)
                result.steps.append(dict(step=step, epoch=epoch + 1, learning_rate=rate, loss=loss, gradient_norm=norm))
                _note_time(result, time.perf_counter() - began)
                progress.update(config.batch_size * collective.size, f"loss {loss:.4f}")
        collective.barrier()
        seconds = time.perf_counter() - start
        _add(result.phases, "train", seconds)

        average_statistics(network, collective)
        check_equal_weights(network.variables, collective, f"after epoch {epoch + 1}")
        with _timed(result.phases, "validate"):
            val_loss, val_counts, _ = evaluate(readers["val"], score_step, config.batch_size, collective)
        result.epochs.append(
            _epoch_row(epoch, seconds, steps_per_epoch * config.batch_size * collective.size, result, val_loss, metrics.scores(val_counts))
        )
        if show:
            print(_epoch_line(result.epochs[-1], config.epochs), file=sys.stderr, flush=True)
        on_epoch(result)

    with _timed(result.phases, "test"):
        result.test_loss, counts, scored = evaluate(readers["test"], score_step, config.batch_size, collective)
        result.scores = metrics.scores(counts)
        result.positions, result.truth, result.probability = _join(collective.gather(scored))
    return result


def check(config) -> None:
    """Refuses values that no run can have.

    Raises:
        InputError: names the option.
    """
    limits = {
        "batch_size": (1, None),
        "epochs": (0, None),
        "steps_per_epoch": (1, None),
        "window": (32, 120),
        "dropout": (0, 0.99),
        "learning_rate": (0, None),
        "momentum": (0, 0.9999),
        "l2": (0, None),
        "warmup_epochs": (0, None),
        "groups": (1, None),
        "threads": (0, None),
        "samples": (1, None),
    }
    for name, (low, high) in limits.items():
        value = getattr(config, name)
        if value is not None and not (low <= value and (high is None or value <= high)):
            expected = f"at least {low}" + (f" and at most {high}" if high is not None else "")
            raise InputError(
                f"command line: --{name.replace('_', '-')} is {value}; expected {expected}; correct the option or the config file"
            )
    boundaries(config.decay_epochs)


def _reader(config, store, split, keys, collective) -> Reader:
    positions = store.indices(split)
    if len(positions) == 0:
        raise InputError(
            f"{store.path}: no patch is in the {split} split; expected at least one; prepare the file with a list of {split} patches"
        )
    if len(positions) < collective.size:
        raise InputError(
            f"{store.path}: the {split} split has {len(positions)} patches, fewer than the {collective.size} ranks; start at most {len(positions)} ranks"
        )
    if split == "train" and config.epochs and config.batch_size * collective.size > len(positions):
        raise InputError(
            f"{store.path}: the train split has {len(positions)} patches, fewer than one global batch of {collective.size} ranks x "
            f"{config.batch_size}; lower --batch-size to at most {len(positions) // collective.size}"
        )
    return Reader(store, positions, keys, config.batch_size, collective.rank, collective.size, config.seed, shuffle=split == "train")


def boundaries(text: str) -> list:
    """The epochs of a step decay from the option's text, e.g. "30,60,80".

    Raises:
        InputError: not ascending numbers.
    """
    try:
        values = [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        values = None
    if values is None or values != sorted(values):
        raise InputError(f"command line: --decay-epochs is {text!r}; expected ascending numbers such as 30,60,80; correct the option")
    return values


def _train_step(config, preprocess, network, optim, collective):
    @tf.function
    def train_step(batch, rate, epoch):
        """One step; returns the loss averaged over ranks, this rank's own, and the norm of the averaged gradient."""
        positions = batch["position"]
        images = preprocess(batch)
        if config.window < images.shape[1]:
            images = augment.random_window(images, config.window, augment.random_bits(positions, config.seed, epoch, 0))
        if config.augment:
            images = augment.rotate_and_flip(images, augment.random_bits(positions, config.seed, epoch, 1))
        keep = augment.random_mask(positions, config.seed, epoch, network.features, 1 - config.dropout) if config.dropout else None
        truth = tf.cast(batch["classes"], tf.float32)

        with tf.GradientTape() as tape:
            loss = losses.bce(truth, network(images, training=True, keep=keep))
            penalty = config.l2 * tf.add_n([tf.reduce_sum(tf.square(k)) for k in network.kernels])
            total = loss + penalty
        gradients = tape.gradient(total, network.trainable)
        # the loss travels with the last group of gradients: no operation of its own
        *gradients, mean_loss = collective.average([*gradients, loss])
        norm = tf.linalg.global_norm(gradients)
        tf.cond(tf.math.is_finite(norm), lambda: _applied(optim, gradients, rate), lambda: False)
        return mean_loss, loss, norm

    return train_step


def _applied(optim, gradients, rate):
    optim.apply(gradients, rate)
    return True


def _score_step(preprocess, network):
    @tf.function
    def score_step(batch):
        """Per-sample losses (n,) and probabilities (n, 43) of a batch, with the network as it stands."""
        logits = network(preprocess(batch), training=False)
        truth = tf.cast(batch["classes"], tf.float32)
        return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(truth, logits), 1), tf.sigmoid(logits)

    return score_step


def evaluate(reader: Reader, score_step, batch_size: int, collective: Single):
    """Scores every sample of a split once, over all ranks.

    Returns:
        the mean loss and the `metrics.Counts` of all ranks' samples at threshold 0.5, and this rank's own
        (positions, truth, probabilities).
    """
    counts = metrics.Counts(len(nomenclature.LABELS))
    rows = []
    loss_sum = 0.0
    for batch in reader.dataset(0):
        n = int(batch["position"].shape[0])
        # every batch has one shape: one trace, and a sample's score does not depend on how many ranks share the split
        padded = {key: tf.pad(x, [[0, batch_size - n]] + [[0, 0]] * (len(x.shape) - 1)) for key, x in batch.items()}
        loss, probability = (x.numpy()[:n] for x in score_step(padded))
        truth = batch["classes"].numpy()
        counts.update(truth, probability > 0.5)
        loss_sum += float(np.sum(loss, dtype=np.float64))
        rows.append((batch["position"].numpy(), truth, probability))
    loss_sum, samples = collective.sum(np.array([loss_sum, sum(len(r[0]) for r in rows)], np.float64))
    counts = metrics.Counts.from_array(collective.sum(counts.as_array()))
    return float(loss_sum / samples), counts, tuple(np.concatenate(parts) for parts in zip(*rows))


def _join(ranks: list):
    """All ranks' (positions, truth, probabilities) in the order of the positions, each sample exactly once."""
    positions, truth, probability = (np.concatenate(parts) for parts in zip(*ranks))
    order = np.argsort(positions)
    if len(np.unique(positions)) != len(positions):
        raise RuntimeError("a test patch was scored twice")
    return positions[order], truth[order], probability[order]


def average_statistics(network, collective: Single) -> None:
    """Gives all ranks the mean of their BatchNorm moving statistics, which each gathered from its own batches."""
    statistics = network.statistics
    if collective.size == 1 or not statistics:
        return
    mean = collective.sum(np.concatenate([v.numpy().ravel() for v in statistics])) / collective.size
    for v, part in zip(statistics, np.split(mean, np.cumsum([int(np.prod(v.shape)) for v in statistics])[:-1])):
        v.assign(part.reshape(v.shape))


def _note_time(result: Result, seconds: float) -> None:
    if math.isnan(result.first_step):
        result.first_step = seconds
    else:
        result.step_times.append(seconds)


def _add(phases: dict, name: str, seconds: float) -> None:
    phases[name] = phases.get(name, 0.0) + seconds


@contextmanager
def _timed(phases: dict, name: str):
    start = time.perf_counter()
    yield
    _add(phases, name, time.perf_counter() - start)


def _epoch_row(epoch: int, seconds: float, samples: int, result: Result, val_loss: float, val_scores: dict) -> dict:
    own = [row for row in result.steps if row["epoch"] == epoch + 1]
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


def _epoch_line(row: dict, epochs: int) -> str:
    return (
        f"epoch {row['epoch']}/{epochs}: {row['time']:.1f} s, {row['throughput']:.1f} img/s, rate {row['learning_rate']:.4g}, "
        f"loss {row['train_loss']:.4f}, val loss {row['val_loss']:.4f}, val F1 micro {row['val_f1_micro']:.4f} macro {row['val_f1_macro']:.4f}"
    )
