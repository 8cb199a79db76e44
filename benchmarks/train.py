"""Trains and scores ResNet-50 data-parallel on an HDF5 file of patches, and writes the result
record.

    mpirun -np 2 python -m benchmarks.train --data FILE --config local --out DIR

DIR then holds result.json (the record), metrics.csv (a row per epoch), steps.csv (a row per step),
samples.npz (pictures, labels and scores of some test patches) and tensorboard/. Every rank runs
this program; rank 0 alone writes and talks. Exit code 75: a signal (SIGTERM, SIGUSR1) ended the job
early and a checkpoint was saved; the same command with --resume goes on.
"""

import contextlib
import dataclasses
import math
import os
import socket
import sys
import time
from pathlib import Path
from typing import NamedTuple, Optional

import numpy as np

from bigearth import agreement, bands, cli, energy, intervals, machine, nvml, provenance, record
from bigearth.errors import InputError, together
from bigearth.files import lock, make_folder, save_arrays
from bigearth.learn import efficiency
from bigearth.learn.ceiling import CHAINED, matrix_product, timings
from bigearth.learn.config import TrainConfig
from bigearth.learn.layers import gradient_bytes, step_flops
from bigearth.learn.signals import REQUEUE, StopRequest
from bigearth.store import Store

NOT_TRAINED = "no epoch was trained"
SCORES = ("precision", "recall", "f1")
AVERAGES = ("micro", "macro", "weighted", "samples")
MOST_PARTS = 1000  # of a bootstrap
GPU_MATRIX, CPU_MATRIX = 8192, 1024  # side of the product that the step is compared with
MATRIX_REPEATS = 6
PICTURE_WHITE = 2500  # digital number shown as full brightness: reflectance 0.25


def run(config: TrainConfig) -> Optional[int]:
    """Trains, scores and writes everything under `config.out`; returns the exit code."""
    start, began = provenance.now(), time.perf_counter()
    config.check()
    with StopRequest().listening() as request, contextlib.ExitStack() as held:
        return _run(config, start=start, began=began, request=request, held=held)


def _run(
    config: TrainConfig,
    start: str,
    began: float,
    request: StopRequest,
    held: contextlib.ExitStack,
) -> Optional[int]:
    """`held` is let go at the end of the run: rank 0's lock of the output folder."""
    import tensorflow as tf  # slow to load: not before the command line is known to be right

    from bigearth.learn import collective, trainer
    from bigearth.learn.log import Log

    ranks = collective.connect(config.groups, config.compression)
    device = use_device(tf, ranks, config)
    output = Path(config.out)
    with together(ranks.gather):
        store = Store(config.data)
    check_ranks(tf, ranks, config, store=store)
    with together(ranks.gather):
        if ranks.rank == 0:
            make_folder(output)
            held.enter_context(lock(output / "result.json", "training"))
            cached = machine.cached_share(config.data)  # before anything reads it
    with together(ranks.gather):
        log = Log(output, config.epochs, config.mlperf) if ranks.rank == 0 else Log()
    started = time.perf_counter() - began
    try:
        result = trainer.train(config, store, ranks, log=log, request=request)
    except InputError:  # on all ranks
        log.stop("aborted")
        raise
    if result.stopped:
        return REQUEUE
    result.phases["start"] = started
    rows = ranks.gather(rank_row(ranks, device, result))
    used = energy.total(ranks.gather(result.energy))
    times = with_ceiling(tf, ranks, config, times=result.efficiency)
    with together(ranks.gather):
        if ranks.rank == 0:
            save_samples(output / "samples.npz", config.samples, store, result=result)
            write_record(
                path=output / "result.json",
                config=config,
                start=start,
                store=store,
                ranks=ranks,
                rows=rows,
                result=result,
                cached=cached.value,
                tree=efficiency_tree(config, times, rows),
                used=used,
            )
            log.stop("success")


def check_ranks(tf, ranks, config: TrainConfig, store: Store) -> None:
    """Refuses, on all ranks, a run whose ranks do not belong together, or share a GPU.

    Raises:
        InputError: the same on every rank.
    """
    devices = len(tf.config.list_physical_devices("GPU"))
    agreement.check(
        ranks.size,
        ranks.gather,
        config,
        data_digest=store.digest,
        number_of_devices=devices,
    )
    own = nvml.uuid_of_rank(ranks.local_rank) if devices else None
    agreement.check_devices(ranks.gather, devices, own)


def use_device(tf, ranks, config: TrainConfig) -> str:
    """Gives this rank its GPU, or its CPU threads; returns the device's name."""
    from bigearth.learn import collective  # loads TensorFlow

    tf.config.experimental.enable_tensor_float_32_execution(config.precision == "tf32")
    if config.threads:
        tf.config.threading.set_intra_op_parallelism_threads(config.threads)
        # one computes while the other waits in a collective
        tf.config.threading.set_inter_op_parallelism_threads(2)
    own = collective.own_gpu(ranks.local_rank)
    if own is None:
        return "CPU"
    return tf.config.experimental.get_device_details(own).get("device_name", "GPU")


def with_ceiling(tf, ranks, config: TrainConfig, times):
    """The times of the experiment with the least seconds of a step: its operations at the speed of
    this device's matrix product, measured now on all devices at once."""
    if times is None:
        return None
    if len(times.steps) == 1 or config.eager:
        return times  # no experiment: the job was short
    side = GPU_MATRIX if tf.config.list_physical_devices("GPU") else CPU_MATRIX
    seconds = timings(ranks, matrix_product(tf, side, config.precision), MATRIX_REPEATS)
    speed = CHAINED * 2 * side**3 / float(np.median(ranks.gather(float(np.median(seconds)))))
    operations = step_flops(
        config.batch_size,
        network=config.network,
        channels=channels_of(config),
        size=config.window,
        classes=int(config.classes),
    )
    return times._replace(ceiling_seconds=operations / speed)


def channels_of(config: TrainConfig) -> int:
    """Bands that the network sees."""
    return len(bands.chosen(config.bands))


def efficiency_tree(config: TrainConfig, times, rows: list) -> Optional[dict]:
    """The efficiency tree of the record, or None if no step was trained."""
    if times is None:
        return None
    size = sum(gradient_bytes(config.network, channels_of(config)))
    return efficiency.tree(times, [row["hostname"] for row in rows], gradient_bytes=size)


def save_samples(path: Path, count: int, store: Store, result) -> None:
    """Keeps some test patches, evenly spread over the split, with their pictures in true colour."""
    chosen = np.unique(
        np.linspace(0, len(result.positions) - 1, min(count, len(result.positions)))
        .round()
        .astype(int)
    )
    positions = result.positions[chosen]
    pixels = store.array("data_super")[positions][..., list(bands.RGB)]
    arrays = {
        "rgb": np.clip(pixels * (255 / PICTURE_WHITE), 0, 255).astype(np.uint8),
        "truth": result.truth[chosen],
        "score": result.probability[chosen],
        "names": store.names[positions],
    }
    save_arrays(path, "write it", arrays, compress=True)


def own_step_times(result) -> np.ndarray:
    """(n,) seconds of this rank's steps in timed epochs; of all steps if there is no such epoch."""
    rows = [row for row in result.step_times if row["timed"]] or result.step_times
    return np.array([second for row in rows for second in row["seconds"]])


def rank_row(ranks, device: str, result) -> dict:
    """This rank's row of the record: who it is, and where its time went in this job."""
    times = own_step_times(result)
    quantiles = {}
    if times.size:
        quantiles = {f"p{q}": float(np.percentile(times, q)) for q in (10, 50, 90, 99)}
        quantiles.update(min=float(times.min()), max=float(times.max()), mean=float(times.mean()))
    return {
        "rank": ranks.rank,
        "local_rank": ranks.local_rank,
        "hostname": socket.gethostname(),
        "device": device,
        "cores": machine.ranges(os.sched_getaffinity(0)),
        "steps": len(times),
        "step_time": quantiles,
        "step_time_interval": intervals.median_interval(times),
        "first_step": None if math.isnan(result.first_step) else result.first_step,
        "phases": result.phases,
    }


def timing_metrics(result, rows: list) -> dict:
    """The metrics of speed: of a timing run (`--interval`) from its steps, else over the timed
    epochs, or over all epochs if there is no timed one.

    Args:
        result: of the training.
        rows: of every rank, from `rank_row`.
    """
    names = ("time_per_epoch", "throughput", "throughput_per_device")
    found = measured_speed(result) if result.measured else speed_of_epochs(result.tables)
    if found is None:
        metrics = {name: record.metric(name, None, NOT_TRAINED) for name in names}
    else:
        rate = found.samples / found.seconds
        low, high = found.spread or (1.0, 1.0)
        values = (found.seconds, rate, rate / len(rows))
        spreads = ((low, high), (1 / high, 1 / low), (1 / high, 1 / low))
        metrics = {
            name: record.metric(
                name,
                value,
                interval=found.spread and (value * spread[0], value * spread[1]),
                samples=found.count,
            )
            for name, value, spread in zip(names, values, spreads)
        }
    slowest = max(rows, key=lambda row: row["step_time"].get("p50", 0.0))
    metrics["step_time"] = record.metric(
        "step_time",
        slowest["step_time"].get("p50"),
        "this job trained fewer than two steps",
        interval=slowest["step_time_interval"],
        samples=slowest["steps"],
    )
    return metrics


class Speed(NamedTuple):
    """How long an epoch takes.

    Attributes:
        seconds, samples: of one epoch.
        spread: the 95 % interval of the seconds relative to them, or None if it is unknown.
        count: of the measurements that this rests on.
    """

    seconds: float
    samples: float
    spread: Optional[tuple]
    count: int


def measured_speed(result) -> Speed:
    """An epoch of a timing run: as many times the mean step as it has steps."""
    measured, steps = result.measured, result.steps_per_epoch
    mean, interval = measured["step_time"], measured["interval"]
    last = result.tables["metrics"][-1]
    return Speed(
        seconds=mean * steps,
        samples=last["samples"] / last["steps"] * steps,
        spread=interval and around_one(interval[0] / mean, interval[1] / mean),
        count=measured["steps"],
    )


def speed_of_epochs(tables: dict) -> Optional[Speed]:
    """The mean of the timed epochs; the interval comes from their steps, which are more."""
    epochs = [row for row in tables["metrics"] if row["timed"]] or tables["metrics"]
    if not epochs:
        return None
    numbers = {row["epoch"] for row in epochs}
    seconds = [s for row in tables["step_times"] if row["epoch"] in numbers for s in row["seconds"]]
    spread = relative_interval(np.array(seconds))
    return Speed(
        seconds=sum(row["time"] for row in epochs) / len(epochs),
        samples=sum(row["samples"] for row in epochs) / len(epochs),
        spread=spread,
        count=len(seconds) if spread else len(epochs),
    )


def energy_metrics(result, used: energy.Energy, global_batch: int) -> dict:
    """The energy metrics; null where no step was trained or no counter could be read."""
    epochs = len(result.step_times)
    steps = sum(len(row["seconds"]) for row in result.step_times) + 1
    joules = (used.joules or None) if epochs else None
    reason = (used.reason or "the counter did not move") if epochs else NOT_TRAINED
    per_epoch = joules / epochs if joules else None
    images = steps * global_batch / joules if joules else None
    return {
        "energy_per_epoch": record.metric("energy_per_epoch", per_epoch, reason),
        "images_per_joule": record.metric("images_per_joule", images, reason),
    }


def relative_interval(seconds: np.ndarray) -> Optional[tuple]:
    """The 95 % interval of the mean of some times, relative to it; None where they are too few.

    Args:
        seconds: (n,) of steps, in order of time.
    """
    # neighbours are taken together where there are more than a bootstrap needs
    parts = np.array_split(seconds, min(len(seconds), MOST_PARTS) or 1)
    found = intervals.ratio_interval([p.sum() for p in parts], [p.size for p in parts])
    if found is None or found[0] <= 0:
        return None
    return around_one(*(bound / seconds.mean() for bound in found))


def around_one(low: float, high: float) -> tuple:
    """A relative interval that holds the mean itself: a skewed bootstrap may leave it out."""
    return min(low, 1.0), max(high, 1.0)


def score_metrics(result) -> dict:
    """The metrics of the test split, with intervals where there are some."""
    from bigearth.learn.metrics import score_intervals

    spread = score_intervals(result.truth, result.probability >= result.thresholds)
    scores = {name: value for name, value in result.scores.items() if name in record.METRICS}
    scores["loss"] = result.test_loss
    return {
        name: record.metric(name, value, interval=spread.get(name), samples=len(result.positions))
        for name, value in scores.items()
    }


def score_tables(result) -> dict:
    """The tables of the test scores: each class, and each kind of average."""
    each = zip(result.scores["per_class"], result.thresholds)
    return {
        "per_class": [dict(row, threshold=float(threshold)) for row, threshold in each],
        "averages": [
            {"average": kind, **{name: result.scores[f"{name}_{kind}"] for name in SCORES}}
            for kind in AVERAGES
        ],
    }


def timed_part(result) -> str:
    """What the times of a record are of, in words."""
    if result.measured:
        return "steps of a timing run, times the steps of an epoch"
    timed = sum(row["timed"] for row in result.tables["metrics"])
    if not timed:
        return "the first epoch, tracing and warm-up included"
    return f"{timed} epochs after the first of each job"


def write_record(
    *,
    path: Path,
    config: TrainConfig,
    start: str,
    store: Store,
    ranks,
    rows: list,
    result,
    cached: Optional[float],
    tree: Optional[dict],
    used: energy.Energy,
) -> None:
    """Writes result.json; `cached` is the part of the data that was in the page cache before."""
    metrics = {**timing_metrics(result, rows), **score_metrics(result)}
    metrics.update(energy_metrics(result, used, config.batch_size * ranks.size))
    times = {"epochs": result.tables["metrics"], "step_times": result.tables["step_times"]}
    origin = provenance.gather(
        start,
        [row["hostname"] for row in rows],
        store.digest,
        data=config.data,
        data_cached=cached,
        timing=timed_part(result),
        measured=result.measured,
        collective=ranks.backend,
        energy={"source": used.source, "counter": used.counter},
        patches=result.patches,
        train_patches=result.patches["train"],
        test_patches_scored=len(result.positions),
    )
    record.write(
        path,
        record.Record(
            workload="train",
            config=dataclasses.asdict(config),
            metrics=metrics,
            ranks=rows,
            tables={**times, **score_tables(result)},
            files={"samples": "samples.npz"},
            provenance=origin,
            repeats=cli.repeats(type(config)),
            efficiency=tree,
        ),
    )
    if tree:
        print(tree["sentence"], file=sys.stderr)
    print(
        f"F1 micro {result.scores['f1_micro']:.4f}, macro {result.scores['f1_macro']:.4f} on "
        f"{len(result.positions)} test patches; record: {path}",
        file=sys.stderr,
    )


if __name__ == "__main__":
    cli.main(
        TrainConfig,
        run,
        cli.Program(
            module="benchmarks.train",
            description="Train and score ResNet-50 data-parallel on an HDF5 file of patches.",
            example="--data patches.h5 --config local --out results/train",
            recipes=Path(__file__).parent / "configs",
            exit_codes=f"{cli.EXIT_CODES}; {REQUEUE} a signal ended it early and a checkpoint was "
            "saved: the same command with --resume goes on",
        ),
    )
