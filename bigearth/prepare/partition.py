"""Shares work out to ranks: the paper's Algorithm 1 (snake order) and longest-processing-time-first (Graham 1969)."""

import heapq
from typing import Sequence


def snake(weights: Sequence[float], ranks: int) -> list:
    """Algorithm 1 of the paper: items sorted by weight, dealt to the ranks forwards and backwards in turn.

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
    """Longest-processing-time-first: each item, heaviest first, goes to the rank with the least work so far.

    At most 4/3 of the best possible maximum (Graham 1969). Arguments and result as of `snake`.
    """
    shares = [[] for _ in range(ranks)]
    loads = [(0, rank) for rank in range(ranks)]
    for item in _heaviest_first(weights):
        load, rank = heapq.heappop(loads)
        shares[rank].append(item)
        heapq.heappush(loads, (load + weights[item], rank))
    return shares


def _heaviest_first(weights: Sequence[float]) -> list:
    return sorted(range(len(weights)), key=lambda item: (-weights[item], item))


def imbalance(loads: Sequence[float]) -> float:
    """Largest over mean: 1 is perfect, 2 means that the slowest rank takes twice the time that an even share would; no work is 1."""
    mean = sum(loads) / len(loads)
    return max(loads) / mean if mean else 1.0
