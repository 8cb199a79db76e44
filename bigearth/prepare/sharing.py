"""Shares work out to ranks: blocks of patches, the paper's Algorithm 1 and two other ways to deal
them, and a clock for the stages of the work."""

import bisect
import contextlib
import heapq
import itertools
import time
from typing import Iterator, NamedTuple, Protocol, Sequence

import numpy as np

STAGES = ("read", "draw", "upsample", "cut", "checksum", "write")


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


def snake(weights: Sequence[float], ranks: int) -> list:
    """Algorithm 1 of the paper: items sorted by weight, dealt to the ranks forwards and backwards
    in turn.

    Args:
        weights: work per item, e.g. patches per tile.
        ranks: how many shares.

    Returns:
        ranks lists of indices into `weights`; every index is in exactly one.
    """
    shares = [[] for _ in range(ranks)]
    for place, item in enumerate(_heaviest_first(weights)):
        lap, rank = divmod(place, ranks)
        shares[rank if lap % 2 == 0 else ranks - 1 - rank].append(item)
    return shares


def longest_first(weights: Sequence[float], ranks: int) -> list:
    """Longest-processing-time-first: each item, heaviest first, goes to the rank with the least
    work so far.

    The largest share is at most 4/3 of the best possible one (Graham 1969). Arguments and result as
    of `snake`.
    """
    shares = [[] for _ in range(ranks)]
    loads = [(0, rank) for rank in range(ranks)]
    for item in _heaviest_first(weights):
        load, rank = heapq.heappop(loads)
        shares[rank].append(item)
        heapq.heappush(loads, (load + weights[item], rank))
    return shares


def contiguous(weights: Sequence[float], ranks: int) -> list:
    """Runs of neighbours: item i goes to the rank in whose equal part of the total work the middle
    of the item lies.

    A share is at most one item above the mean, so small items balance well; neighbours in a tile
    stay together, so that little is read twice. Arguments and result as of `snake`.
    """
    ends = list(itertools.accumulate(weights))
    middles = [end - weight / 2 for end, weight in zip(ends, weights)]
    limits = [
        bisect.bisect_left(middles, ends[-1] * rank / ranks) if ends else 0 for rank in range(ranks)
    ] + [len(ends)]
    return [list(range(start, stop)) for start, stop in zip(limits, limits[1:])]


def _heaviest_first(weights: Sequence[float]) -> list:
    return sorted(range(len(weights)), key=lambda item: (-weights[item], item))


METHODS = {"snake": snake, "longest": longest_first, "blocks": contiguous}
BY_TILE = ("snake", "longest")  # these deal whole tiles, as the paper does


def imbalance(loads: Sequence[float]) -> float:
    """Largest over mean: 1 is perfect, 2 means that the slowest rank takes twice the time of an
    even share; no work is 1."""
    mean = sum(loads) / len(loads)
    return max(loads) / mean if mean else 1.0


def share_out(blocks: list, ranks: int, method: str) -> list:
    """The blocks of each rank; methods of `BY_TILE` keep a group (a tile) together."""
    units = [[b] for b in blocks]
    if method in BY_TILE:
        units = [list(group) for _, group in itertools.groupby(blocks, key=lambda b: b.group)]
    shares = METHODS[method]([sum(len(b.positions) for b in unit) for unit in units], ranks)
    return [[b for unit in share for b in units[unit]] for share in shares]
