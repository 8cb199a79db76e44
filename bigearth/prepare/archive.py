"""Reads a BigEarthNet v1.0 archive: one folder per patch, with twelve GeoTIFFs and a
`*_labels_metadata.json` (Sumbul et al. 2019)."""

import json
import os
from pathlib import Path
from typing import Iterator, NamedTuple

import numpy as np

from bigearth import bands, nomenclature, store
from bigearth.errors import InputError, disk_error
from bigearth.prepare import raster
from bigearth.prepare.selection import PATCH_NAME
from bigearth.prepare.sharing import Block, Clock

BLOCK = 64  # patches that are read together: 32 MB in the file
REMEDY = "unpack the patch again, or leave bad patches out with --on-bad-patch skip"
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
            "S2A_MSIL2A_20170613T101031_87_48; give the folder that holds them"
        )
    return names


class Metadata(NamedTuple):
    """What a patch's JSON file says.

    Attributes:
        classes: (43,) uint8, multi-hot.
        corners: ulx, uly, lrx, lry in metres of its UTM zone.
        epsg: that zone's EPSG code, e.g. 32633.
        tile_source: the Sentinel-2 product that it was cut from.
    """

    classes: np.ndarray
    corners: tuple
    epsg: int
    tile_source: str


def read_metadata(path) -> Metadata:
    """Reads and checks one `*_labels_metadata.json`.

    Raises:
        InputError: missing, malformed, a key is missing or of the wrong type, an unknown label, or
            not 1.2 km x 1.2 km.
    """
    path = os.fspath(path)
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except FileNotFoundError as error:
        raise InputError(
            f"{path}: missing; expected the labels and coordinates of the patch; {REMEDY}"
        ) from error
    except OSError as error:
        raise disk_error(path, "read the labels", error) from error
    except ValueError as error:
        raise InputError(
            f"{path}: malformed JSON ({error}); expected the labels and coordinates "
            f"of the patch; {REMEDY}"
        ) from error

    def field(holder, key, kind, kind_name):
        value = holder.get(key) if isinstance(holder, dict) else None
        if not isinstance(value, kind) or isinstance(value, bool):
            found = "missing" if value is None else f"of type {type(value).__name__}"
            raise InputError(f"{path}: key {key!r} is {found}; expected {kind_name}; {REMEDY}")
        return value

    labels = field(content, "labels", list, "a list of label strings")
    coordinates = field(content, "coordinates", dict, "ulx, uly, lrx and lry in metres")
    corners = tuple(
        field(coordinates, key, (int, float), "a coordinate in metres") for key in CORNERS
    )
    projection = field(content, "projection", str, "the WKT of a UTM zone")
    tile_source = field(content, "tile_source", str, "the name of a Sentinel-2 product")
    field(content, "acquisition_date", str, "a date and time")
    ulx, uly, lrx, lry = corners
    if (lrx - ulx, uly - lry) != (bands.PATCH_METRES, bands.PATCH_METRES):
        raise InputError(
            f"{path}: 'coordinates' span {lrx - ulx} m x {uly - lry} m; expected "
            f"{bands.PATCH_METRES} m x {bands.PATCH_METRES} m; {REMEDY}"
        )
    return Metadata(
        nomenclature.binarise(labels, path),
        corners,
        raster.epsg(projection, path, REMEDY),
        tile_source,
    )


def read_patch(root, name: str, native: dict) -> tuple:
    """Reads the twelve bands and the labels of one patch.

    Args:
        root: the archive.
        name: the patch.
        native: "data_10m" (120, 120, 4), "data_20m" (60, 60, 6), "data_60m" (20, 20, 2) uint16
            arrays to fill.

    Returns:
        classes: (43,) uint8.
        size: bytes of pixels read.

    Raises:
        InputError: a file is missing, damaged or of the wrong size or dtype, or lies elsewhere than
            the JSON file says.
    """
    stem = f"{os.fspath(root)}/{name}/{name}"
    metadata = read_metadata(f"{stem}_labels_metadata.json")
    ulx, uly = metadata.corners[:2]
    size = 0
    for resolution in bands.RESOLUTIONS:
        pixels, side = native[f"data_{resolution}m"], bands.patch_size(resolution)
        expected = (ulx, resolution, 0, uly, 0, -resolution)
        for i, band in enumerate(bands.at(resolution)):
            path = f"{stem}_{band.name}.tif"
            dataset = raster.open_raster(path, "GTiff", (side, side), REMEDY)
            if dataset.GetGeoTransform() != expected:
                raise InputError(
                    f"{path}: georeference {dataset.GetGeoTransform()}; expected "
                    f"{expected}, as its JSON file says; {REMEDY}"
                )
            if band is bands.BANDS[0]:  # one per patch
                found = raster.geotiff_epsg(path) or raster.epsg(
                    dataset.GetProjection(), path, REMEDY
                )
                if found != metadata.epsg:
                    raise InputError(
                        f"{path}: in EPSG:{found}; expected EPSG:{metadata.epsg}, "
                        f"which its JSON file says; {REMEDY}"
                    )
            pixels[..., i] = raster.read_window(dataset, path, remedy=REMEDY)
            size += side * side * 2
    return metadata.classes, size


def find_bad(root, names) -> dict:
    """Reads patches only to find those that cannot be read: name -> what is wrong."""
    native = {key: np.empty(store.ARRAYS[key].shape, np.uint16) for key in store.NATIVE}
    bad = {}
    for name in names:
        try:
            read_patch(root, name, native)
        except InputError as error:
            bad[name] = str(error)
    return bad


class ArchiveSource:
    """An archive as something to extract patches from (see extract.Source).

    Args:
        root: the archive.
        names: sorted patch names, the ones to take.
    """

    def __init__(self, root, names: list):
        self._root = Path(root)
        self._names = names

    def blocks(self) -> list:
        """Runs of `BLOCK` neighbours in the file."""
        return [
            Block(i, None, np.arange(i, min(i + BLOCK, len(self._names))))
            for i in range(0, len(self._names), BLOCK)
        ]

    def pieces(self, blocks: list, clock: Clock) -> Iterator[tuple]:
        """Yields (positions, arrays) a block: its patches' native bands and classes."""
        for block in blocks:
            keys = store.NATIVE + ("classes",)
            arrays = {
                key: np.empty(
                    (len(block.positions),) + store.ARRAYS[key].shape, store.ARRAYS[key].dtype
                )
                for key in keys
            }
            with clock("read"):
                for i, position in enumerate(block.positions):
                    native = {key: arrays[key][i] for key in store.NATIVE}
                    arrays["classes"][i], size = read_patch(
                        self._root, self._names[position], native
                    )
                    clock.bytes_read += size
            yield block.positions, arrays
