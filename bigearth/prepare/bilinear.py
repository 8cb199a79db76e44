"""Bilinear interpolation of 20 m and 60 m bands to 10 m, a patch at a time and exact: the same
bytes on every machine.

Pixel-area aligned: a 20 m pixel covers 2x2 pixels of 10 m and a 60 m pixel 6x6, so a fine pixel's
centre lies (2i + 1 - s) / 2s coarse pixels from the centre of the coarse pixel it belongs to (i its
number inside, s the scale). The weights are therefore whole numbers over 2s an axis. Outside the
patch the edge pixel is repeated. Halves are rounded up.
"""

import functools

import numpy as np

from bigearth import bands


@functools.cache
def weights(size: int, scale: int) -> np.ndarray:
    """(size*scale, size) float32: the share of each coarse pixel in each fine one along an axis,
    times 2 * scale."""
    matrix = np.zeros((size * scale, size), np.float32)
    for fine in range(size * scale):
        coarse, i = divmod(fine, scale)
        distance = 2 * i + 1 - scale
        neighbour = min(max(coarse + (1 if distance > 0 else -1), 0), size - 1)
        matrix[fine, coarse] += 2 * scale - abs(distance)
        matrix[fine, neighbour] += abs(distance)
    return matrix


def upsample(coarse: np.ndarray, scale: int, out: np.ndarray) -> None:
    """Interpolates to a grid `scale` times finer.

    The sums are whole numbers of at most 65,535 * 144 < 2**24, and their quotients at least 1/144
    from the next whole number or on
    it: exact in 32-bit floating point, in any order of addition.

    Args:
        coarse: (N, S, S, C) uint16.
        scale: 2 or 6.
        out: (N, S*scale, S*scale, C) uint16, filled.
    """
    size, count = coarse.shape[1], coarse.shape[3]
    along, total = weights(size, scale), np.float32((2 * scale) ** 2)
    for patch, fine in zip(coarse, out):  # one at a time stays in the cache
        rows = along @ patch.astype(np.float32).reshape(size, size * count)
        sums = along @ rows.reshape(size * scale, size, count)
        sums += total / 2
        sums /= total
        fine[...] = sums  # a whole number or above it: cutting off rounds


def stack(native: dict) -> np.ndarray:
    """`data_super` of some patches from their native bands.

    Args:
        native: "data_10m" (N, 120, 120, 4), "data_20m" (N, 60, 60, 6), "data_60m" (N, 20, 20, 2),
            all uint16.

    Returns:
        (N, 120, 120, 12) uint16, bands in the order of bigearth.bands.
    """
    fine = np.empty(native["data_10m"].shape[:3] + (len(bands.BANDS),), np.uint16)
    start = 0
    for resolution in bands.RESOLUTIONS:
        coarse = native[f"data_{resolution}m"]
        place = fine[..., start : start + coarse.shape[-1]]
        start += coarse.shape[-1]
        if resolution == 10:
            place[...] = coarse
        else:
            upsample(coarse, resolution // 10, place)
    return fine
