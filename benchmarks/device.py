"""Workload `device`: what each device can do at all, on every node at the same time.

    mpirun -np 4 python -m benchmarks.device --out results/device

A large matrix product and the network's most expensive convolutions (output and both gradients) in
each precision, and a copy in the device's memory. All ranks measure at once, so that a slow
device, a node that throttles or memory that makes errors stands out: a number of the record is the
slowest device's, and every device has its row, with clocks, temperature, throttling and ECC errors
before and after where they can be read.
"""

import dataclasses
import socket
import sys
from pathlib import Path
from typing import Callable

import numpy as np

from benchmarks.train import use_device
from bigearth import cli, nvml, provenance, record
from bigearth.cli import option
from bigearth.errors import InputError, together
from bigearth.intervals import median_interval
from bigearth.learn import layers
from bigearth.learn.ceiling import CHAINED, compute_dtype, matrix_product, timings
from bigearth.learn.config import TrainConfig

PROGRAM = cli.Program(
    module="benchmarks.device",
    description="Matrix products, convolutions and memory copies of every device.",
    example="--matrix 2048 --copy-mb 256 --batch-size 8 --precisions float32",
)
PRECISIONS = ("float32", "tf32", "bfloat16", "float16")
CONVOLUTIONS = 4  # shapes of the network, those with most operations


@dataclasses.dataclass(frozen=True)
class Config:
    out: str = option("results/device", "folder for result.json", repeats=True)
    precisions: str = option(",".join(PRECISIONS), "precisions to measure, joined by commas")
    matrix: int = option(8192, "side of the matrices", least=16, most=65_536)
    copy_mb: int = option(1024, "MiB that are copied", least=1, most=65_536)
    batch_size: int = option(64, "samples that are convolved", least=1, most=65_536)
    repeats: int = option(10, "timings of each quantity", least=6, most=10_000)


def run(config: Config) -> None:
    start = provenance.now()
    precisions = [word for word in config.precisions.split(",") if word]
    if not precisions or not set(precisions) <= set(PRECISIONS):
        raise InputError(
            f"command line: --precisions is {config.precisions!r}; expected some of "
            f"{', '.join(PRECISIONS)}; correct it"
        )
    import tensorflow as tf

    from bigearth.learn import collective

    ranks = collective.connect()
    device = use_device(tf, ranks, TrainConfig())
    state = Health(ranks.local_rank, device)
    before = state.now()
    times = {"copy": timings(ranks, copy(tf, config.copy_mb), config.repeats)}
    reasons = {}
    for precision in PRECISIONS:
        reasons[precision] = why_not(tf, precision, precisions)
        if reasons[precision] is None:
            works = {f"matrix {precision}": matrix_product(tf, config.matrix, precision)}
            for row in layers.most_expensive(CONVOLUTIONS):
                name = f"{row['layer'].name} {precision}"
                works[name] = convolution(tf, row["layer"], config.batch_size, precision=precision)
            times.update({name: timings(ranks, w, config.repeats) for name, w in works.items()})
    row = {
        "rank": ranks.rank,
        "local_rank": ranks.local_rank,
        "hostname": socket.gethostname(),
        "device": device,
        "before": before,
        "after": state.now(),
        "health_reason": state.reason,
    }
    rows = ranks.gather((row, times))
    with together(ranks.gather):
        if ranks.rank == 0:
            write(config, start=start, driver=state.driver, rows=rows, reasons=reasons)


class Health:
    """The state of this rank's GPU, where NVML knows it; `reason` where it cannot."""

    def __init__(self, local_rank: int, device: str):
        self._library, self.reason = None, "no GPU"
        self.driver = None
        if device != "CPU":
            self._library, self.reason = nvml.load()
        if self._library:
            try:
                self._handle = nvml.device(self._library, local_rank)
                self.driver = self._library.nvmlSystemGetDriverVersion()
            except (IndexError, self._library.NVMLError) as error:
                self._library, self.reason = None, f"NVML: {error}"

    def now(self):
        """What `nvml.health` says at this moment, or None."""
        return nvml.health(self._library, self._handle) if self._library else None


def why_not(tf, precision: str, wanted: list):
    """Why a precision is not measured; None if it is."""
    if precision not in wanted:
        return "not asked for (--precisions)"
    if precision == "tf32":
        gpus = tf.config.list_physical_devices("GPU")
        details = tf.config.experimental.get_device_details(gpus[0]) if gpus else {}
        if details.get("compute_capability", (0, 0)) < (8, 0):
            return "this device does not compute tf32 (NVIDIA GPUs from A100 on do)"
    return None


def convolution(tf, layer: layers.Convolution, batch_size: int, precision: str) -> Callable:
    """The output of a layer and the gradients of its input and its kernel."""
    dtype = compute_dtype(tf, precision)
    side = layer.side * layer.stride
    x = tf.cast(tf.random.stateless_normal((batch_size, side, side, layer.inputs), (0, 2)), dtype)
    shape = (layer.kernel, layer.kernel, layer.inputs, layer.outputs)
    kernel = tf.cast(tf.random.stateless_normal(shape, (0, 3)) / layer.inputs, dtype)

    @tf.function
    def convolve():
        with tf.GradientTape() as tape:
            tape.watch([x, kernel])
            y = tf.nn.conv2d(x, kernel, layer.stride, "SAME")
        gradients = tape.gradient(y, [x, kernel])
        # one number of each: all of them are computed, little is brought to the host
        return tf.add_n([tf.cast(tf.reshape(z, [-1])[0], tf.float32) for z in (y, *gradients)])

    def work():
        tf.config.experimental.enable_tensor_float_32_execution(precision == "tf32")
        convolve().numpy()

    return work


def copy(tf, size_mb: int) -> Callable:
    """`CHAINED` times one added to a large array: all of it read and written."""
    x = tf.Variable(tf.zeros([size_mb * 2**18]))

    @tf.function
    def add():
        for _ in range(CHAINED):
            x.assign(x + 1.0)
        return x[0]

    return lambda: add().numpy()


def operations(config: Config) -> dict:
    """Name of each quantity -> operations (copy: bytes) of one call, in units of 10^12 (10^9)."""
    expensive = layers.most_expensive(CONVOLUTIONS)
    found = {"copy": CHAINED * 2 * config.copy_mb * 2**20 / 1e9}
    for precision in PRECISIONS:
        found[f"matrix {precision}"] = CHAINED * 2 * config.matrix**3 / 1e12
        for row in expensive:
            name = f"{row['layer'].name} {precision}"
            found[name] = 3 * config.batch_size * row["layer"].flops / 1e12
    return found


def speeds(config: Config, rows: list) -> list:
    """A row per quantity: the slowest device's median speed with its interval, and how far the
    devices are apart.

    Args:
        rows: (row of the rank, {quantity: seconds of its calls}) of every rank.
    """
    work = operations(config)
    table = []
    for name in rows[0][1]:
        middles = [float(np.median(times[name])) for _, times in rows]
        slowest = int(np.argmax(middles))
        interval = median_interval(rows[slowest][1][name])
        table.append(
            {
                "quantity": name,
                "unit": "GB/s" if name == "copy" else "TFLOP/s",
                "speed": work[name] / middles[slowest],
                "interval": interval and [work[name] / interval[1], work[name] / interval[0]],
                "slowest_rank": slowest,
                "spread": (max(middles) - min(middles)) / float(np.median(middles)),
            }
        )
    return table


def metrics_of(table: list, reasons: dict, repeats: int, ranks: int) -> dict:
    """The record's metrics from the table of `speeds`."""
    found = {row["quantity"]: row for row in table}
    metrics = {}
    names = {f"matrix_{precision}": f"matrix {precision}" for precision in PRECISIONS}
    for name, quantity in {"memory_bandwidth": "copy", **names}.items():
        row = found.get(quantity)
        if row:
            metrics[name] = record.metric(
                name, row["speed"], interval=row["interval"], samples=repeats
            )
        else:
            metrics[name] = record.metric(name, None, reasons[quantity.split()[1]])
    products = [row for row in table if row["quantity"].startswith("matrix ")]
    metrics["device_spread"] = record.metric(
        "device_spread",
        max((row["spread"] for row in products), default=0.0) if ranks > 1 else None,
        "one device: nothing to compare it with",
    )
    return metrics


def write(config: Config, *, start: str, driver, rows: list, reasons: dict) -> None:
    """Prints the table and writes the record."""
    table = speeds(config, rows)
    for line in table:
        print(
            f"{line['quantity']:28} {line['speed']:10.3f} {line['unit']:8} "
            f"slowest rank {line['slowest_rank']}, spread {line['spread']:.1%}",
            file=sys.stderr,
        )
    ranks = [row for row, _ in rows]
    work = operations(config)
    devices = [
        {"rank": row["rank"], "quantity": name, "speed": work[name] / float(np.median(seconds))}
        for row, times in rows
        for name, seconds in times.items()
    ]
    more = {"driver": driver} if driver else {}
    record.write(
        Path(config.out) / "result.json",
        record.Record(
            workload="device",
            config=dataclasses.asdict(config),
            metrics=metrics_of(table, reasons, repeats=config.repeats, ranks=len(rows)),
            ranks=ranks,
            tables={"speeds": table, "devices": devices},
            files={},
            provenance=provenance.gather(start, [row["hostname"] for row in ranks], None, **more),
            repeats=cli.repeats(Config),
        ),
    )


if __name__ == "__main__":
    cli.main(Config, run, PROGRAM)
