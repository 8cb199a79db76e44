"""Trains and scores ResNet-50 data-parallel on an HDF5 file of patches, and writes the result
record.

    mpirun -np 2 python -m benchmarks.train --data FILE --config local --out DIR

DIR then holds result.json (the record), metrics.csv (a row per epoch), steps.csv (a row per step),
samples.npz (pictures, labels and scores of some test patches) and tensorboard/. Every rank runs
this program; rank 0 alone writes and talks. Exit code 75: a signal (SIGTERM, SIGUSR1) ended the job
early and a checkpoint was saved; the same command with --resume goes on.
"""

import dataclasses
import math
import socket
import sys
import time
from pathlib import Path
from typing import Optional

import numpy as np

from bigearth import bands, cli, provenance, record
from bigearth.errors import InputError, disk_error, together
from bigearth.files import save_arrays
from bigearth.learn.config import TrainConfig
from bigearth.learn.signals import REQUEUE, StopRequest
from bigearth.store import Store

PICTURE_WHITE = 2500  # digital number shown as full brightness: reflectance 0.25


def run(config: TrainConfig) -> Optional[int]:
    """Trains, scores and writes everything under `config.out`; returns the exit code."""
    start, began = provenance.now(), time.perf_counter()
    config.check()
    with StopRequest().listening() as request:
        return _run(config, start, began, request)


def _run(config: TrainConfig, start: str, began: float, request: StopRequest) -> Optional[int]:
    import tensorflow as tf  # slow to load: not before the command line is known to be right

    from bigearth.learn import collective, trainer
    from bigearth.learn.log import Log

    ranks = collective.connect(config.groups, config.compression)
    device = use_device(tf, ranks, config)
    output = Path(config.out)
    with together(ranks.gather):
        store = Store(config.data)
        if ranks.rank == 0:
            make_folder(output)
    with together(ranks.gather):
        log = Log(output, config.epochs, config.mlperf) if ranks.rank == 0 else Log()
    started = time.perf_counter() - began
    try:
        result = trainer.train(config, store, ranks, log, request)
    except InputError:  # on all ranks
        log.stop("aborted")
        raise
    if result.stopped:
        return REQUEUE
    result.phases["start"] = started
    rows = ranks.gather(rank_row(ranks, device, result))
    with together(ranks.gather):
        if ranks.rank == 0:
            save_samples(output / "samples.npz", config.samples, store, result)
            write_record(output / "result.json", config, start, store, ranks, rows, result)
            log.stop("success")


def use_device(tf, ranks, config: TrainConfig) -> str:
    """Gives this rank its GPU, or its CPU threads; returns the device's name."""
    tf.config.experimental.enable_tensor_float_32_execution(config.precision == "tf32")
    if config.threads:
        tf.config.threading.set_intra_op_parallelism_threads(config.threads)
        # one computes while the other waits in a collective
        tf.config.threading.set_inter_op_parallelism_threads(2)
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return "CPU"
    own = gpus[ranks.local_rank % len(gpus)]
    tf.config.set_visible_devices(own, "GPU")
    tf.config.experimental.set_memory_growth(own, True)
    return tf.config.experimental.get_device_details(own).get("device_name", "GPU")


def make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(path, "make the output folder", error) from error


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


def rank_row(ranks, device: str, result) -> dict:
    """This rank's row of the record: who it is, and where its time went."""
    times = np.array(result.step_times)
    quantiles = {}
    if times.size:
        quantiles = {f"p{q}": float(np.percentile(times, q)) for q in (10, 50, 90, 99)}
        quantiles.update(min=float(times.min()), max=float(times.max()), mean=float(times.mean()))
    return {
        "rank": ranks.rank,
        "local_rank": ranks.local_rank,
        "hostname": socket.gethostname(),
        "device": device,
        "step_time": quantiles,
        "first_step": None if math.isnan(result.first_step) else result.first_step,
        "phases": result.phases,
    }


def write_record(
    path: Path, config: TrainConfig, start: str, store: Store, ranks, rows: list, result
) -> None:
    """Writes result.json: metrics, tables and provenance of the whole run."""
    epochs = result.tables["metrics"]
    timed = epochs[1:] or epochs
    seconds = float(np.mean([row["time"] for row in timed])) if timed else None
    throughput = float(np.mean([row["throughput"] for row in timed])) if timed else None
    none = "no epoch was trained (--epochs 0)"
    metrics = {
        "time_per_epoch": record.metric("time_per_epoch", seconds, none),
        "throughput": record.metric("throughput", throughput, none),
        "throughput_per_device": record.metric(
            "throughput_per_device", throughput and throughput / ranks.size, none
        ),
        "step_time": record.metric(
            "step_time",
            float(np.median(result.step_times)) if result.step_times else None,
            "fewer than two steps",
        ),
        "loss": record.metric("loss", result.test_loss),
    }
    metrics.update(
        {
            name: record.metric(name, value)
            for name, value in result.scores.items()
            if name in record.METRICS
        }
    )
    timing = (
        "mean over epochs after the first"
        if len(epochs) > 1
        else ("the first epoch, tracing and warm-up included")
    )
    record.write(
        path,
        record.Record(
            workload="train",
            config=dataclasses.asdict(config),
            metrics=metrics,
            ranks=rows,
            tables={
                "epochs": epochs,
                "per_class": [
                    dict(row, threshold=float(t))
                    for row, t in zip(result.scores["per_class"], result.thresholds)
                ],
                "averages": [
                    {
                        "average": kind,
                        **{
                            score: result.scores[f"{score}_{kind}"]
                            for score in ("precision", "recall", "f1")
                        },
                    }
                    for kind in ("micro", "macro", "weighted", "samples")
                ],
            },
            files={"samples": "samples.npz"},
            provenance=provenance.gather(
                start,
                [row["hostname"] for row in rows],
                store.digest,
                timing=timing,
                collective=ranks.backend,
                patches=result.patches,
                test_patches_scored=len(result.positions),
            ),
            repeats=cli.repeats(type(config)),
        ),
    )
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
