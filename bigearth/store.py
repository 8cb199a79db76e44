"""The HDF5 file of patches: the one place that knows its keys, shapes, dtypes and attributes
(paper, section 3.3).

Keys, for N patches (digital numbers are reflectance x 10,000, less the product's offset):

    data_super  (N, 120, 120, 12) uint16   every band at 10 m, in the order of bigearth.bands
    data_10m    (N, 120, 120, 4)  uint16   the native bands
    data_20m    (N, 60, 60, 6)    uint16
    data_60m    (N, 20, 20, 2)    uint16
    classes     (N, 43)           uint8    multi-hot CORINE labels
    patch       (N,)              bytes    patch names, ascending
    split       (N,)              uint8    0 train, 1 val, 2 test, 3 in no split
    checksum    (N, 32)           uint8    SHA-256 of everything above for this patch

Every array is contiguous (not chunked, not compressed) and allocated when the file is created, so
that it can be memory-mapped and written by many MPI ranks at once. Nothing in the file depends on
when, where or by how many ranks it was written.
"""

import errno
import hashlib
import math
import os
import shutil
from typing import NamedTuple

import h5py
import numpy as np

from bigearth import bands, nomenclature
from bigearth.errors import InputError, disk_error
from bigearth.files import new_file

FORMAT = "bigearth-patches"
VERSION = 1
SPLITS = ("train", "val", "test", "none")
INTERPOLATIONS = ("bilinear", "dsen2")
NAME_BYTES = 64


class Array(NamedTuple):
    """One key of the file: the shape and dtype of a patch's entry, and the bands of its last axis
    (if it has bands)."""

    shape: tuple
    dtype: np.dtype
    bands: tuple


def _pixels(resolution: int, names: tuple) -> Array:
    size = bands.patch_size(resolution)
    return Array((size, size, len(names)), np.dtype("<u2"), names)


ARRAYS = {
    "data_super": _pixels(10, bands.NAMES),
    **{f"data_{r}m": _pixels(r, tuple(b.name for b in bands.at(r))) for r in bands.RESOLUTIONS},
    "classes": Array((len(nomenclature.LABELS),), np.dtype("u1"), ()),
    "patch": Array((), np.dtype(f"S{NAME_BYTES}"), ()),
    "split": Array((), np.dtype("u1"), ()),
    "checksum": Array((32,), np.dtype("u1"), ()),
}
NATIVE = tuple(f"data_{r}m" for r in bands.RESOLUTIONS)
# what a patch's checksum covers, in this order
DATA = tuple(key for key in ARRAYS if key != "checksum")


def patch_bytes() -> int:
    """Bytes one patch takes in the file, over all keys."""
    return sum(int(np.prod(a.shape, dtype=int)) * a.dtype.itemsize for a in ARRAYS.values())


def checksums(arrays: dict) -> np.ndarray:
    """SHA-256 of each of some patches.

    Args:
        arrays: key -> (n, ...) entries, for every key of `DATA`.

    Returns:
        (n, 32) uint8.
    """
    exact = {key: np.ascontiguousarray(arrays[key], ARRAYS[key].dtype) for key in DATA}
    result = np.empty((len(exact["patch"]), 32), np.uint8)
    for i in range(len(result)):
        digest = hashlib.sha256()
        for key in DATA:
            digest.update(exact[key][i : i + 1].data)
        result[i] = np.frombuffer(digest.digest(), np.uint8)
    return result


def content_digest(checksums: np.ndarray, interpolation: str) -> str:
    """The file's content digest: "sha256:..." over the format, the interpolation and all patch
    checksums, (N, 32) uint8."""
    digest = hashlib.sha256(f"{FORMAT} {VERSION} {interpolation}\n".encode())
    digest.update(np.ascontiguousarray(checksums, np.uint8).tobytes())
    return f"sha256:{digest.hexdigest()}"


def create(path, names, splits, interpolation: str, source: str) -> None:
    """Creates the file with every array allocated, and names and splits written; pixels, labels and
    checksums are still to come.

    Args:
        path: the file (a temporary name: the writer renames it when `finish` is done).
        names: patch names, ascending and unique.
        splits: (N,) uint8 codes into `SPLITS`.
        interpolation: how `data_super` is made: one of `INTERPOLATIONS`.
        source: what the patches were cut from, in words.

    Raises:
        InputError: the file cannot be created, or the disk is too full for all of it.
    """
    # a run killed in here leaves no file that looks usable
    with new_file(path, f"create it ({len(names) * patch_bytes() / 1e9:.3g} GB)") as fresh:
        _claim(fresh, len(names) * patch_bytes())
        with h5py.File(fresh, "w", libver="earliest") as file:
            file.attrs["format"] = FORMAT
            file.attrs["version"] = VERSION
            file.attrs["interpolation"] = interpolation
            file.attrs["source"] = source
            file.attrs["labels"] = np.array([label.encode() for label in nomenclature.LABELS])
            # room for "sha256:" and 64 digits: set by finish() in place
            file.attrs["content_digest"] = np.bytes_("0" * 71)
            for key, array in ARRAYS.items():
                dataset = _allocate(file, key, (len(names),) + array.shape, array.dtype)
                if array.bands:
                    dataset.attrs["bands"] = np.array([name.encode() for name in array.bands])
            file["patch"][...] = np.array([name.encode() for name in names], ARRAYS["patch"].dtype)
            file["split"][...] = splits
        _claim(fresh, os.path.getsize(fresh))


def _claim(path, size: int) -> None:
    """Takes the space on the disk now, not after hours of work (HDF5 leaves a sparse file)."""
    with open(path, "ab") as file:
        free = shutil.disk_usage(path).free + os.fstat(file.fileno()).st_blocks * 512
        if size > free:  # known before the system has tried, which can take minutes
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.posix_fallocate(file.fileno(), 0, max(size, 1))


def _allocate(file, key: str, shape: tuple, dtype) -> h5py.Dataset:
    """A contiguous dataset whose place in the file is fixed now and which is never filled."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.CONTIGUOUS)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    properties.set_obj_track_times(False)  # no dates in the file: same content, same bytes
    space = h5py.h5s.create_simple(shape)
    kind = h5py.h5t.py_create(np.dtype(dtype), logical=True)
    return h5py.Dataset(h5py.h5d.create(file.id, key.encode(), kind, space, properties))


def finish(path) -> str:
    """Writes the content digest once every patch is in the file, and returns it."""
    try:
        with h5py.File(path, "r+", libver="earliest") as file:
            digest = content_digest(file["checksum"][...], _text(file.attrs["interpolation"]))
            file.attrs.modify("content_digest", np.bytes_(digest))
    except OSError as error:
        raise disk_error(path, "write the content digest", error) from error
    return digest


def _text(value) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


class Store:
    """A file of patches, open for reading through memory maps.

    Attributes:
        path: the file.
        size: number of patches N.
        names: (N,) patch names, `numpy.str_`.
        splits: (N,) uint8, codes into `SPLITS`.
        classes: (N, 43) uint8.
        interpolation, source, digest: the file attributes.
        offsets: key -> byte offset of the array in the file.
    """

    def __init__(self, path, complete: bool = True):
        """Opens the file and checks it against the contract.

        Args:
            path: the file.
            complete: refuse a file that its writer has not finished.

        Raises:
            InputError: not an HDF5 file, cut short, incomplete, of another version, or with a
                missing key or a wrong shape.
        """
        self.path = os.fspath(path)
        if not os.path.isfile(self.path):
            raise InputError(
                f"{path}: no such file; expected an HDF5 file of patches; check the path, "
                "or prepare one"
            )
        try:
            with h5py.File(self.path, "r") as file:
                self._check(file, complete)
                self.size = file["patch"].shape[0]
                self.names = np.char.decode(file["patch"][...], "ascii")
                self.splits = file["split"][...]
                self.classes = file["classes"][...]
                self.interpolation = _text(file.attrs["interpolation"])
                self.source = _text(file.attrs["source"])
                self.digest = _text(file.attrs["content_digest"])
                self.offsets = {key: file[key].id.get_offset() for key in ARRAYS}
        except OSError as error:
            raise InputError(
                f"{path}: not a readable HDF5 file, or one cut short ({error}); expected a "
                "complete file of patches; "
                "prepare it again"
            ) from error

    def _check(self, file, complete: bool) -> None:
        def refuse(key, found, expected):
            raise InputError(
                f"{self.path}: {key} is {found}, expected {expected}; "
                "prepare the file again with this version"
            )

        if "format" not in file.attrs or _text(file.attrs["format"]) != FORMAT:
            refuse(
                "attribute 'format'", repr(_text(file.attrs.get("format", "missing"))), repr(FORMAT)
            )
        if int(file.attrs.get("version", -1)) != VERSION:
            refuse("attribute 'version'", file.attrs.get("version", "missing"), VERSION)
        for attribute in ("interpolation", "source", "labels", "content_digest"):
            if attribute not in file.attrs:
                refuse(f"attribute {attribute!r}", "missing", "present")
        if [_text(label) for label in file.attrs["labels"]] != list(nomenclature.LABELS):
            refuse(
                "attribute 'labels'", "another list", "the 43 CORINE labels in the official order"
            )
        for key in ARRAYS:
            if key not in file:
                refuse(f"key {key!r}", "missing", "present")
        count = file["patch"].shape[0]
        for key, array in ARRAYS.items():
            dataset = file[key]
            if dataset.shape != (count,) + array.shape:
                refuse(f"the shape of {key!r}", dataset.shape, (count,) + array.shape)
            if dataset.dtype != array.dtype:
                refuse(f"the dtype of {key!r}", dataset.dtype, array.dtype)
            if dataset.id.get_offset() is None:
                refuse(f"the layout of {key!r}", "chunked or compressed", "contiguous")
            if (
                array.bands
                and tuple(_text(b) for b in dataset.attrs.get("bands", ())) != array.bands
            ):
                refuse(f"attribute 'bands' of {key!r}", "another list", array.bands)
        if complete and not _text(file.attrs["content_digest"]).startswith("sha256:"):
            refuse(
                "attribute 'content_digest'", "not set (the file was never completed)", "sha256:..."
            )

    def __len__(self) -> int:
        return self.size

    def array(self, key: str) -> np.ndarray:
        """A read-only memory map of one array, e.g. `data_super` -> (N, 120, 120, 12) uint16."""
        spec = ARRAYS[key]
        return np.memmap(self.path, spec.dtype, "r", self.offsets[key], (self.size,) + spec.shape)

    def indices(self, split: str) -> np.ndarray:
        """Ascending positions of the patches of a split ("train", "val", "test" or "none"),
        int64."""
        return np.flatnonzero(self.splits == SPLITS.index(split))

    def intact(self, positions: np.ndarray) -> np.ndarray:
        """Whether the data of the patches at `positions` are those that their checksums were taken
        of, (n,) bool; reads them all."""
        result = np.zeros(len(positions), bool)
        # not memory-mapped: pages of the whole file would count as this process's memory
        with open(self.path, "rb") as file:

            def read(key, position):
                array = ARRAYS[key]
                count = math.prod(array.shape)
                file.seek(self.offsets[key] + position * count * array.dtype.itemsize)
                return np.fromfile(file, array.dtype, count).reshape((1,) + array.shape)

            for i, position in enumerate(positions):
                stored = read("checksum", position)
                if stored.any():  # an empty checksum: not written yet
                    result[i] = np.array_equal(
                        checksums({key: read(key, position) for key in DATA}), stored
                    )
        return result
