"""Synthetic BigEarthNet: an archive of patches in the exact format on disk of version 1.0, made
from a seed.

    python -m bigearth.synthetic.synthesis --patches N --seed S --out DIR

writes DIR/<patch>/<patch>_B01.tif ... _B12.tif, DIR/<patch>/<patch>_labels_metadata.json,
DIR/train.csv, val.csv, test.csv, and DIR/exclude/ with the lists of snowy and cloudy patches (and
those without a 19-class label), which are in no split, all in the proportions of the real archive.
How the patches look is said in covers.py and landscape.py, which labels they carry in geography.py.
Same seed, same bytes, whatever the number of processes: every patch has a random generator of its
own, from seed and position.
"""

import dataclasses
import datetime
import functools
import io
import json
import multiprocessing
import os
import struct
from pathlib import Path
from typing import Literal, NamedTuple, Optional

import numpy as np
from osgeo import gdal, osr

from bigearth import bands, cli, nomenclature
from bigearth.cli import REQUIRED, option
from bigearth.errors import InputError, disk_error
from bigearth.files import new_folder
from bigearth.prepare import reben
from bigearth.progress import Progress
from bigearth.store import SPLITS
from bigearth.synthetic import geography, landscape, products
from bigearth.synthetic.covers import LINEAR
from bigearth.synthetic.products import FULL_SIZE, MOST

gdal.UseExceptions()

EXCLUDE = {
    "snow": "patches_with_seasonal_snow.csv",
    "cloud": "patches_with_cloud_and_shadow.csv",
    "unmapped": "patches_with_no_19_class_targets.csv",
}
COLD_MONTHS = (1, 2, 3, 4, 11, 12)
WARP = 5  # pixels by which the borders of segments are bent, root mean square


class Patch(NamedTuple):
    """What a patch is before it is drawn.

    Attributes:
        name: e.g. "S2A_MSIL2A_20170613T101031_87_48".
        tile: the tile it lies in.
        ulx, uly: upper left corner in metres.
        labels: (k,) ascending class indices.
        group: a split, or a key of `EXCLUDE`.
        product: in version 2.0 the folder that it lies in, else None.
    """

    name: str
    tile: geography.Tile
    ulx: int
    uly: int
    labels: np.ndarray
    group: str
    product: Optional[str] = None

    @property
    def time(self) -> datetime.datetime:
        """Time of acquisition, as its name says it (leading zeros are dropped there, and seconds
        may run over 59)."""
        date, clock = self.name.split("_")[2].split("T")
        clock = clock.zfill(6)
        start = datetime.datetime.strptime(date + clock[:4], "%Y%m%d%H%M")
        return start + datetime.timedelta(seconds=int(clock[4:]))


def plan(count: int, seed: int, version: int = 1) -> list:
    """Draws names, places, labels and splits of `count` patches, at most as many as the real
    archive has; ascending by name.

    Args:
        version: of the archive: in 2 patches are named as there, and all have a 19-class label.
    """
    rng = np.random.default_rng((seed, 0) if version == 1 else (seed, 0, version))
    places = {}
    while len(places) < count:
        tile = geography.tiles()[rng.integers(len(geography.tiles()))]
        h, v = (int(i) for i in rng.integers(geography.CELLS, size=2))
        places.setdefault(
            f"{tile.prefixes[rng.integers(len(tile.prefixes))]}_{h}_{v}", (tile, h, v)
        )
    patches = []
    for name, group in zip(sorted(places), geography.draw_splits(count, rng)):
        tile, h, v = places[name]
        x, y = geography.origin(tile.mgrs)
        patch = Patch(
            name,
            tile,
            x + h * bands.PATCH_METRES,
            uly=y - v * bands.PATCH_METRES,
            labels=geography.draw_labels(rng),
            group=group,
        )
        if version == 2:
            patch = _in_version_2(patch, rng)
        if group not in geography.SPLIT_SHARES:
            patch = patch._replace(group="snow" if patch.time.month in COLD_MONTHS else "cloud")
        elif not nomenclature.to_19(_multi_hot(patch.labels)).any():
            patch = patch._replace(group="unmapped")
        patches.append(patch)
    return patches


def _in_version_2(patch: Patch, rng) -> Patch:
    """The patch named and labelled as in version 2.0."""
    while not nomenclature.to_19(_multi_hot(patch.labels)).any():
        patch = patch._replace(labels=geography.draw_labels(rng))
    mission, level, time, h, v = patch.name.split("_")
    date, clock = time.split("T")
    orbit = patch.tile.product.split("_")[4]
    product = f"{mission}_{level}_{date}T{clock.zfill(6)}_N9999_{orbit}_T{patch.tile.mgrs}"
    return patch._replace(name=f"{product}_{int(h):02d}_{int(v):02d}", product=product)


def _multi_hot(labels: np.ndarray) -> np.ndarray:
    return np.bincount(labels, minlength=len(nomenclature.CLASSES))


def mosaic(labels: np.ndarray, view: landscape.View, rng) -> np.ndarray:
    """Divides a window among labels: segments with bent borders, and lines (rivers, roads) across
    them.

    There are 4 x 4 segments, and each quarter of the window gets every label (four of them, if
    there are more), so that a part of a patch shows what the whole is labelled with; a segment that
    is left over goes to a label by chance.

    Args:
        labels: (k,) class indices.
        view: the window, H x W.
        rng: random generator.

    Returns:
        (H, W) class indices; every label has a part.
    """
    height, width = len(view.rows), len(view.columns)
    warp_y, warp_x = view.warp()
    y = np.arange(height)[:, None] + WARP * warp_y
    x = np.arange(width) + WARP * warp_x
    lines = [c for c in labels if nomenclature.CLASSES[c].code in LINEAR]
    areas = rng.permutation([c for c in labels if c not in lines] or lines[:1])
    share = rng.dirichlet(np.ones(len(areas)))
    segments = np.empty((4, 4), np.int64)
    for quarter in range(4):
        certain = np.roll(areas, 4 * quarter)[:4]
        four = np.concatenate([certain, rng.choice(areas, 4 - len(certain), p=share)])
        row, column = 2 * (quarter // 2), 2 * (quarter % 2)
        segments[row : row + 2, column : column + 2] = rng.permutation(four).reshape(2, 2)
    period = (height, width)
    seed_y, seed_x = landscape.jittered_grid(rng, 4, 4, period=period)
    nearest = landscape.nearest_seed(
        y, x, seed_y=seed_y, seed_x=seed_x, period=period, scale=(1, 1), round_=True
    )
    drawn = segments.ravel()[nearest]
    for c in lines:
        angle, half = rng.uniform(0, np.pi), LINEAR[nomenclature.CLASSES[c].code]
        cy, cx = height * rng.uniform(0.4, 0.6), width * rng.uniform(0.4, 0.6)
        drawn[np.abs((y - cy) * np.cos(angle) + (x - cx) * np.sin(angle)) < half] = c
    return drawn


def pixels(patch: Patch, seed: int, index: int) -> dict:
    """Draws a patch: resolution in metres -> (size, size, bands) uint16."""
    rng = np.random.default_rng((seed, 1, index))
    size = bands.patch_size(10)
    row, column = (int(i) for i in rng.integers(landscape.SIZE, size=2))
    view = landscape.View(
        np.arange(row, row + size), np.arange(column, column + size), bool(rng.integers(2))
    )
    day = landscape.season(patch.time.month, rng)
    scene = landscape.render(mosaic(patch.labels, view, rng), view, day)
    if patch.group in ("snow", "cloud"):
        landscape.cover_up(scene, view, patch.group, share=rng.uniform(0.05, 0.4), day=day)
    return landscape.sense(scene, rng)


@functools.cache
def _projection(epsg: int) -> str:
    reference = osr.SpatialReference()
    reference.ImportFromEPSG(epsg)
    axes = 'AXIS["Latitude",NORTH],AXIS["Longitude",EAST],'  # real patches spell them out
    return reference.ExportToWkt().replace(
        'AUTHORITY["EPSG","4326"]', axes + 'AUTHORITY["EPSG","4326"]'
    )


@functools.cache
def _geotiff(size: int, resolution: int, epsg: int) -> tuple:
    """The bytes that GDAL writes before and after the pixels of a size x size uint16 GeoTIFF with
    its corner at (1, 2)."""
    path = "/vsimem/template.tif"
    image = gdal.GetDriverByName("GTiff").Create(path, size, size, 1, gdal.GDT_UInt16)
    image.SetProjection(_projection(epsg))
    image.SetGeoTransform((1.0, resolution, 0.0, 2.0, 0.0, -resolution))
    image.GetRasterBand(1).WriteRaster(0, 0, size, size, b"\xa5" * (2 * size * size))
    image = None
    length = gdal.VSIStatL(path).size
    file = gdal.VSIFOpenL(path, "rb")
    content = bytes(gdal.VSIFReadL(1, length, file))
    gdal.VSIFCloseL(file)
    gdal.Unlink(path)
    before, after = content.split(b"\xa5" * (2 * size * size))
    return before, after


def geotiff(image: np.ndarray, resolution: int, epsg: int, ulx: int, uly: int) -> bytes:
    """A GeoTIFF of one band (size, size) uint16: GDAL's own header with the corner set, so
    thousands cost one GDAL call."""
    before, after = _geotiff(len(image), resolution, epsg)
    before = before.replace(struct.pack("<2d", 1.0, 2.0), struct.pack("<2d", ulx, uly))
    return before + image.astype("<u2").tobytes() + after


def metadata(patch: Patch) -> dict:
    """The content of `*_labels_metadata.json`, with the keys of a real one in their order."""
    size = bands.PATCH_METRES
    return {
        "labels": [nomenclature.LABELS[c] for c in patch.labels],
        "coordinates": {
            "ulx": patch.ulx,
            "uly": patch.uly,
            "lrx": patch.ulx + size,
            "lry": patch.uly - size,
        },
        "projection": _projection(geography.epsg(patch.tile.mgrs)),
        "tile_source": patch.tile.product,
        "acquisition_date": str(patch.time),
    }


def write_patch(folder, patch: Patch, native: dict) -> None:
    """Writes a patch's folder into `folder`: twelve GeoTIFFs and the label file; `native` as from
    `pixels`."""
    place = Path(folder, patch.name)
    place.mkdir()
    epsg = geography.epsg(patch.tile.mgrs)
    for resolution, image in native.items():
        for i, band in enumerate(bands.at(resolution)):
            (place / f"{patch.name}_{band.name}.tif").write_bytes(
                geotiff(image[..., i], resolution, epsg, ulx=patch.ulx, uly=patch.uly)
            )
    if patch.product is None:  # version 2.0 has its labels in one table
        (place / f"{patch.name}_labels_metadata.json").write_text(json.dumps(metadata(patch)))


def _draw(task) -> None:
    folder, patch, seed, index = task
    try:
        write_patch(folder, patch, pixels(patch, seed, index))
    except OSError as error:
        raise disk_error(folder, f"write patch {patch.name}", error) from error


def _draw_all(folders: list, patches: list, seed: int, processes: int) -> None:
    """Writes every patch into its folder, by several processes."""
    tasks = ((folders[i], patch, seed, i) for i, patch in enumerate(patches))
    landscape.prepare()
    with (
        multiprocessing.Pool(processes) as pool,
        Progress(len(patches), "synthesis", "patches") as progress,
    ):
        for _ in pool.imap_unordered(_draw, tasks, chunksize=16):
            progress.update(1)
        # let the processes end by themselves: terminating waits for ever where SIGTERM is ignored
        pool.close()
        pool.join()


def write_archive(out, count: int, seed: int, processes: int) -> list:
    """Writes the whole archive as folder `out` and returns its plan.

    Raises:
        InputError: `out` exists, or it cannot be written.
    """
    patches = plan(count, seed)
    with new_folder(out) as folder:
        _draw_all([folder] * count, patches, seed, processes=processes)
        for split in geography.SPLIT_SHARES:
            write_list(folder / f"{split}.csv", patches, split)
        (folder / "exclude").mkdir()
        for group, name in EXCLUDE.items():
            write_list(folder / "exclude" / name, patches, group)
    return patches


def write_archive_v2(out, count: int, seed: int, processes: int) -> list:
    """Writes an archive in the layout of version 2.0 (see prepare.reben) as folder `out` and
    returns its plan; arguments and errors as of `write_archive`.

    Its patches are others than those of version 1.0: each has a label among the 19 classes.
    """
    import polars  # only here: most machines that synthesise have no use for it

    patches = plan(count, seed, version=2)
    with new_folder(out) as folder:
        images = folder / reben.IMAGES
        for product in sorted({patch.product for patch in patches}):
            (images / product).mkdir(parents=True)
        _draw_all([images / patch.product for patch in patches], patches, seed, processes=processes)
        names = {code: name for name, code in reben.SPLITS.items()}
        for path, clear in ((reben.TABLE, True), (reben.LEFT_OUT, False)):
            some = [p for p in patches if (p.group in geography.SPLIT_SHARES) == clear]
            splits = [SPLITS.index(p.group) if clear else 0 for p in some]
            labels = [nomenclature.to_19(_multi_hot(p.labels)) for p in some]
            columns = {
                "patch_id": [patch.name for patch in some],
                "labels": [[nomenclature.LABELS_19[i] for i in np.flatnonzero(x)] for x in labels],
                "split": [names[code] for code in splits],
                "contains_seasonal_snow": [patch.group == "snow" for patch in some],
                "contains_cloud_or_shadow": [patch.group == "cloud" for patch in some],
            }
            kinds = {"labels": polars.List(polars.String), "patch_id": polars.String}
            table = io.BytesIO()  # polars' own words on a full disk are no sentence
            frame = polars.DataFrame(columns, schema_overrides={**kinds, "split": polars.String})
            frame.write_parquet(table)
            (folder / path).write_bytes(table.getbuffer())
    return patches


def write_list(path: Path, patches: list, group: str) -> None:
    """Writes the names of a group, one per line with CRLF ends, as the official lists have them."""
    path.write_bytes("".join(f"{p.name}\r\n" for p in patches if p.group == group).encode())


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of the program."""

    out: str = option(REQUIRED, "new folder to write")
    patches: Optional[int] = option(
        None,
        "write an archive of so many patches",
        least=1,
        most=nomenclature.ARCHIVE_PATCHES,
        group="what to write: --patches or --products",
    )
    products: Optional[int] = option(
        None,
        "write so many Level-2A products, and the list of their patches",
        least=1,
        most=MOST,
        group="what to write: --patches or --products",
    )
    archive_version: Literal["1.0", "2.0"] = option(
        "1.0",
        "layout of the archive: BigEarthNet v1.0 (43 classes), or v2.0, reBEN (19 classes)",
        group="what to write: --patches or --products",
    )
    tile_size: int = option(
        FULL_SIZE,
        "side of a product in pixels of 10 m, a multiple of 60",
        least=120,
        most=FULL_SIZE,
        group="what to write: --patches or --products",
    )
    seed: int = option(0, "of every random number", least=0)
    processes: Optional[int] = option(None, "at work at once; else one per core", least=1)


def run(config: Config) -> None:
    processes = config.processes or len(os.sched_getaffinity(0))
    if (config.patches is None) == (config.products is None):
        raise InputError("command line: expected either --patches or --products; give one of them")
    if config.products is not None:
        with new_folder(config.out) as folder:
            count = products.write_all(
                folder=folder,
                count=config.products,
                size=config.tile_size,
                seed=config.seed,
                processes=processes,
            )
        print(f"{config.out}: {config.products} products, {count} patches in patches.csv")
        return
    write = write_archive if config.archive_version == "1.0" else write_archive_v2
    patches = write(out=config.out, count=config.patches, seed=config.seed, processes=processes)
    groups = (*geography.SPLIT_SHARES, *EXCLUDE)
    counts = {group: sum(p.group == group for p in patches) for group in groups}
    print(
        f"{config.out}: {len(patches)} patches, "
        + ", ".join(f"{n} {group}" for group, n in counts.items())
    )


if __name__ == "__main__":
    cli.main(
        Config,
        run,
        cli.Program(
            module="bigearth.synthetic.synthesis",
            description="Write synthetic BigEarthNet patches, or Sentinel-2 products to cut them "
            "from.",
            example="--patches 1000 --seed 1 --out archive",
        ),
    )
