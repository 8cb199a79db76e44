"""Workload `experiments`: what the paper left open, as trainings of a small network over several
seeds.

    python -m benchmarks.studies.experiments --experiment imbalance --data FILE --out DIR

`EXPERIMENTS` is the whole list: each has arms that differ in options of `benchmarks.train` alone.
Where an arm has several rates, one seed is trained at each and the rate with the best validation F1
is taken for all seeds; the test split decides nothing. The weights that are scored are those of the
best validation epoch. A run whose record is already in DIR is not repeated, so a study may be
stopped and started at any time. The record has one row per run, one per arm with the 95 % interval
of its mean over seeds, and one per comparison with the first arm, paired by seed.
"""

import dataclasses
import itertools
import socket
import subprocess
import sys
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from bigearth import cli, intervals, provenance, record
from bigearth.cli import REQUIRED, option
from bigearth.errors import InputError
from bigearth.progress import Progress
from bigearth.store import Store

SCORES = ("f1_micro", "f1_macro")


class Arm(NamedTuple):
    """One way to train.

    Attributes:
        name: in words.
        options: of `benchmarks.train`, name -> value; a value of True is an option without one.
        rates: learning rates for a global batch of 256 to choose from; empty: the study's own.
        tuned: the name of the arm whose chosen rate is taken; empty: its own.
        ranks: MPI ranks that train together.
    """

    name: str
    options: dict = {}
    rates: tuple = ()
    tuned: str = ""
    ranks: int = 1


class Experiment(NamedTuple):
    """Arms that are compared with the first one.

    Attributes:
        question: what they answer.
        score: the metric of the comparison.
        arms: of the experiment.
    """

    question: str
    score: str
    arms: tuple


def optimizers() -> tuple:
    """Each optimizer with its schedule at the small batch, 16 times and 56 times that; the
    rate is tuned at the small batch and grows linearly, as in the paper."""
    kinds = {
        "sgd, step": ((1.0, 3.0, 10.0), {"optimizer": "sgd", "schedule": "step"}),
        "lars, polynomial": ((15.0, 40.0, 100.0), {"optimizer": "lars", "schedule": "polynomial"}),
        "adamw, cosine": ((0.03, 0.1, 0.3), {"optimizer": "adamw", "schedule": "cosine"}),
    }
    arms = []
    for name, (rates, options) in kinds.items():
        first = f"{name}, batch 8"
        arms.append(Arm(first, {**options, "batch-size": 8}, rates))
        for batch in (128, 448):
            large = {**options, "batch-size": batch}
            arms.append(Arm(f"{name}, batch {batch}", large, tuned=first))
    return tuple(arms)


EXPERIMENTS = {
    "imbalance": Experiment(
        "What helps the rare classes?",
        "f1_macro",
        (
            Arm("plain"),
            Arm("weighted loss", {"loss": "weighted"}),
            Arm("asymmetric loss", {"loss": "asymmetric"}),
            Arm("resampling", {"resample": 0.1}),
            Arm("thresholds", {"tune-thresholds": True}),
        ),
    ),
    "optimizers": Experiment("Which optimizer stands large batches?", "f1_micro", optimizers()),
    "bands": Experiment(
        "What is each band worth?",
        "f1_micro",
        (
            Arm("12 bands"),
            Arm("RGB", {"bands": "rgb"}),
            *(Arm(band, {"bands": band}) for band in ("B03", "B04", "B08", "B11")),
        ),
    ),
    "superresolution": Experiment(
        "Does DSen2 help the scores?",
        "f1_micro",
        (Arm("bilinear", {"upsample": "bilinear"}), Arm("DSen2", {"upsample": "dsen2"})),
    ),
    "ranks": Experiment(
        "Does F1 hold on more ranks, each with its own batch?",
        "f1_micro",
        tuple(Arm(f"{ranks} rank{'s' * (ranks > 1)}", ranks=ranks) for ranks in (1, 2, 4)),
    ),
}


@dataclasses.dataclass(frozen=True)
class Config:
    experiment: Literal[tuple(EXPERIMENTS)] = option(REQUIRED, "which one")
    data: str = option(REQUIRED, "HDF5 file of patches", repeats=True)
    out: str = option(REQUIRED, "folder for result.json and the folders of the runs", repeats=True)
    seeds: int = option(3, "runs of each arm, with seeds 0, 1, ...", least=3)
    network: Literal["resnet50", "resnet14"] = option("resnet14", "as in `benchmarks.train`")
    epochs: int = option(12, "epochs of each run", least=2)
    batch_size: int = option(8, "samples per rank and step", least=1)
    learning_rate: float = option(3.0, "for a global batch of 256, where an arm has no rates")
    window: int = option(40, "side of the training window in pixels", least=32, most=120)


class Run(NamedTuple):
    """One training: an arm with a seed and a rate."""

    arm: Arm
    seed: int
    rate: float

    @property
    def folder(self) -> str:
        return f"{self.arm.name}-{self.rate:g}-{self.seed}".replace(", ", "-").replace(" ", "_")


def command(config: Config, run: Run) -> list:
    """The command line of one run; the decay and warm-up epochs keep the paper's shares of the
    run."""
    share = config.epochs / 100
    options = {
        "config": "local",
        "data": config.data,
        "out": Path(config.out) / run.folder,
        "network": config.network,
        "seed": run.seed,
        "epochs": config.epochs,
        "batch-size": config.batch_size,
        "learning-rate": run.rate,
        "window": config.window,
        "schedule": "cosine",
        "warmup-epochs": 5 * share,
        "decay-epochs": ",".join(f"{epoch * share:g}" for epoch in (30, 60, 80)),
        "loss-limit": 1e6,  # a run that explodes is a result here
        **run.arm.options,
    }
    words = []
    for name, value in options.items():
        words += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    launcher = ["mpirun", "--oversubscribe", "-np", str(run.arm.ranks)] if run.arm.ranks > 1 else []
    return [*launcher, sys.executable, "-m", "benchmarks.train", *words, "--resume"]


def outcome(config: Config, run: Run) -> dict:
    """Trains unless the record is there; returns the run's row. A loss that is not finite gives
    scores of 0 and says so.

    Raises:
        InputError: the run failed for another reason.
    """
    path = Path(config.out) / run.folder / "result.json"
    row = {"arm": run.arm.name, "seed": run.seed, "rate": run.rate, "failure": None}
    row.update(dict.fromkeys((*SCORES, "val_f1_micro"), 0.0), per_class=[])
    if not path.exists():
        done = subprocess.run(
            command(config, run), capture_output=True, text=True, cwd=provenance.ROOT
        )
        if done.returncode:
            lines = done.stderr.splitlines()
            sentence = next((s for s in lines if s.startswith("error:")), done.stderr[-500:])
            if "the loss is" not in sentence:
                raise InputError(
                    f"run {run.folder} failed ({sentence}); correct that and start the study "
                    "again: finished runs are kept"
                )
            return {**row, "failure": sentence}
    found = record.read(path)
    validation = max(epoch["val_f1_micro"] for epoch in found.tables["epochs"])
    scores = {name: found.value(name) for name in SCORES}
    return {
        **row,
        **scores,
        "val_f1_micro": validation,
        "per_class": [entry["f1"] for entry in found.tables["per_class"]],
    }


def rate_of(config: Config, arm: Arm, chosen: dict) -> tuple:
    """The rate of an arm, and the rows of the runs that it was chosen by."""
    if not arm.rates:
        return chosen.get(arm.tuned, config.learning_rate), []
    rows = [outcome(config, Run(arm, 0, rate)) for rate in arm.rates]
    return max(rows, key=lambda row: row["val_f1_micro"])["rate"], rows


def rows_of(config: Config) -> tuple:
    """(rows of all runs, rows of the tuning)."""
    arms = EXPERIMENTS[config.experiment].arms
    rows, tuning, chosen = [], [], {}
    with Progress(len(arms) * config.seeds, config.experiment, "runs", every=0) as progress:
        for arm in arms:
            chosen[arm.name], tried = rate_of(config, arm, chosen)
            tuning += tried
            for seed in range(config.seeds):
                rows.append(outcome(config, Run(arm, seed, chosen[arm.name])))
                progress.update(1, f"{arm.name}, seed {seed}: F1 micro {rows[-1]['f1_micro']:.4f}")
    return rows, tuning


def summary(rows: list, arms: tuple) -> list:
    """Of each arm and score the mean over seeds and its 95 % interval."""
    found = []
    for arm, score in itertools.product(arms, SCORES):
        values = [row[score] for row in rows if row["arm"] == arm.name]
        low, high = intervals.seeds_interval(values)
        entry = {"arm": arm.name, "metric": score, "mean": float(np.mean(values))}
        found.append({**entry, "low": low, "high": high, "runs": len(values)})
    return found


def comparisons(rows: list, arms: tuple, score: str) -> list:
    """Each arm less the first one, paired by seed, with the 95 % interval of the mean."""
    found = []
    first, *others = ([row[score] for row in rows if row["arm"] == arm.name] for arm in arms)
    for arm, values in zip(arms[1:], others):
        difference = np.array(values) - np.array(first)
        low, high = intervals.seeds_interval(difference)
        entry = {"arm": arm.name, "against": arms[0].name, "metric": score}
        found.append({**entry, "difference": float(difference.mean()), "low": low, "high": high})
    return found


def classes(rows: list, arms: tuple, labels: tuple) -> list:
    """F1 of every class with each arm, the mean over seeds."""
    found = []
    for arm in arms:
        scored = [row["per_class"] for row in rows if row["arm"] == arm.name and row["per_class"]]
        means = np.mean(scored, axis=0) if scored else []
        found += [
            {"arm": arm.name, "label": label, "f1": float(f1)} for label, f1 in zip(labels, means)
        ]
    return found


def run(config: Config) -> None:
    """Trains all runs of an experiment and writes the record."""
    start, store = provenance.now(), Store(config.data)
    experiment = EXPERIMENTS[config.experiment]
    rows, tuning = rows_of(config)
    compared = comparisons(rows, experiment.arms, experiment.score)
    print("| arm | F1 micro | F1 macro |\n|---|---|---|")
    arms = summary(rows, experiment.arms)
    for micro, macro in zip(arms[::2], arms[1::2]):
        cells = (f"{r['mean']:.3f} ({r['low']:.3f} to {r['high']:.3f})" for r in (micro, macro))
        print(f"| {micro['arm']} | " + " | ".join(cells) + " |")
    for row in compared:
        print(
            f"{row['arm']} less {row['against']}: {row['metric']} {row['difference']:+.3f} "
            f"({row['low']:+.3f} to {row['high']:+.3f})"
        )
    tables = {"arms": arms, "comparisons": compared}
    tables["classes"] = classes(rows, experiment.arms, store.labels)
    tables.update(runs=[_short(row) for row in rows], tuning=[_short(row) for row in tuning])
    hosts = [socket.gethostname()]
    record.write(
        Path(config.out) / "result.json",
        record.Record(
            workload="experiments",
            config={**dataclasses.asdict(config), "question": experiment.question},
            metrics={},
            ranks=[{"rank": 0, "hostname": hosts[0], "device": "launcher"}],
            tables=tables,
            files={},
            provenance=provenance.gather(start, hosts, store.digest),
            repeats=cli.repeats(type(config)),
        ),
    )


def _short(row: dict) -> dict:
    return {name: value for name, value in row.items() if name != "per_class"}


if __name__ == "__main__":
    cli.main(
        Config,
        run,
        cli.Program(
            module="benchmarks.studies.experiments",
            description="Train what the paper left open, over several seeds.",
            example="--experiment imbalance --data patches.h5 --out results/imbalance",
        ),
    )
