"""Where synthetic patches lie and which land covers they carry: the real tiles, and co-occurrence
that keeps the real frequencies.

The tiles are the 125 Sentinel-2 scenes of BigEarthNet v1.0 (tiles_125.csv, from the public
metadata, CDLA-Permissive-1.0).
"""

import csv
import functools
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bigearth import nomenclature

CELLS = 91  # patches along the side of a tile
# patches in the official splits, of 590,326
SPLIT_SHARES = {"train": 269_695, "val": 123_723, "test": 125_866}
TILES_CSV = Path(__file__).resolve().parents[1] / "tiles_125.csv"


class Tile(NamedTuple):
    """One Sentinel-2 scene.

    Attributes:
        product: name of the L1C product, a patch's `tile_source`.
        mgrs: tile identifier, e.g. "33UUP".
        prefixes: what its patches' names begin with, e.g. "S2A_MSIL2A_20170613T101031".
    """

    product: str
    mgrs: str
    prefixes: tuple


@functools.lru_cache(maxsize=1)
def tiles() -> tuple:
    """The 125 tiles."""
    with open(TILES_CSV, newline="") as file:
        return tuple(
            Tile(r["tile"], r["mgrs"], tuple(r["acq_prefixes"].split("|")))
            for r in csv.DictReader(file)
        )


def epsg(mgrs: str) -> int:
    """The EPSG code of a tile's UTM zone (WGS 84), e.g. 32633 for "33UUP"."""
    return (32600 if mgrs[2] >= "N" else 32700) + int(mgrs[:2])


def origin(mgrs: str) -> tuple:
    """Upper left corner (x, y) in metres of a northern Sentinel-2 tile: its MGRS square's, on the
    60 m grid, towards the outside."""
    zone, band, column, row = int(mgrs[:2]), mgrs[2], mgrs[3], mgrs[4]
    x = 100_000 * (("STUVWXYZ", "ABCDEFGH", "JKLMNPQR")[zone % 3].index(column) + 1)
    letters = "ABCDEFGHJKLMNPQRSTUV"
    y = 100_000 * ((letters.index(row) - (0 if zone % 2 else 5)) % 20 + 1)
    # Row letters repeat every 2,000 km; the latitude band (8 degrees each from the equator, 111 km
    # a degree) says which one it is.
    middle = ("NPQRSTUVWX".index(band) * 8 + 4) * 111_000
    y += round((middle - y) / 2_000_000) * 2_000_000
    return x // 60 * 60, -(-y // 60) * 60


# Landscapes: share of the patches, then how likely a class (CORINE code) is in such a patch. Rows
# follow the geography of the ten countries; the columns are scaled afterwards so that every class
# has its real frequency. fmt: off
LANDSCAPES = {
    "open sea": (0.080, {523: 1.0}),
    "coast": (
        0.080,
        {
            523: 0.72,
            331: 0.05,
            332: 0.05,
            521: 0.05,
            522: 0.05,
            421: 0.06,
            422: 0.02,
            423: 0.05,
            123: 0.02,
            112: 0.25,
            211: 0.30,
            243: 0.25,
            312: 0.30,
            313: 0.30,
            324: 0.20,
            311: 0.10,
            512: 0.05,
            142: 0.03,
            231: 0.20,
        },
    ),
    "boreal forest": (
        0.210,
        {
            312: 0.70,
            313: 0.70,
            324: 0.55,
            311: 0.30,
            243: 0.15,
            412: 0.13,
            512: 0.32,
            211: 0.10,
            131: 0.01,
            411: 0.01,
            334: 0.001,
        },
    ),
    "boreal farms": (
        0.170,
        {
            312: 0.50,
            313: 0.55,
            324: 0.35,
            211: 0.50,
            243: 0.40,
            311: 0.25,
            512: 0.20,
            112: 0.12,
            231: 0.12,
            411: 0.02,
        },
    ),
    "plains": (
        0.170,
        {
            211: 0.75,
            242: 0.35,
            243: 0.30,
            231: 0.25,
            112: 0.25,
            311: 0.25,
            313: 0.18,
            312: 0.20,
            324: 0.12,
            512: 0.07,
            511: 0.06,
            131: 0.02,
            121: 0.03,
            132: 0.003,
            411: 0.01,
            222: 0.01,
            213: 0.01,
            212: 0.03,
        },
    ),
    "pastures": (
        0.100,
        {
            231: 0.70,
            211: 0.30,
            243: 0.35,
            242: 0.25,
            412: 0.10,
            112: 0.12,
            312: 0.25,
            313: 0.20,
            324: 0.20,
            311: 0.15,
            321: 0.03,
            411: 0.02,
            142: 0.01,
            322: 0.03,
            511: 0.02,
            512: 0.10,
        },
    ),
    "hills": (
        0.085,
        {
            311: 0.75,
            324: 0.45,
            242: 0.40,
            243: 0.50,
            231: 0.25,
            313: 0.40,
            312: 0.30,
            211: 0.15,
            321: 0.08,
            131: 0.01,
            222: 0.02,
            221: 0.05,
            112: 0.10,
        },
    ),
    "south": (
        0.070,
        {
            244: 0.70,
            311: 0.45,
            324: 0.45,
            223: 0.28,
            212: 0.22,
            323: 0.22,
            221: 0.12,
            241: 0.12,
            213: 0.06,
            242: 0.35,
            222: 0.06,
            243: 0.35,
            321: 0.12,
            211: 0.40,
            512: 0.08,
            334: 0.003,
        },
    ),
    "towns": (
        0.022,
        {
            112: 0.92,
            111: 0.60,
            121: 0.60,
            122: 0.18,
            124: 0.06,
            141: 0.10,
            142: 0.18,
            133: 0.06,
            132: 0.05,
            123: 0.03,
            211: 0.40,
            242: 0.20,
            231: 0.15,
            511: 0.12,
            523: 0.05,
        },
    ),
    "mountains": (
        0.013,
        {
            332: 0.35,
            333: 0.18,
            321: 0.50,
            322: 0.35,
            312: 0.50,
            313: 0.20,
            324: 0.30,
            231: 0.20,
            512: 0.05,
        },
    ),
}
# fmt: on


@functools.lru_cache(maxsize=1)
def probabilities() -> tuple:
    """How often a landscape occurs (L,), and the probability (L, 43) that a patch of it carries a
    class."""
    share = np.array([s for s, _ in LANDSCAPES.values()])
    raw = np.array(
        [[row.get(c.code, 0.0) for c in nomenclature.CLASSES] for _, row in LANDSCAPES.values()]
    )
    frequency = np.array([c.count for c in nomenclature.CLASSES]) / nomenclature.ARCHIVE_PATCHES
    return share, raw * (frequency / (share @ raw))


def draw_labels(rng) -> np.ndarray:
    """Ascending class indices of one patch: a landscape, then systematic sampling, which keeps
    every class's probability exactly.

    The number of labels is the sum of the probabilities, rounded up or down (Madow 1949). To
    have poor and rich patches, a common factor first moves all probabilities down or up by as much
    as keeps their means.
    """
    share, probability = probabilities()
    while True:
        row = probability[rng.choice(len(share), p=share)]
        row = row + rng.uniform(-0.8, 0.8) * row * (1 - row)
        order = rng.permutation(len(row))
        steps = np.floor(np.cumsum(row[order]) + rng.random())
        labels = np.sort(order[np.diff(steps, prepend=0.0) > 0])
        # one patch in a thousand has none: where the probabilities add up to less than 1
        if len(labels):
            return labels


def draw_splits(count: int, rng) -> np.ndarray:
    """(count,) shuffled: "train", "val", "test" in the official proportions, and "none" for the
    rest."""
    ends = np.rint(
        np.cumsum(list(SPLIT_SHARES.values())) * (count / nomenclature.ARCHIVE_PATCHES)
    ).astype(int)
    groups = np.full(count, "none", dtype=object)
    for split, start, end in zip(SPLIT_SHARES, (0, *ends), ends):
        groups[start:end] = split
    return rng.permutation(groups)
