"""Synthetic Sentinel-2 Level-2A products (SAFE folders with lossless JPEG 2000 bands) and the
patches to cut from them.

A tile is one landscape: segments of about 800 m, whose covers are drawn by region as geography.py
says, crossed by rivers and roads. It is drawn in strips, so memory stays bounded whatever its size;
the labels of a patch are the covers it really shows.
"""

import functools
import hashlib
import multiprocessing
import os
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
from osgeo import gdal, gdal_array, osr

from bigearth import bands, nomenclature
from bigearth.errors import InputError
from bigearth.prepare import patchlist
from bigearth.progress import Progress
from bigearth.synthetic import geography, landscape
from bigearth.synthetic.covers import LINEAR

gdal.UseExceptions()

MOST = 99  # real acquisitions whose patches have names of their own
FULL_SIZE = 10980  # pixels of 10 m along the side of a Sentinel-2 tile
STRIP = 120  # rows drawn at once: one row of patches
SEGMENT, REGION = 80, 500  # pixels from segment to segment, and from landscape to landscape
SMALLEST_LABEL = 0.05  # share of a patch from which a cover counts as a label
OFFSET = -1000  # BOA_ADD_OFFSET of baseline 04.00 and later
JP2 = ["QUALITY=100", "REVERSIBLE=YES", "YCBCR420=NO"]


class Product(NamedTuple):
    """One product to be drawn.

    Attributes:
        tile: the real tile that it is named after.
        size: pixels of 10 m along its side.
        offset: added to digital numbers to get reflectance x 10,000: 0, or -1000 (baseline 05.00).
        seed: of everything drawn.
    """

    tile: geography.Tile
    size: int
    offset: int
    seed: tuple

    @property
    def name(self) -> str:
        """The SAFE folder's name."""
        mission, _, sensing, baseline, *rest = self.tile.product.split("_")
        return "_".join([mission, "MSIL2A", sensing, "N0500" if self.offset else baseline, *rest])

    def band_path(self, band: bands.Band) -> str:
        """A band's file inside the SAFE folder."""
        _, _, sensing, _, _, tile, stop = self.name[: -len(".SAFE")].split("_")
        suffix = f"{band.resolution}m"
        folder = f"GRANULE/L2A_{tile}_A000000_{stop}/IMG_DATA/R{suffix}"
        return f"{folder}/{tile}_{sensing}_{band.name}_{suffix}.jp2"


class Map(NamedTuple):
    """The land covers of a tile: seeds of the segments (R, C) with their cover (R*C,), and lines
    (angle, offset, half width, cover)."""

    size: int
    seed_y: np.ndarray
    seed_x: np.ndarray
    cover: np.ndarray
    lines: list

    def covers(self, view: landscape.View) -> np.ndarray:
        """(H, W) class indices of a window; the view's rows and columns are positions in the
        tile."""
        warp_y, warp_x = view.warp()
        y, x = view.rows[:, None] + 12 * warp_y, view.columns + 12 * warp_x
        period = (self.size, self.size)
        result = self.cover[
            landscape.nearest_seed(
                y,
                x,
                seed_y=self.seed_y,
                seed_x=self.seed_x,
                period=period,
                scale=(1, 1),
                round_=True,
            )
        ]
        for angle, offset, half, cover in self.lines:
            result[np.abs(y * np.cos(angle) + x * np.sin(angle) - offset) < half] = cover
        return result


@functools.lru_cache(maxsize=1)
def draw_map(size: int, seed: tuple) -> Map:
    """Draws the map of a tile of size x size pixels."""
    rng = np.random.default_rng((*seed, 0))
    period = (size, size)
    share, probability = geography.probabilities()
    line_of = {i: LINEAR[c.code] for i, c in enumerate(nomenclature.CLASSES) if c.code in LINEAR}
    weights = np.array(
        [[0 if i in line_of else p for i, p in enumerate(row)] for row in probability]
    )
    cells = max(1, round(size / SEGMENT))
    seed_y, seed_x = landscape.jittered_grid(rng, cells, cells, period=period)
    regions = max(1, round(size / REGION))
    region_y, region_x = landscape.jittered_grid(rng, regions, regions, period=period)
    kind = rng.choice(len(share), regions * regions, p=share)[
        landscape.nearest_seed(
            seed_y,
            seed_x,
            seed_y=region_y,
            seed_x=region_x,
            period=period,
            scale=(1, 1),
            round_=True,
        ).ravel()
    ]
    ends = np.cumsum(weights, 1)
    cover = np.array(
        [np.searchsorted(ends[k], u * ends[k, -1]) for k, u in zip(kind, rng.random(len(kind)))]
    )
    lines = []
    for index, half in line_of.items():
        for _ in range(max(1, size // 2000)):
            angle = rng.uniform(0, np.pi)
            y, x = rng.uniform(0, size, 2)
            lines.append((angle, y * np.cos(angle) + x * np.sin(angle), half, index))
    return Map(size, seed_y, seed_x, cover=cover, lines=lines)


def draw_strip(product: Product, first: int) -> tuple:
    """Draws the rows from `first` on of a product.

    Returns:
        native: resolution -> (rows, columns, bands) uint16 digital numbers as the product stores
            them.
        labels: a list of (43,) uint8 multi-hot vectors, one for every whole patch in this row of
            the grid, west to east.
    """
    view = landscape.View(
        np.arange(first, min(first + STRIP, product.size)), np.arange(product.size)
    )
    covers = draw_map(product.size, product.seed).covers(view)
    month = int(product.name.split("_")[2][4:6])
    day = landscape.season(month, np.random.default_rng((*product.seed, 1)))
    native = landscape.sense(
        landscape.render(covers, view, day), np.random.default_rng((*product.seed, 2, first))
    )
    if product.offset:
        native = {
            r: (np.minimum(image, 65535 + product.offset) - product.offset).astype(np.uint16)
            for r, image in native.items()
        }
    labels = []
    if len(view.rows) == STRIP:
        for column in range(0, product.size - STRIP + 1, STRIP):
            share = (
                np.bincount(
                    covers[:, column : column + STRIP].ravel(), minlength=len(nomenclature.CLASSES)
                )
                / STRIP**2
            )
            labels.append((share >= min(SMALLEST_LABEL, share.max())).astype(np.uint8))
    return native, labels


def plan(count: int, size: int, seed: int) -> list:
    """Draws which `count` products to make, at most `MOST`; no two share the names of patches.
    Every second one has an offset.

    Raises:
        InputError: the size is not a multiple of 60.
    """
    if size % 60:
        raise InputError(
            f"command line: --tile-size is {size}; expected a multiple of 60 (pixels of 10 m)"
        )
    first = {tile.prefixes[0]: tile for tile in reversed(geography.tiles())}
    chosen = np.random.default_rng((seed, 2)).permutation(sorted(first))[:count]
    return [
        Product(first[prefix], size, OFFSET * (i % 2), seed=(seed, 3, i))
        for i, prefix in enumerate(chosen)
    ]


def write_product(folder: Path, product: Product, pool, progress: Progress) -> list:
    """Writes one SAFE folder into `folder`.

    JPEG 2000 files can only be written whole: the strips are gathered in memory-mapped files beside
    the folder, which go afterwards.

    Args:
        folder: the folder to write into.
        product: what to draw.
        pool: a multiprocessing pool for strips and for the compression of bands.
        progress: counts strips and compressed bands.

    Returns:
        list of (h, v, (43,) uint8 labels) of the patches, row by row.
    """
    scratch = folder / "strips"
    scratch.mkdir()
    images = {
        r: _allocate(scratch / f"{r}.npy", len(bands.at(r)), product.size * 10 // r)
        for r in bands.RESOLUTIONS
    }
    cells = []
    starts = range(0, product.size, STRIP)
    for first, (native, labels) in zip(
        starts, pool.imap(functools.partial(draw_strip, product), starts)
    ):
        for resolution, image in native.items():
            row = first * 10 // resolution
            images[resolution][:, row : row + len(image)] = image.transpose(2, 0, 1)
        cells += [(h, first // STRIP, classes) for h, classes in enumerate(labels)]
        progress.update(1)
    for resolution in bands.RESOLUTIONS:
        (folder / product.name / product.band_path(bands.at(resolution)[0])).parent.mkdir(
            parents=True
        )
    for _ in pool.imap_unordered(functools.partial(_compress, folder, product), bands.BANDS):
        progress.update(1)
    shutil.rmtree(scratch)
    safe = folder / product.name
    (safe / "MTD_MSIL2A.xml").write_text(_metadata(product))
    (safe / "manifest.safe").write_text(_manifest(safe))
    return cells


def _manifest(safe: Path) -> str:
    """`manifest.safe` with the checksum of every file, as in real products."""
    objects = []
    for number, path in enumerate(sorted(path for path in safe.rglob("*") if path.is_file())):
        digest = hashlib.sha3_256(path.read_bytes()).hexdigest()
        objects.append(
            f'    <dataObject ID="file_{number}"><byteStream size="{path.stat().st_size}">'
            f'<fileLocation locatorType="URL" href="./{path.relative_to(safe).as_posix()}"/>'
            f'<checksum checksumName="SHA3-256">{digest}</checksum></byteStream></dataObject>'
        )
    lines = "\n".join(objects)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<xfdu:XFDU xmlns:xfdu="urn:ccsds:schema:xfdu:1">\n'
        f"  <dataObjectSection>\n{lines}\n  </dataObjectSection>\n</xfdu:XFDU>\n"
    )


def _allocate(path: Path, count: int, size: int) -> np.memmap:
    """(count, size, size) uint16 on disk, with its space claimed: a full disk must be an error now,
    not a crash at some page later."""
    image = np.lib.format.open_memmap(path, "w+", np.uint16, (count, size, size))
    with open(path, "r+b") as file:
        os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
    return image


def _compress(folder: Path, product: Product, band: bands.Band) -> None:
    """Writes one band as lossless JPEG 2000."""
    path = folder / product.name / product.band_path(band)
    images = np.load(folder / "strips" / f"{band.resolution}.npy", mmap_mode="r")
    raster = gdal_array.OpenArray(images[bands.at(band.resolution).index(band)])
    reference = osr.SpatialReference()
    reference.ImportFromEPSG(geography.epsg(product.tile.mgrs))
    raster.SetProjection(reference.ExportToWkt())
    x, y = geography.origin(product.tile.mgrs)
    raster.SetGeoTransform((x, band.resolution, 0, y, 0, -band.resolution))
    try:
        gdal.GetDriverByName("JP2OpenJPEG").CreateCopy(str(path), raster, options=JP2)
    except RuntimeError as error:
        raise InputError(
            f"{path}: GDAL cannot write it ({error}); check that the folder is "
            "writable and has free space"
        ) from error


def _metadata(product: Product) -> str:
    """The part of `MTD_MSIL2A.xml` that readers of pixels need (Sentinel-2 product specification,
    S2-PDGS-TAS-DI-PSD)."""
    mission, _, sensing, baseline, orbit, tile, _ = product.name[: -len(".SAFE")].split("_")
    files = "\n".join(
        f"          <IMAGE_FILE>{product.band_path(b)[: -len('.jp2')]}</IMAGE_FILE>"
        for b in bands.BANDS
    )
    granule = product.band_path(bands.BANDS[0]).split("/")[1]
    offsets = ""
    if product.offset:
        lines = "\n".join(
            f'        <BOA_ADD_OFFSET band_id="{i}">{product.offset}</BOA_ADD_OFFSET>'
            for i in range(13)
        )
        offsets = (
            f"      <BOA_ADD_OFFSET_VALUES_LIST>\n{lines}\n      </BOA_ADD_OFFSET_VALUES_LIST>\n"
        )
    date, clock = sensing.split("T")
    time = f"{date[:4]}-{date[4:6]}-{date[6:8]}T{clock[:2]}:{clock[2:4]}:{clock[4:6]}.000Z"
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<n1:Level-2A_User_Product
    xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-2A.xsd">
  <n1:General_Info>
    <Product_Info>
      <PRODUCT_START_TIME>{time}</PRODUCT_START_TIME>
      <PRODUCT_STOP_TIME>{time}</PRODUCT_STOP_TIME>
      <PRODUCT_URI>{product.name}</PRODUCT_URI>
      <PROCESSING_LEVEL>Level-2A</PROCESSING_LEVEL>
      <PRODUCT_TYPE>S2MSI2A</PRODUCT_TYPE>
      <PROCESSING_BASELINE>{baseline[1:3]}.{baseline[3:]}</PROCESSING_BASELINE>
      <Datatake datatakeIdentifier="G{mission}_{sensing}_000000_{baseline[:3]}.{baseline[3:]}">
        <SPACECRAFT_NAME>Sentinel-{mission[1:]}</SPACECRAFT_NAME>
        <DATATAKE_SENSING_START>{time}</DATATAKE_SENSING_START>
        <SENSING_ORBIT_NUMBER>{int(orbit[1:])}</SENSING_ORBIT_NUMBER>
      </Datatake>
      <Product_Organisation>
        <Granule_List>
        <Granule granuleIdentifier="{granule}" datastripIdentifier="synthetic"
            imageFormat="JPEG2000">
{files}
        </Granule>
        </Granule_List>
      </Product_Organisation>
    </Product_Info>
    <Product_Image_Characteristics>
      <Special_Values>
        <SPECIAL_VALUE_TEXT>NODATA</SPECIAL_VALUE_TEXT>
        <SPECIAL_VALUE_INDEX>0</SPECIAL_VALUE_INDEX>
      </Special_Values>
      <QUANTIFICATION_VALUES_LIST>
        <BOA_QUANTIFICATION_VALUE unit="none">10000</BOA_QUANTIFICATION_VALUE>
      </QUANTIFICATION_VALUES_LIST>
{offsets}    </Product_Image_Characteristics>
  </n1:General_Info>
</n1:Level-2A_User_Product>
"""


def write_all(folder: Path, count: int, size: int, seed: int, processes: int) -> int:
    """Writes `count` products and `patches.csv` into the existing folder, and returns how many
    patches that lists.

    Raises:
        InputError: a bad size, or the folder cannot be written.
    """
    chosen = plan(count, size, seed)
    entries, steps = [], count * (-(-size // STRIP) + len(bands.BANDS))
    landscape.prepare()
    with (
        multiprocessing.Pool(processes) as pool,
        Progress(steps, "products", "strips and bands") as progress,
    ):
        for product in chosen:
            x, y = geography.origin(product.tile.mgrs)
            epsg = geography.epsg(product.tile.mgrs)
            for h, v, classes in write_product(folder, product, pool, progress=progress):
                name = f"{product.tile.prefixes[0]}_{h}_{v}"
                entry = patchlist.Entry(
                    name,
                    product.name,
                    epsg,
                    ulx=x + h * bands.PATCH_METRES,
                    uly=y - v * bands.PATCH_METRES,
                    classes=classes,
                    split="none",
                )
                entries.append(entry)
        # let the processes end by themselves: terminating waits for ever where SIGTERM is ignored
        pool.close()
        pool.join()
    splits = geography.draw_splits(len(entries), np.random.default_rng((seed, 4)))
    entries = [
        entry._replace(split=split)
        for entry, split in zip(sorted(entries, key=lambda e: e.name), splits)
    ]
    patchlist.write(folder / "patches.csv", entries)
    return len(entries)
