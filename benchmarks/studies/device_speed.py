"""Workload `device_speed`: img/s of the training step in each precision, against what the device
can do at all.

    python -m benchmarks.studies.device_speed --data FILE --out DIR

The device's ceilings are measured here, not taken from a data sheet: a large matrix product in each
precision (FLOP/s) and a copy in its memory (bytes/s). The step's floating-point operations are
counted by `bigearth.learn.layers`; the
smallest time of a step is that count over the matrix ceiling of the same precision.
"""

import dataclasses
import socket
import sys
import time
from pathlib import Path
from typing import Callable

import numpy as np

from benchmarks.studies.step_speed import build_step
from benchmarks.train import use_device
from bigearth import cli, provenance, record
from bigearth.cli import REQUIRED, option
from bigearth.errors import InputError
from bigearth.learn.config import TrainConfig
from bigearth.learn.layers import step_flops
from bigearth.store import Store

DESCRIPTION = (
    "Training step in float32, tf32, bfloat16 and float16 against the device's measured ceilings."
)
PRECISIONS = ("float32", "tf32", "bfloat16", "float16")


@dataclasses.dataclass(frozen=True)
class Config:
    data: str = option(REQUIRED, "HDF5 file of patches", repeats=True)
    out: str = option(REQUIRED, "folder for result.json", repeats=True)
    batch_size: int = option(64, "samples per step", least=1)
    precisions: str = option(",".join(PRECISIONS), "precisions to measure, joined by commas")
    matrix: int = option(8192, "side of the matrices", least=1)
    copy_mb: int = option(1024, "MB that are copied", least=1)
    steps: int = option(20, "steps or products in a turn", least=1)
    repeats: int = option(3, "turns that are measured; one more goes before", least=1)


def run(config: Config) -> None:
    start = provenance.now()
    precisions = [p for p in config.precisions.split(",") if p]
    if not set(precisions) <= set(PRECISIONS) or not precisions:
        raise InputError(
            f"command line: --precisions is {config.precisions!r}; expected some of "
            f"{', '.join(PRECISIONS)}; correct it"
        )
    import tensorflow as tf

    from bigearth.learn import collective

    store = Store(config.data)
    flops = step_flops(config.batch_size)
    rows = []
    device = "CPU"
    bandwidth = None
    for precision in precisions:
        options = TrainConfig(data=config.data, batch_size=config.batch_size, precision=precision)
        if not rows:
            device = use_device(tf, collective.Single(), options)
        tf.config.experimental.enable_tensor_float_32_execution(precision == "tf32")
        bandwidth = bandwidth or copy_bandwidth(tf, config)
        ceiling = matrix_speed(tf, config, precision)
        step, batch, _ = build_step(options, store, collective.Single())
        seconds = median_time(lambda step=step, batch=batch: step(batch), config)
        rows.append(
            {
                "precision": precision,
                "throughput": config.batch_size / seconds,
                "step_time": seconds,
                "flops": flops / seconds,
                "matrix_ceiling": ceiling,
                "share_of_ceiling": flops / seconds / ceiling,
            }
        )
        print(
            f"{precision:9} {rows[-1]['throughput']:9.1f} img/s, {flops / seconds / 1e12:7.2f} of "
            f"{ceiling / 1e12:7.2f} TFLOP/s "
            f"({rows[-1]['share_of_ceiling']:.0%})",
            file=sys.stderr,
        )
    print(f"copy {bandwidth / 1e9:.1f} GB/s on {device}", file=sys.stderr)
    best = max(rows, key=lambda row: row["throughput"])
    host = socket.gethostname()
    record.write(
        Path(config.out) / "result.json",
        record.Record(
            workload="device_speed",
            config=dataclasses.asdict(config),
            metrics={
                "throughput": record.metric("throughput", best["throughput"]),
                "step_time": record.metric("step_time", best["step_time"]),
            },
            ranks=[{"rank": 0, "hostname": host, "device": device}],
            tables={
                "precisions": rows,
                "ceilings": [{"name": "copy", "bytes_per_second": bandwidth}],
            },
            files={},
            provenance=provenance.gather(start, [host], store.digest),
            repeats=cli.repeats(type(config)),
        ),
    )


def median_time(work: Callable, config: Config) -> float:
    """Median seconds of one call, over turns; `work` must wait for its result."""
    times = []
    for turn in range(config.repeats + 1):
        begun = time.perf_counter()
        for _ in range(config.steps):
            work()
        if turn:
            times.append((time.perf_counter() - begun) / config.steps)
    return float(np.median(times))


def matrix_speed(tf, config: Config, precision: str) -> float:
    """FLOP/s of a product of two square matrices; the calls are chained on the device, so that it
    never waits for Python."""
    dtype = tf.float32 if precision == "tf32" else tf.dtypes.as_dtype(precision)
    a = tf.cast(
        tf.random.stateless_normal((config.matrix, config.matrix), (0, 1)) / config.matrix**0.5,
        dtype,
    )

    @tf.function
    def product():
        x = a
        for _ in range(4):
            x = tf.matmul(x, a)
        return tf.reduce_sum(tf.cast(x[0], tf.float32))

    return 4 * 2.0 * config.matrix**3 / median_time(lambda: product().numpy(), config)


def copy_bandwidth(tf, config: Config) -> float:
    """Bytes/s, read plus written, of adding one to a large array."""
    x = tf.Variable(tf.zeros([config.copy_mb * 2**18]))

    @tf.function
    def add():
        for _ in range(4):
            x.assign(x + 1.0)
        return x[0]

    return 4 * 2.0 * config.copy_mb * 2**20 / median_time(lambda: add().numpy(), config)


if __name__ == "__main__":
    cli.main(
        Config,
        run,
        cli.Program(
            module="benchmarks.studies.device_speed",
            description=DESCRIPTION,
            example="--data patches.h5 --out results/device",
        ),
    )
