"""Workload `batch_study`: what a recipe's F1 does when the global batch grows, and what the
spectral bands add, over several seeds.

    python -m benchmarks.studies.batch_size --data FILE --out DIR [--launcher "mpirun -np 2"]

Each run is one `python -m benchmarks.train` on the same data with the same number of epochs. Recipe
`paper` is plain SGD with linear scaling and step decay; `modern` is that of configs/modern.py. The
small batch is --batch-size per rank, the large one --factor times that. The recipes' rates are for
100 epochs of BigEarthNet; on a file with a hundredth of its patches they want a larger one, tuned
at the small batch (--paper-rate, --modern-rate). A run whose record is already in DIR is not
repeated, so the study may be stopped and started at any time. The record's table "runs" has one row
per run (what the figures need), "groups" the mean and spread over seeds.
"""

import dataclasses
import shlex
import socket
import subprocess
import sys
from pathlib import Path
from typing import Literal, Optional

import numpy as np

from bigearth import cli, provenance, record
from bigearth.cli import REQUIRED, option
from bigearth.errors import InputError
from bigearth.progress import Progress
from bigearth.store import Store

DESCRIPTION = (
    "F1 of the recipes at a small and a large global batch, multispectral and RGB, over "
    "several seeds."
)

TOLERANCE = 0.01  # what `modern` may lose at the large batch


@dataclasses.dataclass(frozen=True)
class Config:
    data: str = option(REQUIRED, "HDF5 file of patches", repeats=True)
    out: str = option(REQUIRED, "folder for result.json and the folders of the runs", repeats=True)
    repeats: int = option(3, "runs of each kind, with seeds 0, 1, ...", least=1)
    network: Literal["resnet50", "resnet14"] = option("resnet50", "as in `benchmarks.train`")
    paper_rate: Optional[float] = option(
        None, "learning rate of `paper` for a global batch of 256; the recipe's own if not given"
    )
    modern_rate: Optional[float] = option(None, "the same of `modern`")
    epochs: int = option(20, "epochs of each run", least=1)
    batch_size: int = option(16, "samples per rank and step of the small batch", least=1)
    factor: int = option(16, "how many times that the large batch is", least=1)
    window: int = option(60, "side of the training window in pixels", least=32, most=120)
    precision: str = option("bfloat16", "compute dtype of convolutions")
    threads: int = option(0, "CPU threads per rank; 0 lets TensorFlow take all cores", least=0)
    launcher: str = option(
        "", "command that starts the ranks of a run, e.g. 'mpirun -np 2'; without it one process"
    )


@dataclasses.dataclass(frozen=True)
class Run:
    """One training of the study."""

    recipe: str
    bands: str
    batch: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.recipe}-{self.bands}-{self.batch}-{self.seed}"


def plan(config: Config) -> list:
    """All runs of the study: each recipe at both batches, and the small batch of `modern` with
    RGB."""
    kinds = [
        (recipe, "multispectral", batch)
        for recipe in ("paper", "modern")
        for batch in ("small", "large")
    ]
    kinds.append(("modern", "rgb", "small"))
    return [Run(*kind, seed) for seed in range(config.repeats) for kind in kinds]


def command(config: Config, run: Run) -> list:
    """The command line of one run; the decay and warm-up epochs keep the recipe's shares of the
    run."""
    share = config.epochs / 100
    batch = config.batch_size * (config.factor if run.batch == "large" else 1)
    options = {
        "config": run.recipe,
        "data": config.data,
        "out": Path(config.out) / run.name,
        "bands": run.bands,
        "network": config.network,
        "seed": run.seed,
        "epochs": config.epochs,
        "batch-size": batch,
        "window": config.window,
        "precision": config.precision,
        "threads": config.threads,
        "upsample": "stored",
        "warmup-epochs": 5 * share,
        "decay-epochs": ",".join(f"{e * share:g}" for e in (30, 60, 80)),
        "loss-limit": 1e6,  # a run that explodes is a result here
        "checkpoint-epochs": 0,
    }
    rate = {"paper": config.paper_rate, "modern": config.modern_rate}[run.recipe]
    if rate is not None:
        options["learning-rate"] = rate
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return [
        *shlex.split(config.launcher),
        sys.executable,
        "-m",
        "benchmarks.train",
        *words,
        "--resume",
    ]


def run(config: Config) -> None:
    start = provenance.now()
    store = Store(config.data)
    rows = []
    runs = plan(config)
    with Progress(len(runs), "batch study", "runs", every=0) as progress:
        for each in runs:
            rows.append(outcome(config, each))
            progress.update(1, f"{each.name}: F1 micro {rows[-1]['f1_micro']}")
    groups = summary(rows)
    for row in groups:
        print(
            f"{row['recipe']:7} {row['bands']:14} {row['batch']:6} F1 micro {row['mean']:.4f} +- "
            f"{row['std']:.4f} over {row['runs']} run(s)",
            file=sys.stderr,
        )
    record.write(
        Path(config.out) / "result.json",
        record.Record(
            workload="batch_study",
            config=dataclasses.asdict(config),
            metrics={},
            ranks=[{"rank": 0, "hostname": socket.gethostname(), "device": "launcher"}],
            tables={"runs": rows, "groups": groups, "claims": claims(groups)},
            files={},
            provenance=provenance.gather(start, [socket.gethostname()], store.digest),
            repeats=cli.repeats(type(config)),
        ),
    )


def outcome(config: Config, each: Run) -> dict:
    """Runs a training unless its record is there; returns its row. A loss that is not finite gives
    F1 0 and says so.

    Raises:
        InputError: the run failed for another reason.
    """
    path = Path(config.out) / each.name / "result.json"
    row = dict(
        dataclasses.asdict(each), f1_micro=0.0, f1_macro=0.0, time_per_epoch=None, failure=None
    )
    if not path.exists():
        done = subprocess.run(
            command(config, each), capture_output=True, text=True, cwd=provenance.ROOT
        )
        if done.returncode:
            sentence = next(
                (line for line in done.stderr.splitlines() if line.startswith("error:")),
                done.stderr[-500:],
            )
            if "the loss is" not in sentence:
                raise InputError(
                    f"run {each.name} failed ({sentence}); correct that and start the "
                    "study again: finished runs are kept"
                )
            return dict(row, failure=sentence)
    found = record.read(path)
    return dict(
        row, **{name: found.value(name) for name in ("f1_micro", "f1_macro", "time_per_epoch")}
    )


def summary(rows: list) -> list:
    """Mean and standard deviation of F1 micro over the seeds of each kind of run."""
    kinds = list(dict.fromkeys((r["recipe"], r["bands"], r["batch"]) for r in rows))
    result = []
    for kind in kinds:
        values = [r["f1_micro"] for r in rows if (r["recipe"], r["bands"], r["batch"]) == kind]
        spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        result.append(
            dict(
                zip(("recipe", "bands", "batch"), kind),
                mean=float(np.mean(values)),
                std=spread,
                runs=len(values),
            )
        )
    return result


def claims(groups: list) -> list:
    """What the study is to show, and whether it does, from the means."""
    mean = {(g["recipe"], g["bands"], g["batch"]): g["mean"] for g in groups}
    loss = mean["modern", "multispectral", "small"] - mean["modern", "multispectral", "large"]
    gain = mean["modern", "multispectral", "small"] - mean["modern", "rgb", "small"]
    return [
        {
            "claim": f"modern loses at most {TOLERANCE} at the large batch",
            "value": loss,
            "holds": loss <= TOLERANCE,
        },
        {"claim": "multispectral is above RGB", "value": gain, "holds": gain > 0},
    ]


if __name__ == "__main__":
    cli.main(
        Config,
        run,
        cli.Program(
            module="benchmarks.studies.batch_size",
            description=DESCRIPTION,
            example="--data patches.h5 --out results/batch_study --network resnet14",
        ),
    )
