"""Reads samples of a contiguous array out of a file, without HDF5 and its interpreter-wide lock."""

import os
import weakref

import numpy as np

from bigearth.errors import InputError, disk_error


class Samples:
    """One array of a file, read sample by sample: through a memory map where it is in the page cache, with pread where it is not."""

    def __init__(self, file, key: str):
        """Maps the array.

        Args:
            file: anything with `path`, `offsets[key]` and `array(key)`: a `bigearth.store.Store` or a `bigearth.learn.stage.Staged`.
            key: the array.
        """
        self._path, self._offset = file.path, file.offsets[key]
        self._map = file.array(key)
        self._bytes = self._map.dtype.itemsize * int(np.prod(self._map.shape[1:]))
        self._file = os.open(file.path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)

    def read(self, positions: np.ndarray, out: np.ndarray) -> None:
        """Fills out, (n, ...) contiguous, with the samples at positions, (n,).

        Raises:
            InputError: the file cannot be read, or ends too early.
        """
        if all(map(self._cached, positions.tolist())):
            np.take(self._map, positions, axis=0, out=out, mode="clip")  # mode "raise" would gather into a buffer of its own first
            return
        try:
            for row, position in enumerate(positions.tolist()):
                self._pread(memoryview(out[row]).cast("B"), self._offset + position * self._bytes)
        except OSError as error:
            raise disk_error(self._path, "read a sample", error) from error

    def _cached(self, position: int) -> bool:
        """Whether a sample is in the page cache; where it is not, a memory map would read it page by page.

        Its middle byte tells: its ends may be there because read-ahead for a neighbour came that far.
        """
        try:
            middle = self._offset + position * self._bytes + self._bytes // 2
            return os.preadv(self._file, [bytearray(1)], middle, os.RWF_NOWAIT) == 1
        except OSError:  # BlockingIOError: not there; anything else: this file system cannot tell
            return False

    def _pread(self, view: memoryview, offset: int) -> None:
        while view:
            count = os.preadv(self._file, [view], offset)
            if count == 0:
                raise InputError(
                    f"{self._path}: ends at byte {offset}, shorter than when it was opened; expected a complete file; make it again"
                )
            view, offset = view[count:], offset + count
