"""How much faster is extraction than a plain loop that opens twelve files with rasterio per
patch, the way torchgeo does?

    python -m benchmarks.studies.extraction_speed --archive BigEarthNet-v1.0
    python -m benchmarks.studies.extraction_speed --tiles TILES --list patches.csv

Both read the same patches from the same files on one core in the same run. The loop opens, reads
and stacks twelve bands per patch, each resampled bilinearly to 120 x 120 pixels while it is read,
and keeps nothing. Extraction does all of its work: metadata, checks, reading, interpolation,
checksums, and the HDF5 file. They take turns; the ratio is of the medians, of wall time and of
processor time (the second also holds on a machine that others use).
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = os.environ["GDAL_NUM_THREADS"] = "1"  # one core each

import dataclasses
import statistics
import tempfile
import time
from typing import Optional

import numpy as np
import rasterio
from rasterio.enums import Resampling
from rasterio.windows import from_bounds

from benchmarks import prepare
from bigearth import bands, cli
from bigearth.cli import option
from bigearth.errors import InputError
from bigearth.prepare import archive, patchlist, tile
from bigearth.store import Store

SIDE = bands.patch_size(10)


@dataclasses.dataclass(frozen=True)
class Config:
    archive: Optional[str] = option(None, "measure on this BigEarthNet v1.0 archive")
    tiles: Optional[str] = option(None, "measure on the Level-2A products in this folder")
    list: Optional[str] = option(None, "the list of patches of these products")
    loop_patches: int = option(
        200, "patches that the rasterio loop reads; it is slow on tiles", least=1
    )
    repeats: int = option(3, "how often each takes its turn", least=1)
    scratch: Optional[str] = option(
        None,
        "folder for the HDF5 file; /dev/shm leaves the disk out of the comparison; else the "
        "temporary one",
    )


def archive_windows(root: str, count: int) -> list:
    """For some patches: the twelve files, and no window (the whole file)."""
    names = sorted(archive.list_patches(root))[:count]
    return [
        [(f"{root}/{name}/{name}_{band.name}.tif", None) for band in bands.BANDS] for name in names
    ]


def tile_windows(folder: str, path: str, count: int) -> list:
    """For some patches, spread over the list: the twelve files of the product, and the window
    (left, top, right, bottom) in metres."""
    entries = patchlist.read(path)
    products = tile.find_products(folder)
    windows = []
    for entry in entries[:: max(1, len(entries) // count)][:count]:
        product = products[tile.scene_of(entry.tile, path)][0]
        place = (
            entry.ulx,
            entry.uly - bands.PATCH_METRES,
            entry.ulx + bands.PATCH_METRES,
            entry.uly,
        )
        files = [
            next(
                product.glob(f"GRANULE/*/IMG_DATA/R{b.resolution}m/*_{b.name}_{b.resolution}m.jp2")
            )
            for b in bands.BANDS
        ]
        windows.append([(str(file), place) for file in files])
    return windows


def rasterio_loop(patches: list) -> int:
    """Reads patches in the plain way, and returns how many."""
    for files in patches:
        stack = []
        for path, place in files:
            with rasterio.open(path) as dataset:
                window = from_bounds(*place, transform=dataset.transform) if place else None
                stack.append(
                    dataset.read(
                        1, window=window, out_shape=(SIDE, SIDE), resampling=Resampling.bilinear
                    )
                )
        np.stack(stack)
    return len(patches)


def extraction(config: prepare.Config) -> int:
    """Runs `benchmarks.prepare` in this process, and returns how many patches the file holds."""
    prepare.run(config)
    return len(Store(config.out))


def timed(work, *arguments) -> tuple:
    """(patches per second of wall time, patches per second of processor time) of
    `work(*arguments)`, which returns patches."""
    wall, processor = time.perf_counter(), time.process_time()
    count = work(*arguments)
    return count / (time.perf_counter() - wall), count / (time.process_time() - processor)


def run(config: Config) -> None:
    if (config.archive is None) == (config.tiles is None) or (config.tiles is None) != (
        config.list is None
    ):
        raise InputError(
            "command line: expected --archive DIR, or --tiles DIR and --list FILE; give these"
        )
    if config.archive:
        windows = archive_windows(config.archive, config.loop_patches)
    else:
        windows = tile_windows(config.tiles, config.list, config.loop_patches)
    found = {"rasterio loop": [], "extraction": []}
    with tempfile.TemporaryDirectory(dir=config.scratch) as folder:
        job = prepare.Config(
            archive=config.archive,
            tiles=config.tiles,
            list=config.list,
            out=f"{folder}/patches.h5",
        )
        for _ in range(config.repeats):
            found["rasterio loop"].append(timed(rasterio_loop, windows))
            found["extraction"].append(timed(extraction, job))
    medians = {
        name: [statistics.median(rates) for rates in zip(*turns)] for name, turns in found.items()
    }
    print(f"median of {config.repeats:2d}        patches/s   patches per second of processor time")
    for name, (wall, processor) in medians.items():
        print(f"{name:20}{wall:9.1f}{processor:12.1f}")
    ratios = [fast / slow for fast, slow in zip(medians["extraction"], medians["rasterio loop"])]
    print(f"{'ratio':20}{ratios[0]:9.1f}{ratios[1]:12.1f}")


if __name__ == "__main__":
    cli.main(
        Config,
        run,
        cli.Program(
            module="benchmarks.studies.extraction_speed", description=__doc__.splitlines()[0]
        ),
    )
