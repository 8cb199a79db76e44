"""What each way of sharing out would cost, before anything is run."""

import csv
import math
from pathlib import Path
from typing import Optional

import numpy as np

from bigearth.errors import InputError, disk_error
from bigearth.prepare import cut, patchlist, sharing, tile
from bigearth.prepare.sharing import Block, share_out

# patches per tile of BigEarthNet v1.0, from its public metadata
REAL_TILES = Path(__file__).resolve().parents[1] / "tiles_125.csv"


def blocks_of_list(path) -> list:
    """The blocks of a list of patches, as of `cut.TileSource`; the tiles themselves are not
    needed."""
    entries = patchlist.read(path)
    return cut.TileSource(
        {tile.scene_of(entry.tile, path): [Path(entry.tile)] for entry in entries}, entries
    ).blocks()


def blocks_of_table(path) -> list:
    """Blocks of a table with the columns tile and patches; a tile's patches are spread evenly over
    the fewest blocks that can hold them.

    Raises:
        InputError: the file cannot be read or lacks a column.
    """
    blocks = []
    try:
        with open(path, newline="") as file:
            for group, row in enumerate(csv.DictReader(file)):
                patches = int(row["patches"])
                blocks += [
                    Block(group, None, part)
                    for part in np.array_split(np.arange(patches), math.ceil(patches / cut.STRIP))
                ]
    except OSError as error:
        raise disk_error(path, "read the table of tiles", error) from error
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: not a table of tiles ({error!r}); expected a CSV file with the "
            "columns tile and patches"
        ) from error
    return blocks


def loads(blocks: list, ranks: int) -> dict:
    """Method -> patches per rank, (ranks,) int."""
    return {
        method: np.array(
            [sum(len(b.positions) for b in share) for share in share_out(blocks, ranks, method)]
        )
        for method in sharing.METHODS
    }


def table(blocks: list, ranks: int, rate: Optional[float]) -> str:
    """The text that `--plan` prints: load per rank, imbalance and idle time for each method.

    Args:
        rate: patches/s of one rank, to give times in seconds; None leaves them out.
    """
    found = loads(blocks, ranks)
    lines = ["rank" + "".join(f"{method:>12}" for method in found)]
    lines += [
        f"{rank:4d}" + "".join(f"{load[rank]:12d}" for load in found.values())
        for rank in range(ranks)
    ]
    lines.append(
        f"{sum(len(b.positions) for b in blocks)} patches in {len({b.group for b in blocks})} "
        f"tiles on {ranks} ranks; loads are patches"
    )

    def row(label, cell):
        lines.append(f"{label:34}" + "".join(f"{cell(load):>12}" for load in found.values()))

    lines.append(f"{'':34}" + "".join(f"{method:>12}" for method in found))
    row("largest load", lambda load: f"{load.max()}")
    row("smallest load", lambda load: f"{load.min()}")
    row("imbalance (largest / mean)", lambda load: f"{sharing.imbalance(load.tolist()):.4f}")
    row("idle share of the rank time", lambda load: f"{1 - load.mean() / load.max():.2%}")
    if rate:
        row("time (s)", lambda load: f"{load.max() / rate:.1f}")
        row(
            "idle time, all ranks together (s)",
            lambda load: f"{(load.max() - load).sum() / rate:.1f}",
        )
    return "\n".join(lines)
