"""Reads samples of a contiguous array out of a file, without HDF5 and its interpreter-wide lock."""

import ctypes
import mmap
import os
import weakref

import numpy as np

from bigearth.errors import InputError, disk_error

_PAGE = os.sysconf("SC_PAGE_SIZE")
# PyDLL: too short a call to be worth giving up the interpreter's lock
_mincore = ctypes.PyDLL(None).mincore
_mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p)
_madvise = ctypes.CDLL(None).madvise  # CDLL: the interpreter's lock is free while it reads
_madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_POPULATE_READ = 22  # MADV_POPULATE_READ of Linux 5.14, which Python does not name
_LARGE = 2 << 20  # bytes of a large page


class Samples:
    """One array of a file, read sample by sample: through a memory map where it is in the page
    cache, with pread where it is not."""

    def __init__(self, file, key: str):
        """Maps the array.

        Args:
            file: anything with `path`, `offsets[key]` and `array(key)`: a `bigearth.store.Store` or
                a `bigearth.learn.input.stage.Staged`.
            key: the array.
        """
        self._path, self._offset = file.path, file.offsets[key]
        self._map = file.array(key)
        self._bytes = self._map.dtype.itemsize * int(np.prod(self._map.shape[1:]))
        self._address = self._map.ctypes.data
        _advise(self._address, self._map.nbytes, mmap.MADV_HUGEPAGE)
        self._file = os.open(file.path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)
        # Linux shows what is in the page cache only to those who own the file or may write it; to
        # others all of it seems to be there
        self._can_tell = os.fstat(self._file).st_uid == os.geteuid() or os.access(
            file.path, os.W_OK
        )

    def prefetch(self, positions: np.ndarray) -> None:
        """Reads long stretches of neighbours into the page cache, in large pages: fewer, larger
        requests than one per sample.

        What it does not read (shorter stretches, Linux before 5.14, a file system without large
        pages, an error) is left to `read`.
        """
        positions = np.sort(positions)
        for stretch in np.split(positions, np.flatnonzero(np.diff(positions) > 1) + 1):
            size = len(stretch) * self._bytes
            # it came, and goes, as a whole
            if size >= _LARGE and not self.cached(stretch[[0, len(stretch) // 2, -1]]):
                _advise(self._address + int(stretch[0]) * self._bytes, size, _POPULATE_READ)

    def read(self, positions: np.ndarray, out: np.ndarray) -> None:
        """Fills out, (n, ...) contiguous, with the samples at positions, (n,).

        Raises:
            InputError: the file cannot be read, or ends too early.
        """
        if self.cached(positions):
            # mode "raise" would gather into a buffer of its own first
            np.take(self._map, positions, axis=0, out=out, mode="clip")
            return
        try:
            for row, position in enumerate(positions.tolist()):
                self._pread(memoryview(out[row]).cast("B"), self._offset + position * self._bytes)
        except OSError as error:
            raise disk_error(self._path, "read a sample", error) from error

    def cached(self, positions: np.ndarray) -> bool:
        """Whether samples are all known to be in the page cache; where they are not, a memory map
        would read them page by page.

        The middle of a sample decides: its ends may be there only because read-ahead for a
        neighbour came that far.
        """
        if not self._can_tell:
            return False
        pages = (self._address + positions * self._bytes + self._bytes // 2) // _PAGE * _PAGE
        resident = bytearray(1)
        vector = (ctypes.c_char * 1).from_buffer(resident)
        return all(_mincore(page, 1, vector) == 0 and resident[0] & 1 for page in pages.tolist())

    def _pread(self, view: memoryview, offset: int) -> None:
        while view:
            count = os.preadv(self._file, [view], offset)
            if count == 0:
                raise InputError(
                    f"{self._path}: ends at byte {offset}, shorter than when it was opened; "
                    "expected a complete file; make it again"
                )
            view, offset = view[count:], offset + count


def _advise(address: int, size: int, advice: int) -> None:
    """madvise(2) on the pages that hold these bytes. Advice only: that the system does not know or
    take it changes no result."""
    start = address // _PAGE * _PAGE
    _madvise(start, address + size - start, advice)
