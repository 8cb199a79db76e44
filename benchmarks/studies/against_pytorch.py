"""Workload `against_pytorch`: the training step against the same network in PyTorch.

    python -m benchmarks.studies.against_pytorch --data FILE --out DIR --pytorch VENV/bin/python

One process each, in turns, on the same cores: this project's step on a batch in memory
(normalisation, augmentation, dropout and L2 included), and a step of torchvision's ResNet-50 with
the strides of He et al., channels last, without any of these (`pytorch_worker.py`). While one side
computes the other waits. PyTorch is not in the lock: it comes from an environment of its own, e.g.
`python3 -m venv torch && torch/bin/pip install torch torchvision`.

Exit code 0 whatever the ratio is: it is in the record.
"""

import contextlib
import dataclasses
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal

import numpy as np

from benchmarks.studies import step_speed
from benchmarks.train import use_device
from bigearth import cli, intervals, provenance, record
from bigearth.cli import REQUIRED, option
from bigearth.errors import InputError
from bigearth.learn.config import TrainConfig
from bigearth.store import Store

WORKER = Path(__file__).parent / "pytorch_worker.py"


@dataclasses.dataclass(frozen=True)
class Config:
    data: str = option(REQUIRED, "HDF5 file of patches", repeats=True)
    out: str = option(REQUIRED, "folder for result.json", repeats=True)
    pytorch: str = option(REQUIRED, "Python of an environment with torch and torchvision")
    batch_size: int = option(32, "samples per step", least=1)
    window: int = option(
        120, "side of the window that is trained on, in pixels", least=32, most=120
    )
    precision: Literal["float32", "bfloat16"] = option("float32", "compute dtype of convolutions")
    threads: int = option(2, "CPU threads of each side", least=1)
    steps: int = option(2, "steps of each side in a turn", least=1)
    repeats: int = option(8, "turns that are measured; one more goes before", least=1)


class PyTorch:
    """The worker process: `steps` takes some steps and returns their seconds."""

    def __init__(self, config: Config):
        words = [config.batch_size, config.window, config.precision, config.threads]
        try:
            self.process = subprocess.Popen(
                [config.pytorch, str(WORKER), *map(str, words)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": str(config.threads)},
            )
        except OSError as error:
            raise InputError(
                f"--pytorch {config.pytorch}: cannot be started ({error.strerror}); expected the "
                "Python of an environment with torch and torchvision"
            ) from error
        self.version = self._answer()

    def steps(self, count: int) -> float:
        with contextlib.suppress(BrokenPipeError):  # it ended: that has a sentence of its own
            self.process.stdin.write(f"{count}\n")
            self.process.stdin.flush()
        return float(self._answer())

    def _answer(self) -> str:
        line = self.process.stdout.readline().strip()
        if not line:
            raise InputError(
                f"PyTorch ended with exit code {self.process.wait()}; its message is above; "
                "expected an environment with torch and torchvision"
            )
        return line

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()


def run(config: Config) -> None:
    start = provenance.now()
    other = PyTorch(config)
    try:
        measure(config, start, other)
    finally:
        other.close()


def measure(config: Config, start: str, other: PyTorch) -> None:
    """Takes the turns and writes the record."""
    import tensorflow as tf

    from bigearth.learn import collective

    options = TrainConfig(
        data=config.data,
        batch_size=config.batch_size,
        window=config.window,
        precision=config.precision,
        threads=config.threads,
    )
    ranks = collective.Single()
    device = use_device(tf, ranks, options)
    store = Store(config.data)
    count = len(store.indices("train"))
    if count < config.batch_size:
        raise InputError(
            f"{store.path}: the train split has {count} patches, fewer than one batch of "
            f"{config.batch_size}; lower --batch-size"
        )
    step, resident, _ = step_speed.build_step(options, store, ranks)
    sides = {"ours": lambda: seconds_of(step, resident, config.steps)}
    sides["pytorch"] = lambda: other.steps(config.steps)
    turns = []
    for turn in range(config.repeats + 1):
        order = list(sides) if turn % 2 else list(sides)[::-1]  # what went before may matter
        seconds = {name: sides[name]() for name in order}
        if turn:
            turns.append(seconds)
    write(config, start, store=store, turns=turns, about=(device, other.version))


def seconds_of(step, batch: dict, count: int) -> float:
    begun = time.perf_counter()
    for _ in range(count):
        step(batch)
    return time.perf_counter() - begun


def write(config: Config, start: str, *, store: Store, turns: list, about: tuple) -> None:
    """Prints both throughputs and their ratio, and writes the record."""
    device, version = about
    samples = config.steps * config.batch_size
    rates = {name: samples / np.array([turn[name] for turn in turns]) for name in turns[0]}
    middle = {name: float(np.median(values)) for name, values in rates.items()}
    ratios = rates["ours"] / rates["pytorch"]
    interval = intervals.median_interval(ratios)
    known = f", 95 % interval {interval[0]:.3f} to {interval[1]:.3f}" if interval else ""
    for name, value in middle.items():
        print(f"{name:10} {value:8.2f} img/s", file=sys.stderr)
    print(f"ours / {version}: {np.median(ratios):.3f}{known}", file=sys.stderr)
    host = socket.gethostname()
    record.write(
        Path(config.out) / "result.json",
        record.Record(
            workload="against_pytorch",
            config=dataclasses.asdict(config),
            metrics={"throughput": record.metric("throughput", middle["ours"])},
            ranks=[{"rank": 0, "hostname": host, "device": device}],
            tables={
                "ratios": [{"against": version, "ratio": float(r)} for r in ratios],
                "turns": turns,
            },
            files={},
            provenance=provenance.gather(start, [host], store.digest),
            repeats=cli.repeats(type(config)),
        ),
    )


if __name__ == "__main__":
    cli.main(
        Config,
        run,
        cli.Program(
            module="benchmarks.studies.against_pytorch",
            description="Throughput of the training step against the same network in PyTorch.",
            example="--data patches.h5 --out results/pytorch --pytorch torch/bin/python",
        ),
    )
