"""Data-parallel training and scoring; `train` reads top to bottom."""

import dataclasses
import functools
import socket
import time
from pathlib import Path

import numpy as np

from bigearth import cli
from bigearth.energy import Meter
from bigearth.errors import InputError, together
from bigearth.learn import (
    checkpoint,
    losses,
    metrics,
    optimizer,
    resnet,
    statistics,
    thresholds,
)
from bigearth.learn.collective import Single
from bigearth.learn.config import TrainConfig
from bigearth.learn.evaluation import Evaluation, evaluate, join
from bigearth.learn.guards import check_equal_weights
from bigearth.learn.input.reader import Reader
from bigearth.learn.input.stage import stage
from bigearth.learn.inputs import Preprocess
from bigearth.learn.labels import label_names, labels_of
from bigearth.learn.log import Log
from bigearth.learn.loop import StepLoop
from bigearth.learn.measuring import Measuring
from bigearth.learn.probe import probe
from bigearth.learn.schedule import Schedule, peak_rate
from bigearth.learn.signals import Stopped, StopRequest
from bigearth.learn.splits import SPLITS, check_splits, repeated, samples_of
from bigearth.learn.state import Result, RunState
from bigearth.learn.steps import compute_dtype, make_score_step, make_train_step
from bigearth.learn.watchdog import Watchdog
from bigearth.progress import Progress
from bigearth.store import Store


def train(
    config: TrainConfig, store: Store, collective: Single, log: Log, request: StopRequest
) -> Result:
    """Trains on the train split, validates after every epoch, and scores the test split with the
    best weights of the validation.

    A rank that is asked to stop ends the run on all ranks at the next step, or at once where scores
    are taken: with a checkpoint to go on from.

    Args:
        config: has passed its `check()`.
        store: the open file.
        collective: this rank's connection to the others.
        log: where rank 0 writes while the run goes on.
        request: whether this rank was asked to stop.

    Raises:
        InputError: on every rank: a split too small for the batch and the ranks, a checkpoint of
            another run, a sample that cannot be read, or a loss that is not finite or has exploded.
    """
    run = prepare(config=config, store=store, collective=collective, log=log, request=request)
    begin(run)
    meter = Meter(collective.local_rank)
    meter.start()
    try:
        with collective.trace(config.timeline):
            while run.epoch < config.epochs and not run.ended:
                train_epoch(run)
                validate(run)
        run.result.energy = meter.stop()
        use_best_weights(run)
        choose_thresholds(run)
        test(run)
        run.result.efficiency = probe(run)
    except Stopped:
        save(run)
        with together(collective.gather):
            log.tables(run.result.tables)
        run.result.stopped = True
    return run.result


def prepare(
    *, config: TrainConfig, store: Store, collective: Single, log: Log, request: StopRequest
) -> RunState:
    """Opens the data and builds network, optimizer and steps."""
    result = Result()
    samples = samples_of(store, config.split, int(config.classes))
    check_splits(config, store.path, samples, world_size=collective.size)
    result.patches = {split: len(positions) for split, positions in samples.items()}
    preprocess = Preprocess(config.bands, config.upsample)
    preprocess.check(store)
    with result.timed("stage"):
        readers = open_readers(
            config=config, store=store, samples=samples, keys=preprocess.keys, collective=collective
        )
    steps = readers["train"].steps if config.epochs else 1
    result.steps_per_epoch = steps = min(steps, config.steps_per_epoch or steps)
    train_labels = labels_of(store.classes[samples["train"]], int(config.classes))
    network = build_network(
        config=config,
        channels=preprocess.channels,
        train_labels=train_labels,
        collective=collective,
    )
    optim = optimizer.create(
        config.optimizer,
        network.trainable,
        weight_decay=config.weight_decay,
        momentum=config.momentum,
    )
    scale = optimizer.LossScale() if config.precision == "float16" else None
    make_step = functools.partial(
        make_train_step,
        config=config,
        preprocess=preprocess,
        network=network,
        optim=optim,
        scale=scale,
        loss_of=losses.make(config.loss, train_labels),
    )
    return RunState(
        config=config,
        store=store,
        collective=collective,
        log=log,
        request=request,
        result=result,
        measuring=Measuring(config.interval),
        readers=readers,
        steps_per_epoch=steps,
        network=network,
        variables=network.variables + optim.state + (scale.state if scale else []),
        rate_at=schedule_of(config, steps, collective.size),
        make_step=make_step,
        train_step=make_step(collective=collective),
        score_step=make_score_step(config, preprocess, network),
        watchdog=watch(config, collective),
    )


def watch(config: TrainConfig, collective: Single) -> Watchdog:
    """What ends the job if a step does not end."""
    hosts = collective.gather(socket.gethostname())
    watchdog = Watchdog(Path(config.out) / "stalled", rank=collective.rank, hosts=hosts)
    if collective.rank == 0:
        watchdog.clear()
    collective.barrier()  # nobody watches before
    return watchdog


def schedule_of(config: TrainConfig, steps_per_epoch: int, world_size: int) -> Schedule:
    """The learning rate of every step."""
    peak = peak_rate(config.learning_rate, config.batch_size * world_size, config.scaling)
    return Schedule(
        peak=peak,
        steps_per_epoch=steps_per_epoch,
        epochs=config.epochs,
        kind=config.schedule,
        warmup_epochs=config.warmup_epochs,
        boundaries=config.boundaries(),
    )


def open_readers(
    *, config: TrainConfig, store: Store, samples: dict, keys: tuple, collective: Single
) -> dict:
    """Split -> its reader; from the node's own disk, if the run stages. No "train" where no epoch
    is trained."""
    labels = labels_of(store.classes[samples["train"]], int(config.classes))
    train = repeated(samples["train"], labels, share=config.resample, seed=config.seed)
    samples = {**samples, "train": train}
    staged = None
    if config.stage:
        staged = stage(
            store, config.stage, keys=keys, splits=list(samples.values()), collective=collective
        )
    return {
        split: Reader(
            store,
            samples[split],
            keys,
            batch_size=config.batch_size,
            rank=collective.rank,
            world_size=collective.size,
            seed=config.seed,
            shuffle=split == "train",
            staged=staged,
        )
        for split in SPLITS
        if split != "train" or config.epochs
    }


def build_network(
    *, config: TrainConfig, channels: int, train_labels: np.ndarray, collective: Single
) -> resnet.ResNet:
    """The network with its first weights."""
    network = resnet.ResNet(
        name=config.network,
        bands=channels,
        outputs=train_labels.shape[1],
        dropout=config.dropout,
        batch_norm=config.batch_norm,
        zero_gamma=config.zero_gamma,
        precision=compute_dtype(config),
        seed=config.seed,
        collective=collective,
    )
    if config.prior_bias:
        network.set_prior(train_labels.mean(0))
    return network


def checkpoints(run: RunState) -> Path:
    """The folder of the run's checkpoints."""
    return Path(run.config.out) / "checkpoints"


def begin(run: RunState) -> None:
    """Gives all ranks the state of the last checkpoint, or the same new weights."""
    collective, config = run.collective, run.config
    last = collective.gather(checkpoint.found(checkpoints(run))[-1:])[0]  # rank 0 saves them
    with together(collective.gather):
        if last and not config.resume:
            raise InputError(
                f"{checkpoints(run)}: holds checkpoints of an earlier run, expected none where a "
                "new run begins; go on with it (--resume), or give another --out"
            )
    if last:
        restore(run, last[0])
    else:
        collective.broadcast(run.variables)
    check_equal_weights(run.network.trainable, collective, "at the start")
    facts = {
        "global_batch_size": run.global_batch,
        "train_samples": run.result.patches["train"],
        "eval_samples": run.result.patches["val"],
        "seed": config.seed,
        "opt_name": config.optimizer,
        "opt_base_learning_rate": run.rate_at.peak,
    }
    with together(collective.gather):
        run.log.start(facts, resumed=bool(last))


def restore(run: RunState, path: Path) -> None:
    """Puts a checkpoint back."""
    with together(run.collective.gather):
        state = checkpoint.load(path)
        checkpoint.check(
            path,
            state,
            config=dataclasses.asdict(run.config),
            resumes=cli.resumes(type(run.config)),
            digest=run.store.digest,
            shapes=[v.shape for v in run.variables],
            network=len(run.network.variables),
            statistics=len(statistics.get(run.network)),
        )
    for variable, value in zip(run.variables, state.variables):
        variable.assign(value)
    if len(state.statistics) == run.collective.size:
        statistics.put(run.network, state.statistics[run.collective.rank])
    else:
        statistics.put(run.network, statistics.of_other_ranks(run.network, state.statistics))
    run.result.tables = state.tables
    run.epoch = state.epoch
    run.step = min(state.samples // run.global_batch, run.steps_per_epoch)
    run.seconds = state.seconds
    run.best_score, run.best = state.best_score, state.best
    run.log.say(f"resuming from {path}: epoch {run.epoch + 1}, step {run.step}")


def save(run: RunState) -> None:
    """Saves a checkpoint: rank 0 writes, all ranks give their BatchNorm statistics."""
    own = np.stack(run.collective.gather(statistics.get(run.network)))
    with together(run.collective.gather), run.result.timed("checkpoint"):
        if run.collective.rank == 0:
            state = checkpoint.State(
                config=dataclasses.asdict(run.config),
                digest=run.store.digest,
                epoch=run.epoch,
                samples=run.step * run.global_batch,
                global_batch=run.global_batch,
                seconds=run.seconds,
                tables=run.result.tables,
                best_score=run.best_score,
                variables=[v.numpy() for v in run.variables],
                statistics=own,
                best=run.best,
            )
            path = checkpoint.save(checkpoints(run), state, run.config.checkpoint_keep)
            run.log.say(f"saved {path}")


def train_epoch(run: RunState) -> None:
    """Trains from where the run stands to the end of the epoch."""
    collective, result = run.collective, run.result
    with together(collective.gather):
        if run.step == 0:
            run.log.epoch_start(run.epoch)
    collective.barrier()
    begun = time.perf_counter()
    result.step_times.append({"epoch": run.epoch + 1, "timed": run.traced, "seconds": []})
    images = run.steps_per_epoch * run.global_batch
    label = f"epoch {run.epoch + 1}/{run.config.epochs}"
    later = images * (run.config.epochs - run.epoch - 1)
    show = collective.rank == 0
    try:
        with Progress(images, label, "img", show=show, later=later) as progress:
            loop = StepLoop(run, progress)
            loop.run()
    except InputError:
        run.log.tables(result.tables)  # the steps that led there
        raise
    collective.barrier()
    seconds = time.perf_counter() - begun
    run.seconds += seconds
    result.phases["train"] = result.phases.get("train", 0.0) + seconds
    if loop.told:
        raise Stopped
    run.traced = True
    result.measured = run.measuring.facts()


def validate(run: RunState) -> None:
    """Scores the validation split with the weights of the epoch that was just trained, and ends
    that epoch."""
    statistics.average(run.network, run.collective)
    check_equal_weights(run.network.variables, run.collective, f"after epoch {run.epoch + 1}")
    with run.result.timed("validate"):
        validation = score(run, "val")
    run.result.tables["metrics"].append(epoch_row(run, validation))
    run.result.tables["step_times"].append(slowest_times(run))
    f1_micro, _ = metrics.f1(validation.counts)
    if f1_micro > run.best_score:
        run.best_score = f1_micro
        run.best = [v.numpy() for v in run.network.variables]
    with together(run.collective.gather):
        run.log.epoch(run.result.tables["metrics"][-1], run.result.tables)
    run.epoch, run.step, run.seconds = run.epoch + 1, 0, 0.0
    if run.config.checkpoint_epochs and run.epoch % run.config.checkpoint_epochs == 0:
        save(run)


def score(run: RunState, split: str) -> Evaluation:
    """Scores a split with the weights as they stand."""
    return evaluate(
        run.readers[split],
        run.score_step,
        batch_size=run.config.batch_size,
        classes=int(run.config.classes),
        collective=run.collective,
        request=run.request,
    )


def epoch_row(run: RunState, validation: Evaluation) -> dict:
    """The row of the epoch that was just validated."""
    own = [row for row in run.result.tables["steps"] if row["epoch"] == run.epoch + 1]
    f1_micro, f1_macro = metrics.f1(validation.counts)
    samples = run.step * run.global_batch
    return {
        "epoch": run.epoch + 1,
        "time": run.seconds,
        "throughput": samples / run.seconds,
        "learning_rate": own[-1]["learning_rate"],
        "train_loss": float(np.mean([row["loss"] for row in own])),
        "val_loss": validation.loss,
        "val_f1_micro": f1_micro,
        "val_f1_macro": f1_macro,
        "steps": run.step,
        "samples": samples,
        "timed": run.result.step_times[-1]["timed"] and not run.ended,
    }


def slowest_times(run: RunState) -> dict:
    """This epoch's row of the table of step times, to the microsecond."""
    own = run.result.step_times[-1]
    every = np.stack(run.collective.gather(np.array(own["seconds"])))
    return {**own, "seconds": every.max(0).round(6).tolist()}


def use_best_weights(run: RunState) -> None:
    """Sets the weights of the best validation score: with these a run is scored, and a checkpoint
    of a run that is stopped from here on needs no others."""
    for variable, value in zip(run.network.variables, run.best or []):
        variable.assign(value)


def choose_thresholds(run: RunState) -> None:
    """The thresholds of the test scores: the default, or those that are best on the validation
    split."""
    run.result.thresholds = np.full(int(run.config.classes), thresholds.DEFAULT)
    if run.config.tune_thresholds:
        with run.result.timed("validate"):
            _, truth, probability = join(run.collective.gather(score(run, "val").rows))
            run.result.thresholds = thresholds.tune(truth, probability)


def test(run: RunState) -> None:
    """Scores the test split."""
    result = run.result
    with result.timed("test"):
        found = score(run, "test")
        result.positions, result.truth, result.probability = join(run.collective.gather(found.rows))
    result.test_loss = found.loss
    predicted = result.probability >= result.thresholds
    names = label_names(int(run.config.classes))
    result.scores = metrics.scores(result.truth, predicted, names)
    precision = metrics.average_precision(result.truth, result.probability)
    for row, value in zip(result.scores["per_class"], precision.pop("per_class")):
        row["average_precision"] = value
    result.scores.update(precision)
