"""Workload `storage`: what the file system under the HDF5 file gives.

    mpirun -np 4 python -m benchmarks.storage --data FILE --out results/storage

Every rank reads its own part of the samples of `data_super`: in the file's order with large
requests, and in random order with one request per sample on as many threads as the reader has; each
with an empty page cache (cold) and a full one (warm). Then it opens the file again and again, and
writes a file of its own to the same folder, removed at once. A bandwidth is the bytes of all ranks
over the time of the slowest. What stays in the page cache although it was dropped is no cold read:
such a number is null.
"""

import contextlib
import ctypes
import dataclasses
import math
import mmap
import os
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Callable

import numpy as np

from bigearth import cli, provenance, record, store
from bigearth.cli import REQUIRED, option
from bigearth.errors import InputError, together
from bigearth.intervals import median_interval
from bigearth.learn.input.pagecache import Samples

PROGRAM = cli.Program(
    module="benchmarks.storage",
    description="Reading samples in and out of order, cold and warm; opening, writing, fsync.",
    example="--data patches.h5 --out results/storage",
)
KEY = "data_super"
SAMPLE_BYTES = math.prod(store.ARRAYS[KEY].shape) * store.ARRAYS[KEY].dtype.itemsize
READ_BYTES = 8 << 20  # of one request in the file's order
BLOCK_BYTES = 4096  # that are written before each fsync
THREADS = 4  # of random reads: as many as the reader has
OPENS = 200  # of one timing
STILL_CACHED = 0.05  # part of the samples that may be left in the page cache of a cold read
READS = (
    "storage_sequential_cold",
    "storage_random_cold",
    "storage_sequential_warm",
    "storage_random_warm",
)


@dataclasses.dataclass(frozen=True)
class Config:
    data: str = option(REQUIRED, "HDF5 file of patches")
    out: str = option("results/storage", "folder for result.json", repeats=True)
    samples: int = option(2000, "samples that each rank reads in one timing", least=1)
    write_mb: int = option(256, "MiB that each rank writes in one timing", least=1)
    repeats: int = option(6, "timings of each quantity", least=6, most=10_000)


def run(config: Config) -> None:
    start = provenance.now()
    from mpi4py import MPI

    comm = MPI.COMM_WORLD
    with together(comm.allgather):
        file = store.Store(config.data)
        if len(file) < comm.size:
            raise InputError(
                f"{config.data}: has {len(file)} patches, expected at least one for each of "
                f"{comm.size} ranks; start fewer ranks"
            )
    mine = np.array_split(np.arange(len(file)), comm.size)[comm.rank][: config.samples]
    seconds, cached = reads(comm, file, mine, repeats=config.repeats)
    seconds["storage_opens"] = [
        slowest(comm, lambda: open_often(file.path)) for _ in range(config.repeats)
    ]
    written, reason = writes(comm, config)
    seconds.update(written)
    amounts = {
        **dict.fromkeys(READS, sum(comm.allgather(len(mine))) * SAMPLE_BYTES / 1e9),
        "storage_opens": OPENS * comm.size,
        "storage_write": comm.size * config.write_mb * 2**20 / 1e9,
    }
    hosts = comm.allgather({"rank": comm.rank, "hostname": socket.gethostname(), "device": "CPU"})
    with together(comm.allgather):
        if comm.rank == 0:
            metrics = metrics_of(seconds, amounts, cached=cached, reason=reason)
            write(config, start=start, file=file, hosts=hosts, metrics=metrics, seconds=seconds)


def slowest(comm, work: Callable) -> float:
    """Seconds of the slowest rank; all begin together."""
    comm.Barrier()
    begun = time.perf_counter()
    work()
    return max(comm.allgather(time.perf_counter() - begun))


def reads(comm, file: store.Store, mine: np.ndarray, repeats: int) -> tuple:
    """Times the reads in turns.

    Returns:
        name -> seconds of every turn; the largest part of any rank's samples that was in the page
        cache before a cold read.
    """
    shuffled = np.random.default_rng(comm.rank).permutation(mine)
    orders = {
        "sequential": lambda: read_sequentially(file, mine),
        "random": lambda: read_randomly(file, shuffled),
    }
    seconds, cached = {name: [] for name in READS}, 0.0
    for turn in range(repeats):
        # what one way leaves behind in memory and on the disk must not favour the other
        for order in sorted(orders, reverse=turn % 2):
            comm.Barrier()
            left = drop_page_cache(file, mine)
            cached = max([cached, *comm.allgather(left)])
            seconds[f"storage_{order}_cold"].append(slowest(comm, orders[order]))
            seconds[f"storage_{order}_warm"].append(slowest(comm, orders[order]))
    return seconds, cached


def read_sequentially(file: store.Store, positions: np.ndarray) -> None:
    """A plain read of neighbouring samples, from the first byte to the last."""
    buffer = memoryview(bytearray(READ_BYTES))
    left = len(positions) * SAMPLE_BYTES
    with open(file.path, "rb", buffering=0) as opened:
        opened.seek(file.offsets[KEY] + int(positions[0]) * SAMPLE_BYTES)
        while left > 0:
            count = opened.readinto(buffer[:left])
            if count == 0:
                raise InputError(f"{file.path}: ended while it was read; make it again")
            left -= count


def read_randomly(file: store.Store, positions: np.ndarray) -> None:
    """One request per sample, in the given order, on `THREADS` threads."""
    descriptor = os.open(file.path, os.O_RDONLY)

    def read(part):
        buffer = bytearray(SAMPLE_BYTES)
        for position in part.tolist():
            os.preadv(descriptor, [buffer], file.offsets[KEY] + position * SAMPLE_BYTES)

    try:
        with ThreadPoolExecutor(THREADS) as executor:
            list(executor.map(read, np.array_split(positions, THREADS)))
    finally:
        os.close(descriptor)


def open_often(path: str) -> None:
    """Opens and closes the file."""
    for _ in range(OPENS):
        os.close(os.open(path, os.O_RDONLY))


def writes(comm, config: Config) -> tuple:
    """Times writing to the folder that the data lie in.

    Returns:
        name -> seconds of every turn; why there are none, or None.
    """
    path = Path(config.data).with_name(f".storage-{os.getpid()}-{comm.rank}")
    block = os.urandom(READ_BYTES)
    seconds = {"storage_write": [], "storage_fsync": []}
    try:
        with together(comm.allgather):
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            except OSError as error:
                raise InputError(f"the folder of the data: {error.strerror}") from error
    except InputError as error:
        with contextlib.suppress(OSError):
            path.unlink()
        return {}, str(error)
    failure = None
    try:
        for _ in range(config.repeats):
            with together(comm.allgather):
                try:
                    os.posix_fallocate(descriptor, 0, config.write_mb << 20)
                except OSError as error:
                    raise InputError(f"the folder of the data: {error.strerror}") from error
            work = partial(write_file, descriptor, block, config.write_mb << 20)
            seconds["storage_write"].append(slowest(comm, work))
            seconds["storage_fsync"].append(slowest(comm, partial(sync_block, descriptor, block)))
    except InputError as error:
        failure = str(error)
    finally:
        os.close(descriptor)
        path.unlink()
    return ({}, failure) if failure else (seconds, None)


def write_file(descriptor: int, block: bytes, size: int) -> None:
    """Writes so many bytes from the file's beginning and waits until the disk has them."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    left = size
    while left > 0:
        left -= os.write(descriptor, block[:left])
    os.fsync(descriptor)


def sync_block(descriptor: int, block: bytes) -> None:
    """One small write and its fsync."""
    os.pwrite(descriptor, block[:BLOCK_BYTES], 0)
    os.fsync(descriptor)


def drop_page_cache(file: store.Store, positions: np.ndarray) -> float:
    """Drops the file from the page cache, as root all files; returns the part of the samples that
    is still there."""
    os.sync()
    forget_mapped(file.path)
    with contextlib.suppress(OSError), open("/proc/sys/vm/drop_caches", "w") as switch:
        switch.write("1")
    with open(file.path, "rb") as opened:
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    samples = Samples(file, KEY)
    return float(np.mean([samples.cached(positions[i : i + 1]) for i in range(len(positions))]))


def forget_mapped(path: str) -> None:
    """Takes the file's pages out of this process's memory maps: what is mapped stays in the page
    cache."""
    madvise = ctypes.CDLL(None).madvise
    with open("/proc/self/maps") as maps:
        for line in maps:
            if line.rstrip().endswith(os.path.realpath(path)):
                first, last = (int(word, 16) for word in line.split()[0].split("-"))
                madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), mmap.MADV_DONTNEED)


def metrics_of(seconds: dict, amounts: dict, *, cached: float, reason) -> dict:
    """The record's metrics: medians over the turns, as amounts per second.

    Args:
        seconds: name -> seconds of every turn.
        amounts: name -> what was moved in one turn, GB or opens.
        cached: the part of the samples that was in the page cache before a cold read.
        reason: why nothing was written, or None.
    """
    metrics = {}
    for name in (*READS, "storage_opens", "storage_write", "storage_fsync"):
        if name.endswith("_cold") and cached > STILL_CACHED:
            stayed = f"{cached:.0%} of the samples stayed in the page cache"
            metrics[name] = record.metric(name, None, stayed)
        elif name not in seconds:
            metrics[name] = record.metric(name, None, reason)
        else:
            middle, interval = float(np.median(seconds[name])), median_interval(seconds[name])
            if name in amounts:
                middle = amounts[name] / middle
                interval = interval and (amounts[name] / interval[1], amounts[name] / interval[0])
            metrics[name] = record.metric(
                name, middle, interval=interval, samples=len(seconds[name])
            )
    return metrics


def write(
    config: Config, *, start: str, file: store.Store, hosts: list, metrics: dict, seconds: dict
) -> None:
    """Prints the table and writes the record."""
    for name, entry in metrics.items():
        value = entry["reason"] if entry["value"] is None else f"{entry['value']:.6g}"
        print(f"{name:26} {value} {entry['unit']}", file=sys.stderr)
    record.write(
        Path(config.out) / "result.json",
        record.Record(
            workload="storage",
            config=dataclasses.asdict(config),
            metrics=metrics,
            ranks=hosts,
            tables={
                "turns": [
                    {"name": name, "seconds": value}
                    for name, values in seconds.items()
                    for value in values
                ]
            },
            files={},
            provenance=provenance.gather(start, [row["hostname"] for row in hosts], file.digest),
            repeats=cli.repeats(Config),
        ),
    )


if __name__ == "__main__":
    cli.main(Config, run, PROGRAM)
