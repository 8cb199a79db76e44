"""Shares work out to ranks: the paper's Algorithm 1, longest-processing-time-first, and runs of
blocks finer than a tile."""

import bisect
import heapq
import itertools
from typing import Sequence


def snake(weights: Sequence[float], ranks: int) -> list:
    """Algorithm 1 of the paper: items sorted by weight, dealt to the ranks forwards and backwards
    in turn.

    Args:
        weights: work an item, e.g. patches a tile.
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
