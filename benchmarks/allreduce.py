"""Workload `allreduce`: the network as training meets it.

    mpirun -np 4 python -m benchmarks.allreduce --out results/allreduce

Sums float32 arrays of 1 kB to 256 MB over all ranks, and then the network's own gradients in the
groups in which a training step reduces them. Bus bandwidth is 2 (n - 1) / n times the bytes over
the time of the slowest rank: it does not depend on the number of ranks n, and is what a ring
takes from every link. Each sum is compared with the exact one. `--library horovod` measures what
training uses: NCCL where Horovod was built with it and ranks have GPUs.
"""

import dataclasses
import socket
import sys
import time
from pathlib import Path
from typing import Callable, Literal

import numpy as np

from bigearth import cli, provenance, record
from bigearth.cli import option
from bigearth.errors import together
from bigearth.intervals import median_interval
from bigearth.learn import layers
from bigearth.learn.config import TrainConfig
from bigearth.prediction import fit_link

PROGRAM = cli.Program(
    module="benchmarks.allreduce",
    description="Bandwidth and latency of the all-reduce, and the time for the gradients.",
    example="--out results/allreduce --largest-mb 64",
)
SMALLEST = 1 << 10  # bytes
GROWTH = 4  # from one size to the next
TURN_SECONDS = 0.02  # small arrays are summed so often that the clock does not matter
MOST_CALLS = 200
PERIOD = 251  # of the pattern that is summed: every sum is a whole number that float32 holds


@dataclasses.dataclass(frozen=True)
class Config:
    out: str = option("results/allreduce", "folder for result.json", repeats=True)
    library: Literal["mpi", "horovod"] = option(
        "mpi", "who sums: MPI in the host's memory, or Horovod as in training (on GPUs: NCCL)"
    )
    largest_mb: int = option(256, "largest array in MiB", least=1, most=4096)
    repeats: int = option(20, "timings of each size", least=6, most=10_000)


class Mpi:
    """Ranks that sum arrays in host memory with MPI."""

    def __init__(self):
        from mpi4py import MPI

        self._comm = MPI.COMM_WORLD
        self.rank, self.size = self._comm.rank, self._comm.size
        self.gather, self.barrier = self._comm.allgather, self._comm.Barrier
        self.backend, self.device = "mpi", "CPU"

    def summing(self, sizes: list) -> tuple:
        """(a function that sums arrays of these bytes one after the other, one that returns the
        sums)."""
        sources = [pattern(size, self.rank) for size in sizes]
        targets = [np.empty_like(source) for source in sources]

        def work():
            for source, target in zip(sources, targets):
                self._comm.Allreduce(source, target)

        return work, lambda: targets


class Horovod:
    """Ranks that sum tensors on their devices, as training does."""

    def __init__(self):
        import tensorflow as tf

        from benchmarks.train import use_device
        from bigearth.learn import collective

        self._tf = tf
        self._ranks = collective.connect()
        self.rank, self.size = self._ranks.rank, self._ranks.size
        self.gather, self.barrier = self._ranks.gather, self._ranks.barrier
        self.backend = self._ranks.backend
        self.device = use_device(tf, self._ranks, TrainConfig())

    def summing(self, sizes: list) -> tuple:
        """As `Mpi.summing`; `average` of the training step times the number of ranks."""
        tensors = [self._tf.constant(pattern(size, self.rank)) for size in sizes]
        average = self._tf.function(lambda: self._ranks.average(tensors), autograph=False)
        results = []

        def work():
            results[:] = average()
            results[-1][:1].numpy()  # waits for the device

        return work, lambda: [np.round(result.numpy() * self.size) for result in results]


def pattern(size: int, rank: int) -> np.ndarray:
    """The array that a rank contributes: (size / 4,) float32."""
    return (np.arange(size // 4) % PERIOD + rank).astype(np.float32)


def exact(size: int, world_size: int) -> np.ndarray:
    """The sum of `pattern` over all ranks, in whole numbers."""
    whole = np.arange(size // 4, dtype=np.int64) % PERIOD
    return whole * world_size + world_size * (world_size - 1) // 2


def run(config: Config) -> None:
    start = provenance.now()
    ranks = Horovod() if config.library == "horovod" else Mpi()
    rows, gradients = [], []
    if ranks.size > 1:
        for size in sizes_to(config.largest_mb << 20):
            rows.append(measure(ranks, [size], config.repeats))
        groups = layers.gradient_groups(TrainConfig.groups)
        gradients.append(measure(ranks, groups, config.repeats))
    hosts = ranks.gather({"rank": ranks.rank, "hostname": socket.gethostname()})
    hosts = [{**row, "device": ranks.device} for row in hosts]
    with together(ranks.gather):
        if ranks.rank == 0:
            write(
                config,
                start=start,
                backend=ranks.backend,
                hosts=hosts,
                rows=rows,
                gradients=gradients,
            )


def sizes_to(largest: int) -> list:
    """Bytes from 1 kB in steps of four to the largest."""
    sizes = [SMALLEST]
    while sizes[-1] < largest:
        sizes.append(min(sizes[-1] * GROWTH, largest))
    return sizes


def measure(ranks, sizes: list, repeats: int) -> dict:
    """Times the sum of some arrays, one after the other; the same on every rank.

    Returns:
        a row of the record's tables, see `row`.

    Raises:
        RuntimeError: a sum is wrong.
    """
    work, results = ranks.summing(sizes)
    once = timed(ranks, work, 1)  # first contact between ranks, tracing
    once = timed(ranks, work, 1)
    calls = int(min(max(TURN_SECONDS / once, 1), MOST_CALLS))
    seconds = [timed(ranks, work, calls) for _ in range(repeats)]
    for size, result in zip(sizes, results()):
        wrong = int((np.asarray(result) != exact(size, ranks.size)).sum())
        if wrong:
            raise RuntimeError(
                f"rank {ranks.rank} on {socket.gethostname()}: {wrong} of {size // 4} sums over "
                f"{ranks.size} ranks are wrong"
            )
    return row(sum(sizes), seconds, ranks.size)


def timed(ranks, work: Callable, calls: int) -> float:
    """Seconds of one call on the slowest rank."""
    ranks.barrier()
    begun = time.perf_counter()
    for _ in range(calls):
        work()
    return max(ranks.gather((time.perf_counter() - begun) / calls))


def row(size: int, seconds: list, world_size: int) -> dict:
    """What repeated timings say: medians with their intervals, and the bus bandwidth in GB/s."""
    middle, interval = float(np.median(seconds)), median_interval(seconds)
    travelled = 2 * (world_size - 1) / world_size * size / 1e9
    return {
        "bytes": size,
        "seconds": middle,
        "interval": interval,
        "bandwidth": travelled / middle,
        "bandwidth_interval": interval and (travelled / interval[1], travelled / interval[0]),
        "samples": len(seconds),
    }


def metrics_of(rows: list, gradients: list) -> dict:
    """The record's metrics; null on one rank, where nothing travels."""
    sources = {
        "allreduce_bandwidth": (rows[-1:], "bandwidth", "bandwidth_interval"),
        "allreduce_latency": (rows[:1], "seconds", "interval"),
        "gradient_allreduce_time": (gradients, "seconds", "interval"),
    }
    metrics = {}
    for name, (found, value, interval) in sources.items():
        if found:
            metrics[name] = record.metric(
                name,
                found[0][value],
                interval=found[0][interval],
                samples=found[0]["samples"],
            )
        else:
            metrics[name] = record.metric(name, None, "one rank: nothing to reduce")
    return metrics


def write(
    config: Config, *, start: str, backend: str, hosts: list, rows: list, gradients: list
) -> None:
    """Prints the table and writes the record."""
    print(f"{'bytes':>12} {'seconds':>12} {'GB/s':>9}", file=sys.stderr)  # gradients last
    for found in [*rows, *gradients]:
        print(
            f"{found['bytes']:12,} {found['seconds']:12.6f} {found['bandwidth']:9.3f}",
            file=sys.stderr,
        )
    link = fit_link([r["bytes"] for r in rows], [r["seconds"] for r in rows], len(hosts))
    fitted = [] if link is None else [{"latency": link.latency, "bandwidth": link.bandwidth}]
    names = [row["hostname"] for row in hosts]
    record.write(
        Path(config.out) / "result.json",
        record.Record(
            workload="allreduce",
            config=dataclasses.asdict(config),
            metrics=metrics_of(rows, gradients),
            ranks=hosts,
            tables={"sizes": rows, "gradients": gradients, "fit": fitted},
            files={},
            provenance=provenance.gather(start, names, None, collective=backend),
            repeats=cli.repeats(Config),
        ),
    )


if __name__ == "__main__":
    cli.main(Config, run, PROGRAM)
