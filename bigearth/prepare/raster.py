"""Opens and reads one-band uint16 rasters through GDAL; what goes wrong becomes one sentence about
the file."""

import contextlib
import os
import struct

import numpy as np
from osgeo import gdal, osr

from bigearth import files
from bigearth.errors import InputError, one_line

gdal.UseExceptions()
osr.UseExceptions()
# an error becomes an exception; GDAL's own lines on standard error would repeat it
gdal.PushErrorHandler("CPLQuietErrorHandler")
# no listing of the folder at each of millions of opens
gdal.SetConfigOption("GDAL_DISABLE_READDIR_ON_OPEN", "EMPTY_DIR")

ZIPPED = "/vsizip/"  # how GDAL names what lies in a zip file
REMEDY = "copy the file again from its source, or leave it out"


@contextlib.contextmanager
def errors(path, expected: str, remedy: str = REMEDY):
    """Makes whatever GDAL raises in the block one sentence about `path`.

    GDAL reports some damage only when a property is asked for, and not always as the same kind of
    error.

    Raises:
        InputError: cut short or damaged.
    """
    try:
        yield
    except (
        RuntimeError,
        TypeError,
        ValueError,
        MemoryError,
        ArithmeticError,
        SystemError,
    ) as error:
        raise InputError(
            f"{path}: cut short or damaged ({_reason(error)}); expected {expected}; {remedy}"
        ) from error


def open_raster(path, driver: str, size: tuple, remedy: str = REMEDY) -> gdal.Dataset:
    """Opens a raster of one uint16 band.

    Args:
        path: the file.
        driver: GDAL's short name of the expected format, e.g. "GTiff".
        size: expected (columns, rows) in pixels, or None for any.
        remedy: what the user can do, for the end of the sentence.

    Raises:
        InputError: the file is missing, of another format, of another size or dtype.
    """
    path = os.fspath(path)
    if not path.startswith(ZIPPED):
        files.regular(path, f"{driver} raster of one band", remedy)
    try:
        dataset = gdal.OpenEx(path, gdal.OF_RASTER, allowed_drivers=[driver])
    except (RuntimeError, ValueError, TypeError) as error:
        raise InputError(
            f"{path}: not a readable {driver} raster ({_reason(error)}); expected one "
            f"uint16 band; {remedy}"
        ) from error
    with errors(path, "one band of UInt16", remedy):
        count, columns, rows = dataset.RasterCount, dataset.RasterXSize, dataset.RasterYSize
        kind = gdal.GetDataTypeName(dataset.GetRasterBand(1).DataType) if count else "no type"
    if count != 1 or kind != "UInt16":
        raise InputError(
            f"{path}: {count} band(s) of {kind}; expected one band of UInt16; {remedy}"
        )
    if size is not None and (columns, rows) != size:
        raise InputError(
            f"{path}: {columns} x {rows} pixels; expected {size[0]} x {size[1]}; {remedy}"
        )
    return dataset


def georeference(dataset: gdal.Dataset, path, remedy: str = REMEDY) -> tuple:
    """GDAL's six numbers of a raster's place: ulx, metres per column, 0, uly, 0, -metres per row.

    Raises:
        InputError: the file is damaged.
    """
    with errors(path, "a georeference", remedy):
        return dataset.GetGeoTransform()


def read_window(
    dataset: gdal.Dataset, path, window: tuple = None, remedy: str = REMEDY
) -> np.ndarray:
    """Reads a window of the band, or all of it.

    Args:
        dataset: from `open_raster`.
        path: its file, for the error message.
        window: (column, row, columns, rows) in pixels.

    Returns:
        (rows, columns) uint16.

    Raises:
        InputError: the file is cut short or damaged.
    """
    column, row, columns, rows = window or (0, 0, dataset.RasterXSize, dataset.RasterYSize)
    with errors(path, f"{columns} x {rows} readable pixels", remedy):
        raw = dataset.GetRasterBand(1).ReadRaster(column, row, columns, rows)
        return np.frombuffer(raw, np.uint16).reshape(rows, columns)


def zone_of(dataset: gdal.Dataset, path, remedy: str = REMEDY) -> int:
    """The EPSG code of an open raster's projection.

    Raises:
        InputError: it has none, or the file is damaged.
    """
    with errors(path, "a projection", remedy):
        wkt = dataset.GetProjection()
    return epsg(wkt, path, remedy)


# an archive spells a handful of zones, and parsing one costs as much as reading six bands
_epsg_codes = {}


def epsg(wkt: str, path, remedy: str = REMEDY) -> int:
    """The EPSG code of a projection.

    Args:
        wkt: the projection, e.g. `dataset.GetProjection()`.
        path: the file that it is from, for the error message.

    Raises:
        InputError: not a WKT with such a code.
    """
    if wkt not in _epsg_codes:
        try:
            _epsg_codes[wkt] = int(osr.SpatialReference(wkt).GetAuthorityCode(None))
        except (RuntimeError, TypeError, ValueError) as error:
            raise InputError(
                f"{path}: the projection is not a WKT with an EPSG code; expected a UTM zone, e.g. "
                f"EPSG:32633; {remedy}"
            ) from error
    return _epsg_codes[wkt]


def geotiff_epsg(path):
    """The EPSG code that a GeoTIFF's keys name for its projection, or None if that is not plain to
    see in the first 4 KiB of the file.

    GDAL would build the whole projection for it, which costs as much as reading six bands of a
    patch (OGC 19-008r4, annexes A and B: tag 34735 is a list of (key, location, count, value), key
    3072 the projection, 32767 one that has no code).
    """
    try:
        with open(path, "rb") as file:
            head = file.read(4096)
        order, directory = struct.unpack_from("<4sL", head)
        entries = struct.unpack_from("<H", head, directory)[0] if order == b"II*\0" else 0
        for tag, _, length, start in struct.iter_unpack(
            "<HHLL", head[directory + 2 : directory + 2 + 12 * entries]
        ):
            if tag == 34735:
                for key, location, _, value in struct.iter_unpack(
                    "<4H", head[start + 8 : start + 2 * length]
                ):
                    if key == 3072 and location == 0 and value != 32767:
                        return value
    except (struct.error, OSError):
        pass
    return None


def set_block_cache(size: int) -> None:
    """Bytes that GDAL may hold of decoded blocks in this process."""
    gdal.SetCacheMax(size)


def _reason(error: Exception) -> str:
    """GDAL's message on one line, at most 100 letters: it repeats the path."""
    return one_line(error, 100).rstrip(".")
