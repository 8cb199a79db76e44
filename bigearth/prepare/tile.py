"""Reads Sentinel-2 Level-2A products: SAFE folders, or zip files of them, with one JP2 per band and
resolution (ESA, Sentinel-2 Products Specification).

    <product>.SAFE/MTD_MSIL2A.xml
    <product>.SAFE/GRANULE/*/IMG_DATA/R10m/*_B02_10m.jp2, R20m/*_B05_20m.jp2, R60m/*_B01_60m.jp2

Products of processing baseline 04.00 and later hold digital numbers shifted by BOA_ADD_OFFSET,
which is added here (and what then falls below 0 becomes 0), so that digital numbers of all
baselines mean the same: reflectance x 10,000.
"""

import contextlib
import hashlib
import os
import re
import struct
import xml.etree.ElementTree as ET
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple, Optional

import numpy as np

from bigearth import bands, files
from bigearth.errors import InputError, disk_error, one_line
from bigearth.prepare import raster

REMEDY = "download the product again"
METADATA = "MTD_MSIL2A.xml"
MOST_XML = 50_000_000  # bytes; real files have less than 1 MB
OWN = 9999  # processing baseline (times 100) of a product that Sen2Cor made for a user
CHECKSUMS = ("md5", "sha3_256", "sha256")  # as manifest.safe names them, in Python's spelling
ZIP_ERRORS = (RuntimeError, NotImplementedError, EOFError, zlib.error, ValueError)
# bytes: the JP2 blocks under two neighbouring windows of a full tile, so that none is decoded twice
BLOCK_CACHE = 512 << 20

_PRODUCT = re.compile(
    "(S2[A-Z])_MSIL(1C|2A)_([0-9]{8}T[0-9]{6})_N[0-9]{4}_(R[0-9]{3})_(T[0-9]{2}[A-Z]{3})"
    r"_[0-9]{8}T[0-9]{6}(?:\.SAFE)?(?:\.zip)?"
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
            f"{where}: {one_line(repr(product), 80)} is not the name of a Sentinel-2 product; "
            "expected one such as S2A_MSIL2A_20170613T101031_N0205_R022_T33UUP_20170613T101608"
            ".SAFE; correct the name"
        )
    mission, _, time, orbit, mgrs = match.groups()
    return Scene(mission, time, orbit, mgrs=mgrs)


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
            f"{folder}: no Sentinel-2 product in this folder; expected *.SAFE folders or "
            "*.SAFE.zip files; give the folder that holds them"
        )
    return {**levels["1C"], **levels["2A"]}


class Product:
    """The files of a product: a SAFE folder, or a zip file that holds one, read in place.

    Args:
        path: the folder or zip file.

    Attributes:
        path: as given.
        members: names of its files relative to the SAFE folder, ascending; files that begin with a
            dot (which file managers and archivers leave) are passed over.

    Raises:
        InputError: it cannot be read, or is no zip file of one product.
    """

    def __init__(self, path):
        self.path = Path(path)
        self._root = ""  # of the product inside the zip file
        self._zip = None
        try:
            if self.path.is_dir():
                found = [p.relative_to(self.path).as_posix() for p in self._walk()]
            else:
                files.regular(self.path, "Sentinel-2 product", REMEDY)
                self._zip = zipfile.ZipFile(self.path)
                self._root, found = self._zipped()
        except OSError as error:
            raise disk_error(self.path, "read the product", error) from error
        except (zipfile.BadZipFile, *ZIP_ERRORS) as error:
            raise InputError(
                f"{self.path}: neither a SAFE folder nor a readable zip file of one "
                f"({one_line(error, 60)}); unpack the product, or {REMEDY}"
            ) from error
        hidden = re.compile(r"(^|/)\.")
        self.members = sorted(name for name in found if not hidden.search(name))

    def _walk(self):
        """Paths of all files, in folders that are not hidden."""
        for folder, folders, names in os.walk(self.path):
            folders[:] = [name for name in folders if not name.startswith(".")]
            yield from (Path(folder, name) for name in names)

    def _zipped(self) -> tuple:
        """(folder of the product in the zip file, names of its files in there)."""
        names = [name for name in self._zip.namelist() if not name.endswith("/")]
        metadata = [n for n in names if re.fullmatch(r"([^/]+/)?MTD_MSIL[12][AC]\.xml", n)]
        if len(metadata) != 1:
            raise InputError(
                f"{self.path}: a zip file of {len(metadata)} products; expected one, with its "
                f"MTD_MSIL2A.xml; {REMEDY}"
            )
        root = metadata[0][: metadata[0].rfind("/") + 1]
        return root, [name[len(root) :] for name in names if name.startswith(root)]

    def name(self, member: str) -> str:
        """The path of one of its files, for GDAL and for messages."""
        if self._zip is None:
            return os.fspath(self.path / member)
        return f"{raster.ZIPPED}{{{os.path.realpath(self.path)}}}/{self._root}{member}"

    @contextlib.contextmanager
    def open(self, member: str):
        """One of its files, open for reading as bytes.

        Raises:
            InputError: it cannot be read; also while the block reads it.
        """
        try:
            if self._zip is None:
                source = files.open_regular(self.path / member, "file of a product")
            else:
                source = self._zip.open(self._root + member)
            with source:
                yield source
        except OSError as error:
            raise disk_error(self.name(member), "read it", error) from error
        except (zipfile.BadZipFile, *ZIP_ERRORS) as error:
            raise InputError(
                f"{self.name(member)}: damaged in its zip file ({one_line(error, 60)}); {REMEDY}"
            ) from error

    def read(self, member: str, most: int = MOST_XML) -> bytes:
        """The content of a small file.

        Raises:
            InputError: it cannot be read, or has more than `most` bytes.
        """
        with self.open(member) as source:
            content = source.read(most + 1)
        if len(content) > most:
            raise InputError(f"{self.name(member)}: larger than {most:,} bytes; {REMEDY}")
        return content

    def xml(self, member: str) -> ET.Element:
        """The root of an XML file.

        Raises:
            InputError: it cannot be read, or is not XML.
        """
        try:
            return ET.fromstring(self.read(member))
        except (ET.ParseError, ValueError, LookupError, RecursionError) as error:
            raise InputError(
                f"{self.name(member)}: not readable XML ({one_line(error, 80)}); expected the "
                f"metadata of a Level-2A product; {REMEDY}"
            ) from error

    def verify(self, members) -> None:
        """Compares files with the checksums that `manifest.safe` has of them, if it has.

        Raises:
            InputError: a file is not the one that was published.
        """
        if "manifest.safe" not in self.members:
            return
        wanted = {}
        for stream in self.xml("manifest.safe").iter("byteStream"):
            place, checksum = stream.find("fileLocation"), stream.find("checksum")
            if place is not None and checksum is not None:
                href = place.get("href", "")
                wanted[href[2:] if href.startswith("./") else href] = checksum
        for member in (m for m in members if m in wanted):
            name = wanted[member].get("checksumName", "").lower().replace("-", "_")
            if name not in CHECKSUMS:
                continue
            digest = hashlib.new(name)
            with self.open(member) as source:
                for chunk in iter(lambda source=source: source.read(1 << 20), b""):
                    digest.update(chunk)
            if digest.hexdigest() != (wanted[member].text or "").strip().lower():
                raise InputError(
                    f"{self.name(member)}: differs from its checksum in manifest.safe; expected "
                    f"the file as it was published; {REMEDY}"
                )


class Tile:
    """One Level-2A product, open for reading.

    Attributes:
        path: the SAFE folder, or the zip file that holds it.
        epsg: EPSG code of its UTM zone.
        ulx, uly: upper left corner in metres.
        columns, rows: size in pixels of 10 m.
    """

    def __init__(self, path, own_offset: Optional[int] = None, verify: bool = False):
        """Opens all twelve bands and checks them; no pixel is read.

        Args:
            path: the SAFE folder, or a zip file of it.
            own_offset: BOA_ADD_OFFSET of a product of the user's own Sen2Cor that does not say it.
            verify: also compare all files that are read with the checksums of `manifest.safe`.

        Raises:
            InputError: not a Level-2A product, a file is missing or cut short, or the bands do not
                fit on each other.
        """
        self.path = Path(path)
        product = Product(path)
        self._offsets = _offsets(product, own_offset)
        raster.set_block_cache(BLOCK_CACHE)
        chosen = {band: _member(product, band) for band in bands.BANDS}
        if verify:
            product.verify([METADATA, *chosen.values()])
        self._datasets = {}
        for band, member in chosen.items():
            with product.open(member) as source:
                check_whole(source, product.name(member))
            path = product.name(member)
            dataset = raster.open_raster(path, "JP2OpenJPEG", None, remedy=REMEDY)
            self._datasets[band.name] = path, dataset
        path, dataset = self._datasets["B02"]
        self.ulx, _, _, self.uly, _, _ = raster.georeference(dataset, path, REMEDY)
        self.epsg = raster.zone_of(dataset, path, REMEDY)
        self.columns, self.rows = dataset.RasterXSize, dataset.RasterYSize
        for band in bands.BANDS:
            self._fits(band)

    def _fits(self, band: bands.Band) -> None:
        """Checks that a band covers the area of B02."""
        path, dataset = self._datasets[band.name]
        place = raster.georeference(dataset, path, REMEDY)
        expected = (self.ulx, band.resolution, 0, self.uly, 0, -band.resolution)
        if place != expected:
            raise InputError(
                f"{path}: georeference {place}; expected {expected}, which fits B02; {REMEDY}"
            )
        scale = band.resolution // 10
        columns, rows = dataset.RasterXSize, dataset.RasterYSize
        if (columns * scale, rows * scale) != (self.columns, self.rows):
            raise InputError(
                f"{path}: {columns} x {rows} pixels of {band.resolution} m; expected the area of "
                f"B02, {self.columns} x {self.rows} pixels of 10 m; {REMEDY}"
            )
        found = raster.zone_of(dataset, path, REMEDY)
        if found != self.epsg:
            raise InputError(f"{path}: EPSG:{found}; expected EPSG:{self.epsg} as of B02; {REMEDY}")

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
            pixels = raster.read_window(dataset, path, (column, row, columns, rows), remedy=REMEDY)
            offset = self._offsets[band.name]
            window[..., i] = (
                pixels if offset == 0 else np.clip(pixels.astype(np.int32) + offset, 0, 65535)
            )
        return window


def _member(product: Product, band: bands.Band) -> str:
    """The one file of a band at its own resolution."""
    folder, ending = f"R{band.resolution}m", f"_{band.name}_{band.resolution}m.jp2"
    pattern = rf"GRANULE/[^/]+/IMG_DATA/{folder}/[^/]+{re.escape(ending)}"
    found = [member for member in product.members if re.fullmatch(pattern, member)]
    if len(found) != 1:
        raise InputError(
            f"{product.path}: {len(found)} files match GRANULE/*/IMG_DATA/{folder}/*{ending}; "
            f"expected one, band {band.name}; {REMEDY}"
        )
    return found[0]


def _offsets(product: Product, own_offset: Optional[int]) -> dict:
    """Band name -> BOA_ADD_OFFSET, from MTD_MSIL2A.xml; 0 for all in products of before baseline
    04.00.

    Args:
        own_offset: that of a product of the user's own Sen2Cor which does not say it.

    Raises:
        InputError: no such file, not XML, or of another processing level.
    """
    path = product.name(METADATA)
    _check_level(product)
    root = product.xml(METADATA)
    level = root.findtext(".//PROCESSING_LEVEL", "missing").strip()
    if not level.startswith("Level-2A"):
        raise InputError(
            f"{path}: processing level is {one_line(level, 40)}; expected Level-2A (surface "
            "reflectance); process it with Sen2Cor or download Level-2A"
        )
    baseline = _baseline(root, product)
    scale = root.findtext(".//BOA_QUANTIFICATION_VALUE", "10000").strip()
    if not re.fullmatch(r"10000(\.0*)?", scale):
        raise InputError(
            f"{path}: BOA_QUANTIFICATION_VALUE is {one_line(scale, 40)}; expected 10000; {REMEDY}"
        )
    offsets = {}
    for element in root.iter("BOA_ADD_OFFSET"):
        band, text = element.get("band_id", ""), (element.text or "").strip()
        if not re.fullmatch("[0-9]|1[0-2]", band) or not re.fullmatch("-?[0-9]{1,5}", text):
            raise InputError(
                f"{path}: BOA_ADD_OFFSET of band {one_line(repr(band), 20)} is "
                f"{one_line(repr(text), 40)}; expected a whole number of at most five digits, "
                f"bands 0 to 12; {REMEDY}"
            )
        if offsets.setdefault(int(band), int(text)) != int(text):
            raise InputError(f"{path}: two values of BOA_ADD_OFFSET for band {band}; {REMEDY}")
    missing = [band.name for band in bands.BANDS if _BAND_IDS[band.name] not in offsets]
    if missing and baseline == OWN:
        if own_offset is None:
            raise InputError(
                f"{path}: baseline 99.99 is a product of your own Sen2Cor, and it says no "
                f"BOA_ADD_OFFSET for {missing[0]}; state it with --boa-offset (0, or -1000 from "
                "Sen2Cor 2.10 on)"
            )
        return dict.fromkeys(bands.NAMES, own_offset)
    if missing and baseline >= 400:
        raise InputError(
            f"{path}: no BOA_ADD_OFFSET for {missing[0]}; expected one per band from baseline "
            f"04.00 on (this is {baseline // 100:02d}.{baseline % 100:02d}); {REMEDY}"
        )
    return {band.name: offsets.get(_BAND_IDS[band.name], 0) for band in bands.BANDS}


def _check_level(product: Product) -> None:
    """Refuses what is not a Level-2A product, and says why."""
    if "_MSIL1C_" in product.path.name or "MTD_MSIL1C.xml" in product.members:
        raise InputError(
            f"{product.path}: a Level-1C product; expected Level-2A (surface reflectance); process "
            "it with Sen2Cor or download Level-2A"
        )
    if METADATA in product.members:
        return
    inner = [member for member in product.members if member.endswith(f"/{METADATA}")]
    if inner:
        raise InputError(
            f"{product.path}: the product is one folder deeper, in "
            f"{one_line(inner[0].rpartition('/')[0])}; give the folder that holds it, or move it up"
        )
    raise InputError(
        f"{product.name(METADATA)}: missing; expected the metadata of a Level-2A product; {REMEDY}"
    )


def _baseline(root: ET.Element, product: Product) -> int:
    """PROCESSING_BASELINE times 100, e.g. 509 for "05.09"; the folder's name must agree."""
    text = root.findtext(".//PROCESSING_BASELINE", "missing").strip()
    if not re.fullmatch(r"[0-9]{2}\.[0-9]{2}", text):
        raise InputError(
            f"{product.name(METADATA)}: PROCESSING_BASELINE is {one_line(repr(text), 40)}; "
            f"expected a number such as 05.09; {REMEDY}"
        )
    named = re.search("_N([0-9]{4})_", product.path.name)
    if named and named[1] != text.replace(".", ""):
        raise InputError(
            f"{product.name(METADATA)}: PROCESSING_BASELINE is {text}, the product's name says "
            f"N{named[1]}; expected the same; {REMEDY}"
        )
    return int(text.replace(".", ""))


def check_whole(file, path) -> None:
    """Checks that a JP2 file ends where its boxes say, and its codestream with the end marker
    (ISO/IEC 15444-1, annexes A and I).

    Args:
        file: open for reading as bytes.
        path: for the message.

    Raises:
        InputError: cut short, or not a JP2 file.
    """
    wrong = InputError(
        f"{path}: cut short or not a JP2 file; expected a codestream with its end marker; {REMEDY}"
    )
    size = file.seek(0, os.SEEK_END)
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
    raise wrong
