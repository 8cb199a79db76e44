"""From how many tiles of BigEarthNet does a rank's batch come, and how many would an independent
draw of its samples give?

    python -m benchmarks.studies.tiles_per_batch

A tile is one acquisition of Sentinel-2: one place, one day, one sky. Batches that hold few of them
make BatchNorm's statistics and the gradient of a rank those of a region. The training samples are
dealt as in a training on all 269,695 patches of the official split, whose names sort by tile.
"""

import csv
import dataclasses

import numpy as np

from bigearth import cli
from bigearth.cli import option
from bigearth.errors import InputError
from bigearth.learn.input.dealing import Dealing
from bigearth.synthetic.geography import TILES_CSV

MOST_BATCHES = 2000  # that are looked at for each number of ranks


@dataclasses.dataclass(frozen=True)
class Config:
    batch_size: int = option(64, "samples per rank and step", least=1)
    ranks: str = option("1,4,16,96", "numbers of ranks, joined by commas")
    seed: int = option(0, "of the shuffle", least=0, repeats=True)


def tiles_of_patches() -> np.ndarray:
    """(N,) the number of the tile that each training patch is of, in the order of the file."""
    with open(TILES_CSV, newline="") as file:
        counts = [int(row["train"]) for row in csv.DictReader(file)]
    return np.repeat(np.arange(len(counts)), counts)


def dealt(tiles: np.ndarray, config: Config, world_size: int) -> np.ndarray:
    """Tiles in each of some batches, spread over the ranks and steps of an epoch."""
    ranks = [
        Dealing(
            positions=np.arange(len(tiles)),
            batch_size=config.batch_size,
            rank=rank,
            world_size=world_size,
            steps=len(tiles) // (config.batch_size * world_size),
            seed=config.seed,
            shuffle=True,
        )
        for rank in range(world_size)
    ]
    order = ranks[0].order(epoch=0)
    count = min(ranks[0].steps, max(1, MOST_BATCHES // world_size))
    steps = np.linspace(0, ranks[0].steps - 1, count).astype(int)
    batches = [tiles[rank.batch(order, step)] for step in steps for rank in ranks]
    return np.array([len(np.unique(batch)) for batch in batches])


def drawn(tiles: np.ndarray, config: Config) -> np.ndarray:
    """Tiles in each of some batches that are drawn independently."""
    random = np.random.default_rng(config.seed)
    batches = [
        random.choice(tiles, config.batch_size, replace=False) for _ in range(MOST_BATCHES // 10)
    ]
    return np.array([len(np.unique(batch)) for batch in batches])


def run(config: Config) -> None:
    """Prints one row per number of ranks."""
    try:
        sizes = [int(word) for word in config.ranks.split(",")]
    except ValueError:
        sizes = [0]
    tiles = tiles_of_patches()
    if not all(1 <= size <= len(tiles) // config.batch_size for size in sizes):
        raise InputError(
            f"command line: --ranks is {config.ranks!r}; expected whole numbers joined by commas, "
            f"each at least 1 with a batch for every rank among {len(tiles)} patches; correct it"
        )
    print(f"| ranks | tiles in a batch of {config.batch_size} per rank, mean | smallest |")
    print("|---|---|---|")
    for size in sizes:
        found = dealt(tiles, config, size)
        print(f"| {size} | {found.mean():.1f} | {found.min()} |")
    found = drawn(tiles, config)
    print(f"| independent draw | {found.mean():.1f} | {found.min()} |")


if __name__ == "__main__":
    cli.main(
        Config,
        run,
        cli.Program(
            module="benchmarks.studies.tiles_per_batch",
            description="Count the tiles that a rank's batch comes from.",
            example="--ranks 1,4,16,96",
        ),
    )
