"""How much faster is extraction than a plain loop that opens twelve files with rasterio a patch, the way torchgeo does?

    python -m benchmarks.extraction_speed --archive BigEarthNet-v1.0
    python -m benchmarks.extraction_speed --tiles TILES --patches patches.csv

Both read the same patches from the same files on one core in the same run. The loop opens, reads and stacks twelve bands a patch,
each resampled bilinearly to 120 x 120 pixels while it is read, and keeps nothing. Extraction does all of its work: metadata, checks,
reading, interpolation, checksums, and the HDF5 file. They take turns; the ratio is of the medians.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = os.environ["GDAL_NUM_THREADS"] = "1"  # one core each

import dataclasses
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Optional

from osgeo import gdal  # noqa: F401  rasterio brings a GDAL of its own: this one must be loaded first

from benchmarks.program import main, option
from bigearth import bands
from bigearth.errors import InputError
from bigearth.prepare import archive, patchlist, tile

SIDE = bands.patch_size(10)


@dataclasses.dataclass(frozen=True)
class Config:
    archive: Optional[str] = option(None, "measure on this BigEarthNet v1.0 archive")
    tiles: Optional[str] = option(None, "measure on the Level-2A products in this folder")
    patches: Optional[str] = option(None, "the list of patches of these products")
    loop_patches: int = option(200, "patches that the rasterio loop reads; it is slow on tiles")
    repeats: int = option(3, "how often each takes its turn")


def archive_windows(root: str, count: int) -> list:
    """For some patches: the twelve files, and no window (the whole file)."""
    names = sorted(archive.list_patches(root))[:count]
    return [[(f"{root}/{name}/{name}_{band.name}.tif", None) for band in bands.BANDS] for name in names]


def tile_windows(folder: str, path: str, count: int) -> list:
    """For some patches, spread over the list: the twelve files of the product, and the window (left, top, right, bottom) in metres."""
    entries = patchlist.read(path)
    products = tile.find_products(folder)
    windows = []
    for entry in entries[:: max(1, len(entries) // count)][:count]:
        product = products[tile.scene_of(entry.tile, path)][0]
        place = (entry.ulx, entry.uly - bands.PATCH_METRES, entry.ulx + bands.PATCH_METRES, entry.uly)
        files = [next(product.glob(f"GRANULE/*/IMG_DATA/R{b.resolution}m/*_{b.name}_{b.resolution}m.jp2")) for b in bands.BANDS]
        windows.append([(str(file), place) for file in files])
    return windows


def rasterio_loop(patches: list) -> float:
    """Patches/s of the plain loop."""
    import numpy as np
    import rasterio
    from rasterio.enums import Resampling
    from rasterio.windows import from_bounds

    start = time.perf_counter()
    for files in patches:
        stack = []
        for path, place in files:
            with rasterio.open(path) as dataset:
                window = from_bounds(*place, transform=dataset.transform) if place else None
                stack.append(dataset.read(1, window=window, out_shape=(SIDE, SIDE), resampling=Resampling.bilinear))
        np.stack(stack)
    return len(patches) / (time.perf_counter() - start)


def extraction(arguments: list, folder: str) -> float:
    """Patches/s of `benchmarks.prepare`, as its record says."""
    from benchmarks import record

    out = Path(folder) / "patches.h5"
    command = [sys.executable, "-m", "benchmarks.prepare", *arguments, "--out", str(out), "--record", str(out) + ".json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise InputError(done.stderr.strip().splitlines()[-1].removeprefix("error: "))
    return record.read(str(out) + ".json")["metrics"]["patch_throughput"]["value"]


def run(config: Config) -> None:
    if (config.archive is None) == (config.tiles is None) or (config.tiles is None) != (config.patches is None):
        raise InputError("command line: expected --archive DIR, or --tiles DIR and --patches LIST; give these")
    if config.loop_patches < 1 or config.repeats < 1:
        raise InputError("command line: expected --loop-patches and --repeats above 0; give others")
    if config.archive:
        windows, arguments = archive_windows(config.archive, config.loop_patches), ["--archive", config.archive]
    else:
        windows = tile_windows(config.tiles, config.patches, config.loop_patches)
        arguments = ["--tiles", config.tiles, "--patches", config.patches]
    rates = {"rasterio loop": [], "extraction": []}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(config.repeats):
            rates["rasterio loop"].append(rasterio_loop(windows))
            rates["extraction"].append(extraction(arguments, folder))
    for name, found in rates.items():
        print(f"{name:15}{statistics.median(found):9.1f} patches/s   ({', '.join(f'{rate:.1f}' for rate in found)})")
    medians = [statistics.median(found) for found in rates.values()]
    print(f"ratio          {medians[1] / medians[0]:9.1f}")


if __name__ == "__main__":
    main(Config, run, "benchmarks.extraction_speed", __doc__.splitlines()[0])
