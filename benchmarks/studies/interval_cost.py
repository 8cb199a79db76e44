"""What does it cost to measure time per epoch to 1 % (`--interval 0.01`), against three whole
epochs, at every point of a site's references?

    python -m benchmarks.studies.interval_cost --record results/train/result.json

The steps until the interval is narrow are simulated with the rule of training itself, for step
times of a given spread and autocorrelation; with a record also for those of its timed epochs. The
first step and the warm-up count as cost, validation and test are left out on both sides. The steps
of an epoch follow from `--train-patches`.
"""

import dataclasses
from typing import Optional

import numpy as np

from bigearth import cli, intervals, record
from bigearth.cli import option
from bigearth.learn.measuring import WARM_UP, Measuring

NODES = (1, 2, 4, 8, 12, 16, 24)  # of JUWELS' references
DEVICES, BATCH_SIZE = 4, 64  # per node and per device
WHOLE = 3  # epochs that a timing run without an interval trains
SPREADS = ((0.01, 0.0), (0.01, 0.5), (0.02, 0.0), (0.02, 0.5), (0.05, 0.0))
WANTED = 0.25  # the largest share that is wanted


@dataclasses.dataclass(frozen=True)
class Config:
    record: Optional[str] = option(None, "result record of a training, for the spread of its steps")
    train_patches: int = option(269_695, "patches of an epoch", least=1)
    width: float = option(0.01, "wanted half-width, relative", least=1e-4, most=0.5)
    repeats: int = option(20, "simulated runs of each kind", least=1)
    seed: int = option(0, "of the simulation", least=0, repeats=True)


def steps_needed(config: Config, spread: float, correlation: float) -> float:
    """Mean number of steps that a timing run takes, first step and warm-up included."""
    random, counts = np.random.default_rng(config.seed), []
    for _ in range(config.repeats):
        measuring, noise, steps = Measuring(config.width), 0.0, 1
        while not measuring.enough:
            shock = random.standard_normal() * np.sqrt(1 - correlation**2)
            noise = correlation * noise + shock
            measuring.add(float(np.exp(spread * noise)))
            steps += 1
        counts.append(steps)
    return float(np.mean(counts))


def measured(path: str) -> tuple:
    """(spread of the logarithms, correlation with the step before) of a record's timed steps."""
    rows = record.read(path).tables["step_times"]
    seconds = [np.array(row["seconds"][WARM_UP:]) for row in rows if row["timed"]]
    logs = np.log(np.concatenate(seconds))
    covariance = intervals.autocovariance(logs, 1)
    return float(logs.std(ddof=1)), float(np.clip(covariance[1] / covariance[0], 0, 0.95))


def run(config: Config) -> None:
    """Prints a row per spread: steps, and their share of three epochs at every point."""
    kinds = [("assumed", spread, correlation) for spread, correlation in SPREADS]
    if config.record:
        kinds.append(("measured", *measured(config.record)))
    epoch = [max(1, config.train_patches // (n * DEVICES * BATCH_SIZE)) for n in NODES]
    heads = [f"{n} ({steps})" for n, steps in zip(NODES, epoch)]
    print("| spread, autocorrelation | steps | " + " | ".join(heads) + " |")
    print("|:--" + "|--:" * (len(NODES) + 1) + "|")
    for origin, spread, correlation in kinds:
        steps = steps_needed(config, spread, correlation)
        shares = [steps / (WHOLE * whole) for whole in epoch]
        cells = [f"{'**' * (s > WANTED)}{s:.0%}{'**' * (s > WANTED)}" for s in shares]
        kind = f"{origin}: {spread:.1%}, {correlation:.1f}"
        print(f"| {kind} | {steps:.0f} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    cli.main(
        Config,
        run,
        cli.Program(
            module="benchmarks.studies.interval_cost",
            description="Node-hours of a timing run against three whole epochs.",
            example="--train-patches 311535",
        ),
    )
