"""Reads Sentinel-2 Level-2A products: SAFE folders with one JP2 a band and resolution (ESA,
Sentinel-2 Products Specification).

    <product>.SAFE/MTD_MSIL2A.xml
    <product>.SAFE/GRANULE/*/IMG_DATA/R10m/*_B02_10m.jp2, R20m/*_B05_20m.jp2, R60m/*_B01_60m.jp2

Products of processing baseline 04.00 and later hold digital numbers shifted by BOA_ADD_OFFSET,
which is added here (and what then falls below 0 becomes 0), so that digital numbers of all
baselines mean the same: reflectance x 10,000.
"""

import os
import re
import struct
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bigearth import bands
from bigearth.errors import InputError, disk_error
from bigearth.prepare import raster

REMEDY = "download the product again"
# bytes: the JP2 blocks under two neighbouring windows of a full tile, so that none is decoded twice
BLOCK_CACHE = 512 << 20

_PRODUCT = re.compile(
    r"(S2[A-Z])_MSIL(1C|2A)_(\d{8}T\d{6})_N\d{4}_(R\d{3})_(T\d{2}[A-Z]{3})_\d{8}T\d{6}(?:\.SAFE)?"
)
# position of each band in the product's own numbering, `band_id`
_BAND_IDS = {
    name: i
    for i, name in enumerate(
        ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12"]
    )
}


class Scene(NamedTuple):
    """What names one tile at one time, whatever its processing level and baseline."""

    mission: str
    sensing_time: str
    orbit: str
    mgrs: str


def scene_of(product: str, where) -> Scene:
    """The scene that a product's name says.

    Raises:
        InputError: not the name of a Level-1C or Level-2A product.
    """
    match = _PRODUCT.fullmatch(product)
    if not match:
        raise InputError(
            f"{where}: {product!r} is not the name of a Sentinel-2 product; expected one such as "
            "S2A_MSIL2A_20170613T101031_N0205_R022_T33UUP_20170613T101608.SAFE; correct the name"
        )
    mission, _, time, orbit, mgrs = match.groups()
    return Scene(mission, time, orbit, mgrs)


def find_products(folder) -> dict:
    """Scene -> paths of its Level-2A products in a folder, or of its Level-1C ones where there is
    no other.

    Args:
        folder: holds products, or is one itself.

    Raises:
        InputError: the folder cannot be read or holds no product.
    """
    folder = Path(folder)
    levels = {"2A": {}, "1C": {}}
    try:
        for path in [folder] if _PRODUCT.fullmatch(folder.name) else sorted(folder.iterdir()):
            match = _PRODUCT.fullmatch(path.name)
            if match:
                levels[match[2]].setdefault(scene_of(path.name, folder), []).append(path)
    except OSError as error:
        raise disk_error(folder, "read the folder of tiles", error) from error
    if not levels["2A"] and not levels["1C"]:
        raise InputError(
            f"{folder}: no Sentinel-2 product in this folder; expected *.SAFE "
            "folders; give the folder that holds them"
        )
    return {**levels["1C"], **levels["2A"]}


class Tile:
    """One Level-2A product, open for reading.

    Attributes:
        path: the SAFE folder.
        epsg: EPSG code of its UTM zone.
        ulx, uly: upper left corner in metres.
        columns, rows: size in pixels of 10 m.
    """

    def __init__(self, path):
        """Opens all twelve bands and checks them; no pixel is read.

        Raises:
            InputError: not a Level-2A product, a file is missing or cut short, or the bands do not
                fit on each other.
        """
        self.path = Path(path)
        self._offsets = _offsets(self.path)
        raster.set_block_cache(BLOCK_CACHE)
        self._datasets = {band.name: self._open(band) for band in bands.BANDS}
        path, dataset = self._datasets["B02"]
        self.ulx, _, _, self.uly, _, _ = dataset.GetGeoTransform()
        self.epsg = raster.epsg(dataset.GetProjection(), path)
        self.columns, self.rows = dataset.RasterXSize, dataset.RasterYSize
        for band in bands.BANDS:
            path, dataset = self._datasets[band.name]
            expected = (self.ulx, band.resolution, 0, self.uly, 0, -band.resolution)
            if dataset.GetGeoTransform() != expected:
                raise InputError(
                    f"{path}: georeference {dataset.GetGeoTransform()}; expected "
                    f"{expected}, which fits B02; {REMEDY}"
                )
            scale = band.resolution // 10
            if (dataset.RasterXSize * scale, dataset.RasterYSize * scale) != (
                self.columns,
                self.rows,
            ):
                raise InputError(
                    f"{path}: {dataset.RasterXSize} x {dataset.RasterYSize} pixels of "
                    f"{band.resolution} m; expected the area of B02, "
                    f"{self.columns} x {self.rows} pixels of 10 m; {REMEDY}"
                )
            if raster.epsg(dataset.GetProjection(), path) != self.epsg:
                raise InputError(
                    f"{path}: EPSG:{raster.epsg(dataset.GetProjection(), path)}; expected "
                    f"EPSG:{self.epsg} as of B02; {REMEDY}"
                )

    def _open(self, band: bands.Band) -> tuple:
        """(path, dataset) of one band."""
        pattern = f"GRANULE/*/IMG_DATA/R{band.resolution}m/*_{band.name}_{band.resolution}m.jp2"
        found = sorted(self.path.glob(pattern))
        if len(found) != 1:
            raise InputError(
                f"{self.path}: {len(found)} files match {pattern}; expected one, band "
                f"{band.name}; {REMEDY}"
            )
        check_whole(found[0])
        return found[0], raster.open_raster(found[0], "JP2OpenJPEG", None, REMEDY)

    def read(self, resolution: int, column: int, row: int, columns: int, rows: int) -> np.ndarray:
        """Reads a window of all bands of one resolution.

        Args:
            resolution: 10, 20 or 60.
            column, row, columns, rows: the window, in pixels of that resolution.

        Returns:
            (rows, columns, bands) uint16 digital numbers, offset applied, bands in array order.

        Raises:
            InputError: a file is damaged.
        """
        window = np.empty((rows, columns, len(bands.at(resolution))), np.uint16)
        for i, band in enumerate(bands.at(resolution)):
            path, dataset = self._datasets[band.name]
            pixels = raster.read_window(dataset, path, (column, row, columns, rows), REMEDY)
            offset = self._offsets[band.name]
            window[..., i] = (
                pixels if offset == 0 else np.clip(pixels.astype(np.int32) + offset, 0, 65535)
            )
        return window


def _offsets(product: Path) -> dict:
    """Band name -> BOA_ADD_OFFSET, from MTD_MSIL2A.xml; 0 for all in products of before baseline
    04.00.

    Raises:
        InputError: no such file, not XML, or of another processing level.
    """
    path = product / "MTD_MSIL2A.xml"
    if "_MSIL1C_" in product.name or (product / "MTD_MSIL1C.xml").exists():
        raise InputError(
            f"{product}: a Level-1C product; expected Level-2A (surface reflectance); process it "
            "with Sen2Cor or download Level-2A"
        )
    if not path.is_file():
        raise InputError(f"{path}: missing; expected the metadata of a Level-2A product; {REMEDY}")
    try:
        root = ET.parse(path).getroot()
    except (ET.ParseError, OSError) as error:
        raise InputError(
            f"{path}: not readable XML ({error}); expected the metadata of a Level-2A "
            f"product; {REMEDY}"
        ) from error
    level = root.findtext(".//PROCESSING_LEVEL", "missing").strip()
    if not level.startswith("Level-2A"):
        raise InputError(
            f"{path}: processing level is {level}; expected Level-2A (surface reflectance); "
            "process it with Sen2Cor or download Level-2A"
        )
    try:
        baseline = float(root.findtext(".//PROCESSING_BASELINE", "missing"))
        offsets = {int(e.get("band_id")): int(e.text) for e in root.iter("BOA_ADD_OFFSET")}
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{path}: PROCESSING_BASELINE or BOA_ADD_OFFSET is not a number ({error}); {REMEDY}"
        ) from error
    missing = [band.name for band in bands.BANDS if _BAND_IDS[band.name] not in offsets]
    if baseline >= 4 and missing:
        raise InputError(
            f"{path}: no BOA_ADD_OFFSET for {missing[0]}; expected one per band from baseline 04.00 "
            f"on (this is {baseline:05.2f}); {REMEDY}"
        )
    return {band.name: offsets.get(_BAND_IDS[band.name], 0) for band in bands.BANDS}


def check_whole(path) -> None:
    """Checks that a JP2 file ends where its boxes say, and its codestream with the end marker
    (ISO/IEC 15444-1, annexes A and I).

    Raises:
        InputError: cut short, or not a JP2 file.
    """
    wrong = InputError(
        f"{path}: cut short or not a JP2 file; expected a codestream with its end marker; {REMEDY}"
    )
    try:
        size = os.path.getsize(path)
        with open(path, "rb") as file:
            start = 0
            while start < size:
                file.seek(start)
                header = file.read(16)
                if len(header) < 8:
                    raise wrong
                length, kind = struct.unpack(">I4s", header[:8])
                if length == 1 and len(header) == 16:
                    length = struct.unpack(">Q", header[8:])[0]
                end = start + length if length else size
                if length in range(1, 8) or end > size:
                    raise wrong
                if kind == b"jp2c":
                    file.seek(end - 2)
                    if file.read(2) == b"\xff\xd9":
                        return
                    raise wrong
                start = end
    except OSError as error:
        raise disk_error(path, "read the band", error) from error
    raise wrong
