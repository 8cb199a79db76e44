"""What extraction and its sources share: blocks of patches, and a clock for the stages of the
work."""

import contextlib
import itertools
import time
from typing import Iterator, NamedTuple, Protocol

import numpy as np

from bigearth.prepare import partition

STAGES = ("read", "upsample", "cut", "checksum", "write")


class Block(NamedTuple):
    """The least that a rank gets: patches that are read together.

    Attributes:
        group: number of the tile it is of; blocks of a group follow each other.
        key: what the source needs to find its patches.
        positions: their places in the file, ascending.
    """

    group: int
    key: object
    positions: np.ndarray


class Clock:
    """Where one rank's time goes.

    Attributes:
        seconds: stage -> seconds.
        bytes_read, bytes_written, patches: work done; pixels only.
    """

    def __init__(self):
        self.seconds = dict.fromkeys(STAGES, 0.0)
        self.bytes_read = self.bytes_written = self.patches = 0

    @contextlib.contextmanager
    def __call__(self, stage: str):
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - start


class Source(Protocol):
    """Where patches come from."""

    def blocks(self) -> list:
        """All patches, divided into `Block`s, neighbours in the source one after the other."""

    def pieces(self, blocks: list, clock: Clock) -> Iterator[tuple]:
        """Reads some blocks (of which only some positions may be left), a bounded piece at a time.

        Yields (positions, arrays): arrays are keyed as in the file, one entry a position; `classes`
        and the native bands always, `data_super` where the interpolation is not the patch-wise
        bilinear one.
        """


def share_out(blocks: list, ranks: int, method: str) -> list:
    """The blocks of each rank; `partition.BY_TILE` methods keep a group (a tile) together."""
    units = [[b] for b in blocks]
    if method in partition.BY_TILE:
        units = [list(group) for _, group in itertools.groupby(blocks, key=lambda b: b.group)]
    shares = partition.METHODS[method](
        [sum(len(b.positions) for b in unit) for unit in units], ranks
    )
    return [[b for unit in share for b in units[unit]] for share in shares]
