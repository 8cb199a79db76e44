"""The HDF5 file of patches: the one place that knows its keys, shapes, dtypes and attributes
(paper, section 3.3).

Keys, for N patches (digital numbers are reflectance x 10,000, less the product's offset):

    data_super  (N, 120, 120, 12) uint16   every band at 10 m, in the order of bigearth.bands
    data_10m    (N, 120, 120, 4)  uint16   the native bands
    data_20m    (N, 60, 60, 6)    uint16
    data_60m    (N, 20, 20, 2)    uint16
    classes     (N, 43)           uint8    multi-hot CORINE labels; (N, 19) in format version 2
    patch       (N,)              bytes    patch names, ascending
    split       (N,)              uint8    0 train, 1 val, 2 test, 3 in no split
    checksum    (N, 32)           uint8    SHA-256 of everything above for this patch

Every array is contiguous (not chunked, not compressed) and allocated when the file is created, so
that it can be memory-mapped and written by many MPI ranks at once. Nothing in the file depends on
when, where or by how many ranks it was written.

Format version 1 has the 43 classes of BigEarthNet v1.0. Version 2 has the 19 classes of sources
that know no others (BigEarthNet v2.0); its content digest also covers the attribute `source`.
"""

import errno
import hashlib
import math
import os
import shutil
from typing import NamedTuple

import h5py
import numpy as np

from bigearth import bands, files, nomenclature
from bigearth.errors import InputError, disk_error, one_line
from bigearth.files import new_file

FORMAT = "bigearth-patches"
VERSIONS = {1: len(nomenclature.LABELS), 2: len(nomenclature.LABELS_19)}  # version -> classes
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


def layout(classes: int) -> dict:
    """Key -> `Array` of a file of 43 or 19 classes."""
    return {**ARRAYS, "classes": ARRAYS["classes"]._replace(shape=(classes,))}


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


def content_digest(
    checksums: np.ndarray, interpolation: str, version: int = 1, source: str = ""
) -> str:
    """The file's content digest: "sha256:..." over the format, the interpolation, from version 2 on
    the source, and all patch checksums, (N, 32) uint8."""
    about = f"{FORMAT} {version} {interpolation}" + (f" {source}" if version > 1 else "")
    digest = hashlib.sha256(f"{about}\n".encode())
    digest.update(np.ascontiguousarray(checksums, np.uint8).tobytes())
    return f"sha256:{digest.hexdigest()}"


def create(
    path, names, splits, interpolation: str, source: str, classes: int = ARRAYS["classes"].shape[0]
) -> None:
    """Creates the file with every array allocated, and names and splits written; pixels, labels and
    checksums are still to come.

    Args:
        path: the file (a temporary name: the writer renames it when `finish` is done).
        names: patch names, ascending and unique.
        splits: (N,) uint8 codes into `SPLITS`.
        interpolation: how `data_super` is made: one of `INTERPOLATIONS`.
        source: what the patches were cut from, in words.
        classes: 43, or 19: the source's nomenclature, which says the file's version.

    Raises:
        InputError: the file cannot be created, or the disk is too full for all of it.
    """
    # a run killed in here leaves no file that looks usable
    with new_file(path, f"create it ({len(names) * patch_bytes() / 1e9:.3g} GB)") as fresh:
        _claim(fresh, len(names) * patch_bytes())
        with h5py.File(fresh, "w", libver="earliest") as file:
            file.attrs["format"] = FORMAT
            file.attrs["version"] = next(v for v, count in VERSIONS.items() if count == classes)
            file.attrs["interpolation"] = interpolation
            file.attrs["source"] = source
            file.attrs["labels"] = np.array(
                [label.encode() for label in nomenclature.labels_of(classes)]
            )
            # room for "sha256:" and 64 digits: set by finish() in place
            file.attrs["content_digest"] = np.bytes_("0" * 71)
            for key, array in layout(classes).items():
                dataset = _allocate(file, key, (len(names),) + array.shape, dtype=array.dtype)
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
            digest = content_digest(
                checksums=file["checksum"][...],
                interpolation=_text(file.attrs["interpolation"]),
                version=int(file.attrs["version"]),
                source=_text(file.attrs["source"]),
            )
            file.attrs.modify("content_digest", np.bytes_(digest))
    except OSError as error:
        raise disk_error(path, "write the content digest", error) from error
    return digest


def _text(value) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _heaps_end(head: bytes) -> bool:
    """Whether every global heap (where HDF5 keeps texts of any length) in the first bytes of a file
    comes to an end; the library walks on for ever in one with an object of size 0 (HDF5 file format
    specification, III.E)."""
    start = head.find(b"GCOL")
    while start >= 0:
        end = start + int.from_bytes(head[start + 8 : start + 16], "little")
        place = start + 16
        while place + 16 <= min(end, len(head)):
            index, size = (
                int.from_bytes(head[place + first : place + last], "little")
                for first, last in ((0, 2), (8, 16))
            )
            step = 16 + (size + 7) // 8 * 8 if index else size
            if step == 0 or place + step > end:
                return False
            place += step
        start = head.find(b"GCOL", start + 4)
    return True


class Store:
    """A file of patches, open for reading through memory maps. It stays the file that was opened,
    even if another one gets its name.

    Attributes:
        path: the file.
        size: number of patches N.
        names: (N,) patch names, `numpy.str_`.
        splits: (N,) uint8, codes into `SPLITS`.
        classes: (N, 43) or (N, 19) uint8.
        labels: names of the classes.
        version: of the format.
        arrays: key -> `Array`.
        interpolation, source, digest: the file attributes.
        offsets: key -> byte offset of the array in the file.
    """

    def __init__(self, path, complete: bool = True):
        """Opens the file and checks it against the contract.

        HDF5 itself reads through this descriptor and takes no lock on it, so files on file systems
        without locks can be read.

        Args:
            path: the file.
            complete: refuse a file that its writer has not finished.

        Raises:
            InputError: not an HDF5 file, cut short, incomplete, of another version, or with a
                missing key, a wrong shape or values out of range.
        """
        self.path = os.fspath(path)
        if not os.path.lexists(self.path):
            raise InputError(
                f"{path}: no such file; expected an HDF5 file of patches; check the path, or "
                "prepare one"
            )
        self._file = files.open_regular(self.path, "complete HDF5 file of patches")
        if not _heaps_end(os.pread(self._file.fileno(), 1 << 20, 0)):
            self._refuse("its header", "damaged", "an unchanged file")
        try:
            with h5py.File(self._file, "r") as file:
                self._read(file, complete)
        except InputError:
            raise
        except Exception as error:  # one bad byte makes h5py raise almost anything
            raise InputError(
                f"{path}: not a readable HDF5 file, or one cut short or damaged "
                f"({one_line(error, 80)}); expected a complete file of patches; prepare it again"
            ) from error
        if complete and self._content_digest() != self.digest:
            self._refuse("the content digest", "not that of the checksums", "an unchanged file")

    def _read(self, file, complete: bool) -> None:
        self._check_attributes(file, complete)
        self.arrays = layout(len(self.labels))
        self.size = file["patch"].shape[0]
        self._check_arrays(file)
        self.names = np.char.decode(file["patch"][...], "ascii")
        self.splits = file["split"][...]
        self.classes = file["classes"][...]
        self.offsets = {key: file[key].id.get_offset() for key in ARRAYS}
        if complete and self.size and self.splits.max() >= len(SPLITS):
            self._refuse("key 'split'", f"up to {self.splits.max()}", f"0 to {len(SPLITS) - 1}")
        if complete and self.size and self.classes.max() > 1:
            self._refuse("key 'classes'", f"up to {self.classes.max()}", "0 or 1")

    def _content_digest(self) -> str:
        return content_digest(
            checksums=self.array("checksum"),
            interpolation=self.interpolation,
            version=self.version,
            source=self.source,
        )

    def _refuse(self, key, found, expected):
        raise InputError(
            f"{self.path}: {key} is {one_line(found, 60)}, expected {expected}; "
            "prepare the file again with this version"
        )

    def _check_attributes(self, file, complete: bool) -> None:
        for name in ("format", "version", "interpolation", "source", "labels", "content_digest"):
            if name not in file.attrs:
                self._refuse(f"attribute {name!r}", "missing", "present")
        if _text(file.attrs["format"]) != FORMAT:
            self._refuse("attribute 'format'", repr(_text(file.attrs["format"])), repr(FORMAT))
        self.version = file.attrs["version"].item()
        if self.version not in VERSIONS:
            self._refuse("attribute 'version'", self.version, " or ".join(map(str, VERSIONS)))
        self.interpolation = _text(file.attrs["interpolation"])
        if self.interpolation not in INTERPOLATIONS:
            expected = " or ".join(INTERPOLATIONS)
            self._refuse("attribute 'interpolation'", repr(self.interpolation), expected)
        self.source = _text(file.attrs["source"])
        if self.source != one_line(self.source):
            self._refuse("attribute 'source'", repr(self.source), "one short line of text")
        self.labels = nomenclature.labels_of(VERSIONS[self.version])
        if tuple(_text(label) for label in file.attrs["labels"]) != self.labels:
            expected = f"the {len(self.labels)} CORINE labels in the official order"
            self._refuse("attribute 'labels'", "another list", expected)
        self.digest = _text(file.attrs["content_digest"])
        if complete and not self.digest.startswith("sha256:"):
            found = "not set (the file was never completed)"
            self._refuse("attribute 'content_digest'", found, "sha256:...")

    def _check_arrays(self, file) -> None:
        for key, array in self.arrays.items():
            if key not in file:
                self._refuse(f"key {key!r}", "missing", "present")
            dataset, shape = file[key], (self.size,) + array.shape
            if dataset.shape != shape:
                self._refuse(f"the shape of {key!r}", dataset.shape, shape)
            if dataset.dtype != array.dtype:
                self._refuse(f"the dtype of {key!r}", dataset.dtype, array.dtype)
            offset = dataset.id.get_offset()
            if offset is None:
                self._refuse(f"the layout of {key!r}", "chunked or compressed", "contiguous")
            end = offset + math.prod(shape) * array.dtype.itemsize
            if end > os.fstat(self._file.fileno()).st_size:
                self._refuse(f"key {key!r}", "cut short", f"{end} bytes in the file")
            found = tuple(_text(b) for b in dataset.attrs.get("bands", ()))
            if array.bands and found != array.bands:
                self._refuse(f"attribute 'bands' of {key!r}", "another list", array.bands)

    def __len__(self) -> int:
        return self.size

    def array(self, key: str) -> np.ndarray:
        """A read-only memory map of one array, e.g. `data_super` -> (N, 120, 120, 12) uint16."""
        spec = self.arrays[key]
        shape = (self.size,) + spec.shape
        if not self.size:  # there is no empty memory map
            return np.empty(shape, spec.dtype)
        return np.memmap(self._file, spec.dtype, "r", self.offsets[key], shape)

    def indices(self, split: str) -> np.ndarray:
        """Ascending positions of the patches of a split ("train", "val", "test" or "none"),
        int64."""
        return np.flatnonzero(self.splits == SPLITS.index(split))

    def intact(self, positions: np.ndarray) -> np.ndarray:
        """Whether the data of the patches at `positions` are those that their checksums were taken
        of, (n,) bool; reads them all."""
        result = np.zeros(len(positions), bool)
        for i, position in enumerate(positions):
            stored = self._entry("checksum", position)
            if stored.any():  # an empty checksum: not written yet
                entries = {key: self._entry(key, position) for key in DATA}
                result[i] = np.array_equal(checksums(entries), stored)
        return result

    def _entry(self, key: str, position: int) -> np.ndarray:
        """(1, ...) one patch's entry; not memory-mapped: pages of the whole file would count as
        this process's memory."""
        array = self.arrays[key]
        size = math.prod(array.shape) * array.dtype.itemsize
        raw = os.pread(self._file.fileno(), size, self.offsets[key] + int(position) * size)
        return np.frombuffer(raw, array.dtype).reshape((1,) + array.shape)
