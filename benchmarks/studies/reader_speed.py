"""Workload `reader_speed`: how fast samples come out of the HDF5 file, against other ways to read
them and against the machine.

    python -m benchmarks.studies.reader_speed --out DIR [--data FILE]

Everything is measured in one run, in turns, on one process: one pipeline element is one batch of
`data_super`, shuffled, and is taken by a loop that does nothing else. Medians over the repeats are
compared. Exit code 0 whatever the ratios are: they are in the record, for a reference to judge.
"""

import dataclasses
import os
import shutil
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Callable, Optional

import h5py
import numpy as np

from benchmarks import storage
from benchmarks.storage import KEY, SAMPLE_BYTES, drop_page_cache
from bigearth import cli, provenance, record, store
from bigearth.cli import REQUIRED, option
from bigearth.errors import InputError, disk_error
from bigearth.progress import Progress

DESCRIPTION = (
    "Input throughput: the reader against an h5py generator, TFRecords, memcpy and a "
    "sequential read."
)
SAMPLE = store.ARRAYS[KEY]

# name of the other way -> (what our reader has to reach against it, which of our two numbers is
# compared)
REQUIRED_RATIO = {
    "h5py generator": (10.0, "warm"),
    "TFRecord int lists": (5.0, "warm"),
    "memcpy": (0.5, "warm"),
    "sequential read": (0.9, "cold"),
}


@dataclasses.dataclass(frozen=True)
class Config:
    out: str = option(REQUIRED, "folder for result.json", repeats=True)
    data: Optional[str] = option(
        None,
        "HDF5 file of patches; without it, one of random pixels is "
        "made in --scratch and deleted afterwards",
        repeats=True,
    )
    scratch: Optional[str] = option(
        None, "folder for temporary files; without it, --out", repeats=True
    )
    samples: int = option(
        2000, "samples to read in one pass, and of the file of random pixels", least=1
    )
    record_samples: int = option(
        256, "samples in the TFRecord file, which takes long to write", least=1
    )
    batch_size: int = option(64, "samples per batch", least=1)
    repeats: int = option(8, "turns", least=1)
    threads: int = option(4, "threads of the reader", least=1)


def run(config: Config) -> None:
    start = provenance.now()
    scratch = Path(config.scratch or config.out) / f"reader_speed.{os.getpid()}"
    try:
        scratch.mkdir(parents=True)
    except OSError as error:
        raise disk_error(scratch, "make the scratch folder", error) from error
    try:
        data = config.data or make_file(scratch / "random.h5", config.samples)
        file = store.Store(data)
        if len(file) < config.batch_size:
            raise InputError(
                f"{data}: has {len(file)} patches, expected at least one batch of "
                f"{config.batch_size}; use a smaller --batch-size"
            )
        if config.samples < config.batch_size:
            raise InputError(
                f"command line: --samples is {config.samples}; expected at least one batch of "
                f"{config.batch_size}; read more or use a smaller --batch-size"
            )
        rates, cached = measure(config, file, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    write(config, file, rates, cached=cached, start=start)


def make_file(path: Path, count: int) -> str:
    """A complete file of random digital numbers below 10,000, as many as reflectance has."""
    random = np.random.default_rng(0)
    store.create(
        path,
        [f"random_{i:08d}" for i in range(count)],
        np.zeros(count, np.uint8),
        interpolation="bilinear",
        source="random numbers",
    )
    with h5py.File(path, "r+") as file, Progress(count, "random patches", "img") as progress:
        for first in range(0, count, 64):
            rows = slice(first, min(first + 64, count))
            file[KEY][rows] = random.integers(
                0, 10_000, (rows.stop - first,) + SAMPLE.shape, np.uint16
            )
            file["classes"][rows] = 1
            progress.update(rows.stop - first)
    store.finish(path)
    return os.fspath(path)


def measure(config: Config, file: store.Store, scratch: Path) -> tuple:
    """Takes all turns.

    Returns:
        rates: name -> GB/s of every turn; cached: the largest part of the samples that was in the
            page cache before a cold turn.
    """
    import tensorflow as tf  # slow to load: not before the options are known to be right

    positions = np.arange(min(config.samples, len(file)))
    positions = positions[: len(positions) // config.batch_size * config.batch_size]
    records = write_records(
        tf, scratch / "patches.tfrecord", file, positions=positions[: config.record_samples]
    )
    warm = {
        "reader": lambda: read(config, file, positions, cold=False)[0],
        "h5py generator": lambda: read_generator(tf, config, file, positions=positions),
        "TFRecord int lists": lambda: read_records(
            tf, config, records, count=min(config.record_samples, len(positions))
        ),
        "memcpy": lambda: copy_memory(config, len(positions)),
    }
    cold = {
        "reader, cold": lambda: read(config, file, positions, cold=True),
        "sequential read": lambda: read_sequentially(file, positions),
    }
    rates, cached = {name: [] for name in (*warm, *cold)}, 0.0
    with Progress(config.repeats * len(rates) + len(warm), "turns", "turn") as progress:
        for turn in range(config.repeats + 1):
            for name, way in warm.items():
                rate = way()
                if turn:  # the first turn fills the page cache and traces TensorFlow's functions
                    rates[name].append(rate)
                progress.update(1, name)
        for turn in range(config.repeats):
            # what the one leaves behind in memory and on the disk must not favour the other
            for name in sorted(cold, reverse=turn % 2):
                rate, left = cold[name]()
                rates[name].append(rate)
                cached = max(cached, left)
                progress.update(1, name)
    return rates, cached


def bandwidth(count: int, way: Callable) -> float:
    """GB/s of a function that brings `count` samples, to its end or to the moment that it
    returns."""
    start = time.perf_counter()
    end = way() or time.perf_counter()
    return count * SAMPLE_BYTES / 1e9 / (end - start)


def drain(dataset, batch_size: int, count: int) -> float:
    """Takes every batch, and makes sure that there were as many samples as said.

    Returns:
        when the last batch came: what follows it is no reading (an iterator that ends waits for
        TensorFlow's tuner, which sleeps).
    """
    batches, last = 0, 0.0
    for _ in dataset:
        batches, last = batches + 1, time.perf_counter()
    if batches != count // batch_size:
        raise RuntimeError(f"{batches} batches came, expected {count // batch_size}")
    return last


def read(config: Config, file: store.Store, positions: np.ndarray, cold: bool) -> tuple:
    """Our reader; a pass before the timed ones fills its buffers, as the first steps of a training
    run do.

    Returns:
        GB/s, and the part of the samples that was in the page cache before.
    """
    from bigearth.learn.input.reader import Reader

    # enough that starting the pipeline does not count, as in an epoch of real length
    passes = 1 if cold else 8
    if cold:
        drop_page_cache(file, positions)
    reader = Reader(file, positions, (KEY,), batch_size=config.batch_size, threads=config.threads)
    drain(reader.dataset(0), config.batch_size, len(positions))
    cached = drop_page_cache(file, positions) if cold else 1.0
    dataset = reader.dataset(1).repeat(passes)
    rate = bandwidth(
        passes * len(positions), lambda: drain(dataset, config.batch_size, passes * len(positions))
    )
    reader.close()  # what is mapped stays in the page cache
    return rate, cached


def read_generator(tf, config: Config, file: store.Store, positions: np.ndarray) -> float:
    """The usual way: a Python generator that takes one sample after the other from h5py."""
    shuffled = np.random.default_rng(0).permutation(positions)

    with h5py.File(file.path, "r") as opened:
        pixels, classes = opened[KEY], opened["classes"]

        def samples():
            for position in shuffled:
                yield pixels[position], classes[position]

        signature = (
            tf.TensorSpec(SAMPLE.shape, tf.uint16),
            tf.TensorSpec(classes.shape[1:], tf.uint8),
        )
        dataset = tf.data.Dataset.from_generator(samples, output_signature=signature)
        dataset = dataset.batch(config.batch_size, drop_remainder=True).prefetch(2)
        return bandwidth(len(positions), lambda: drain(dataset, config.batch_size, len(positions)))


def write_records(tf, path: Path, file: store.Store, positions: np.ndarray) -> Path:
    """One Example a patch: each band a list of integers, and the labels."""
    pixels, names = file.array(KEY), SAMPLE.bands
    with (
        tf.io.TFRecordWriter(str(path)) as writer,
        Progress(len(positions), "TFRecords", "img") as progress,
    ):
        for position in positions:
            lists = {name: pixels[position][..., i].ravel() for i, name in enumerate(names)}
            lists["classes"] = file.classes[position]
            feature = {
                name: tf.train.Feature(int64_list=tf.train.Int64List(value=values))
                for name, values in lists.items()
            }
            writer.write(
                tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()
            )
            progress.update(1)
    return path


def read_records(tf, config: Config, path: Path, count: int) -> float:
    """The way of EfficientBigEarthNet: parsed sample by sample, in parallel, from a shuffle
    buffer."""
    height, width, _ = SAMPLE.shape
    features = {name: tf.io.FixedLenFeature([height * width], tf.int64) for name in SAMPLE.bands}
    features["classes"] = tf.io.FixedLenFeature([store.ARRAYS["classes"].shape[0]], tf.int64)

    def parse(example):
        parsed = tf.io.parse_single_example(example, features)
        pixels = [
            tf.reshape(tf.cast(parsed[name], tf.uint16), (height, width)) for name in SAMPLE.bands
        ]
        return tf.stack(pixels, axis=-1), tf.cast(parsed["classes"], tf.uint8)

    count = count // config.batch_size * config.batch_size or count
    dataset = (
        tf.data.TFRecordDataset(str(path))
        .shuffle(count)
        .map(parse, num_parallel_calls=tf.data.AUTOTUNE)
    )
    dataset = (
        dataset.batch(min(config.batch_size, count))
        .take(max(1, count // config.batch_size))
        .prefetch(2)
    )
    return bandwidth(count, lambda: drain(dataset, min(config.batch_size, count), count))


def copy_memory(config: Config, count: int) -> float:
    """The same bytes from memory to memory, a batch at a time into used buffers, with as many
    threads as the reader has."""
    shape = (config.batch_size,) + SAMPLE.shape
    # larger than the processor's caches
    source = np.ones((config.threads * 4,) + shape, SAMPLE.dtype)
    target = np.ones((config.threads,) + shape, SAMPLE.dtype)

    def copy(thread):
        for step in range(thread, count // config.batch_size, config.threads):
            np.copyto(target[thread], source[step % len(source)])

    def copy_all():
        with ThreadPoolExecutor(config.threads) as executor:
            list(executor.map(copy, range(config.threads)))  # raises what a thread raised

    return bandwidth(count, copy_all)


def read_sequentially(file: store.Store, positions: np.ndarray) -> tuple:
    """A plain read of the same samples, from the first byte to the last, cold; returns what `read`
    does."""
    cached = drop_page_cache(file, positions)
    return bandwidth(len(positions), lambda: storage.read_sequentially(file, positions)), cached


def write(config: Config, file: store.Store, rates: dict, cached: float, start: str) -> None:
    """Prints the table and writes the record."""
    middle = {name: float(np.median(values)) for name, values in rates.items()}
    ours = {"warm": middle["reader"], "cold": middle["reader, cold"]}
    rows = []
    for name, (required, which) in REQUIRED_RATIO.items():
        missing = which == "cold" and cached > 0.05
        rows.append(
            {
                "against": name,
                "state": which,
                "reader": ours[which],
                "other": middle[name],
                "ratio": None if missing else ours[which] / middle[name],
                "required": required,
                "reason": f"{cached:.0%} of the samples stayed in the page cache"
                if missing
                else None,
            }
        )
    print(
        f"{'against':20} {'state':6} {'reader GB/s':>12} {'other GB/s':>12} {'ratio':>8} "
        f"{'required':>9}",
        file=sys.stderr,
    )
    for row in rows:
        ratio = "-" if row["ratio"] is None else f"{row['ratio']:.2f}"
        print(
            f"{row['against']:20} {row['state']:6} {row['reader']:12.2f} {row['other']:12.2f} "
            f"{ratio:>8} {row['required']:>9}",
            file=sys.stderr,
        )
    host = socket.gethostname()
    record.write(
        Path(config.out) / "result.json",
        record.Record(
            workload="reader_speed",
            config=dataclasses.asdict(config),
            metrics={
                "input_throughput": record.metric(
                    "input_throughput", ours["warm"] * 1e9 / SAMPLE_BYTES
                ),
                "input_bandwidth": record.metric("input_bandwidth", ours["warm"]),
            },
            ranks=[{"rank": 0, "hostname": host, "device": "CPU"}],
            tables={
                "ratios": rows,
                "turns": [
                    {"name": name, "bandwidth": value}
                    for name, values in rates.items()
                    for value in values
                ],
            },
            files={},
            provenance=provenance.gather(start, [host], file.digest),
            repeats=cli.repeats(type(config)),
        ),
    )


if __name__ == "__main__":
    cli.main(
        Config, run, cli.Program(module="benchmarks.studies.reader_speed", description=DESCRIPTION)
    )
