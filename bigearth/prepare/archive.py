"""Reads BigEarthNet archives: version 1.0, a folder per patch with twelve GeoTIFFs and a
`*_labels_metadata.json` (Sumbul et al. 2019), and version 2.0 (see reben.py)."""

import os
from typing import Iterator

import numpy as np

from bigearth import bands, files, nomenclature, store
from bigearth.errors import InputError, disk_error, one_line
from bigearth.prepare import raster, reben
from bigearth.prepare.selection import PATCH_NAME, Metadata, find_splits
from bigearth.prepare.sharing import Block, Clock

BLOCK = 64  # patches that are read together: 32 MB in the file
REMEDY = "unpack the patch again, or leave bad patches out with --on-bad-patch skip"
MOST_BYTES = 1 << 20  # of a JSON file; real ones have 2 KB
MOST_METRES = 1e8
CORNERS = ("ulx", "uly", "lrx", "lry")


def list_patches(root) -> list:
    """Names of the patch folders in an archive, in no special order; anything else in the folder is
    passed over.

    Raises:
        InputError: the folder cannot be read or holds no patch.
    """
    try:
        with os.scandir(root) as entries:
            names = [e.name for e in entries if PATCH_NAME.fullmatch(e.name) and e.is_dir()]
    except OSError as error:
        raise disk_error(root, "read the archive", error) from error
    if not names:
        raise InputError(
            f"{root}: no patch in this archive; expected folders named like "
            "S2A_MSIL2A_20170613T101031_87_48, or BigEarthNet-S2 and metadata.parquet of version "
            "2.0; give the folder that holds them"
        )
    return names


def read_metadata(path) -> Metadata:
    """Reads and checks one `*_labels_metadata.json`.

    Raises:
        InputError: missing, malformed, a key is missing or of the wrong type, an unknown label, or
            not 1.2 km x 1.2 km.
    """
    what = "JSON file with the labels and coordinates of a patch"
    files.regular(path, what, REMEDY)
    content = files.read_json(path, what, MOST_BYTES, remedy=REMEDY)

    def field(holder, key, kind, kind_name):
        value = holder.get(key) if isinstance(holder, dict) else None
        if not isinstance(value, kind) or isinstance(value, bool):
            found = "missing" if value is None else f"of type {type(value).__name__}"
            raise InputError(f"{path}: key {key!r} is {found}; expected {kind_name}; {REMEDY}")
        return value

    def metres(key):
        value = field(coordinates, key, (int, float), kind_name="a coordinate in metres")
        if not abs(value) < MOST_METRES or value != int(value):
            raise InputError(
                f"{path}: {key!r} is {one_line(value, 40)}; expected a coordinate in whole metres; "
                f"{REMEDY}"
            )
        return int(value)

    labels = field(content, "labels", list, kind_name="a list of label strings")
    coordinates = field(content, "coordinates", dict, kind_name="ulx, uly, lrx and lry in metres")
    ulx, uly, lrx, lry = corners = tuple(metres(key) for key in CORNERS)
    projection = field(content, "projection", str, kind_name="the WKT of a UTM zone")
    tile_source = field(content, "tile_source", str, kind_name="the name of a Sentinel-2 product")
    field(content, "acquisition_date", str, kind_name="a date and time")
    if (lrx - ulx, uly - lry) != (bands.PATCH_METRES, bands.PATCH_METRES):
        raise InputError(
            f"{path}: 'coordinates' span {lrx - ulx} m x {uly - lry} m; expected "
            f"{bands.PATCH_METRES} m x {bands.PATCH_METRES} m; {REMEDY}"
        )
    return Metadata(
        classes=nomenclature.binarise(labels, path),
        corners=corners,
        epsg=raster.epsg(projection, path, REMEDY),
        tile_source=tile_source,
    )


class Version1:
    """An archive of version 1.0: a folder per patch, with its labels in a JSON file.

    Attributes:
        root: the archive's folder.
        labels: names of the classes.
        description: of the file that is made of it.
    """

    labels = nomenclature.LABELS
    description = "BigEarthNet v1.0 archive"

    def __init__(self, root):
        self.root = os.fspath(root)

    def names(self) -> list:
        """All patches; see `list_patches`."""
        return list_patches(self.root)

    def splits(self) -> dict:
        """Patch name -> code into `store.SPLITS`, from its own lists; {} without any."""
        return find_splits(None, self.root)

    def counts(self) -> dict:
        """What the record says of the whole archive."""
        return {}

    def stem(self, name: str) -> str:
        """What the paths of a patch's files begin with."""
        return f"{self.root}/{name}/{name}"

    def metadata(self, name: str) -> Metadata:
        """What its JSON file says; see `read_metadata`."""
        return read_metadata(f"{self.stem(name)}_labels_metadata.json")


def open_archive(root):
    """The archive in a folder, of version 1.0 or 2.0, which is recognised by itself.

    Raises:
        InputError: version 2.0 with metadata that cannot be read.
    """
    found = reben.find(root)
    return reben.Version2(*found) if found else Version1(root)


def read_patch(archive, name: str, native: dict) -> tuple:
    """Reads the twelve bands and the labels of one patch.

    Args:
        archive: from `open_archive`.
        name: the patch.
        native: "data_10m" (120, 120, 4), "data_20m" (60, 60, 6), "data_60m" (20, 20, 2) uint16
            arrays to fill.

    Returns:
        classes: (43,) or (19,) uint8.
        size: bytes of pixels read.

    Raises:
        InputError: a file is missing, damaged or of the wrong size or dtype, or lies elsewhere than
            the metadata say.
    """
    stem, metadata, size = archive.stem(name), archive.metadata(name), 0
    corner = metadata.corners and metadata.corners[:2]
    for resolution in bands.RESOLUTIONS:
        pixels, side = native[f"data_{resolution}m"], bands.patch_size(resolution)
        for i, band in enumerate(bands.at(resolution)):
            path = f"{stem}_{band.name}.tif"
            dataset = raster.open_raster(path, "GTiff", (side, side), remedy=REMEDY)
            place = raster.georeference(dataset, path, REMEDY)
            corner = corner or (place[0], place[3])  # nothing says it: that of the first band
            expected = (corner[0], resolution, 0, corner[1], 0, -resolution)
            if place != expected:
                raise InputError(
                    f"{path}: georeference {place}; expected {expected}, as of the patch; {REMEDY}"
                )
            if band is bands.BANDS[0]:  # one per patch
                found = raster.geotiff_epsg(path) or raster.zone_of(dataset, path, REMEDY)
                if found != metadata.epsg:
                    raise InputError(
                        f"{path}: in EPSG:{found}; expected EPSG:{metadata.epsg}, "
                        f"the patch's own; {REMEDY}"
                    )
            pixels[..., i] = raster.read_window(dataset, path, remedy=REMEDY)
            size += side * side * 2
    return metadata.classes, size


def find_bad(archive, names) -> dict:
    """Reads patches only to find those that cannot be read: name -> what is wrong."""
    native = {key: np.empty(store.ARRAYS[key].shape, np.uint16) for key in store.NATIVE}
    bad = {}
    for name in names:
        try:
            read_patch(archive, name, native)
        except InputError as error:
            bad[name] = str(error)
    return bad


class ArchiveSource:
    """An archive as something to extract patches from (see sharing.Source).

    Args:
        archive: from `open_archive`.
        names: sorted patch names, the ones to take.
    """

    def __init__(self, archive, names: list):
        self._archive = archive
        self._names = names

    def blocks(self) -> list:
        """Runs of `BLOCK` neighbours in the file."""
        return [
            Block(i, None, np.arange(i, min(i + BLOCK, len(self._names))))
            for i in range(0, len(self._names), BLOCK)
        ]

    def pieces(self, blocks: list, clock: Clock) -> Iterator[tuple]:
        """Yields (positions, arrays) of each block: its patches' native bands and classes."""
        layout = store.layout(len(self._archive.labels))
        for block in blocks:
            count = len(block.positions)
            arrays = {
                key: np.empty((count,) + layout[key].shape, layout[key].dtype)
                for key in store.NATIVE + ("classes",)
            }
            with clock("read"):
                for i, position in enumerate(block.positions):
                    native = {key: arrays[key][i] for key in store.NATIVE}
                    arrays["classes"][i], size = read_patch(
                        self._archive, self._names[position], native
                    )
                    clock.bytes_read += size
            yield block.positions, arrays
