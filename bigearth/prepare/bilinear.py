"""Bilinear interpolation of 20 m and 60 m bands to 10 m, a patch at a time, in integers: the same bytes on every machine.

Pixel-area aligned: a 20 m pixel covers 2x2 pixels of 10 m and a 60 m pixel 6x6, so a fine pixel's centre lies (2i + 1 - s) / 2s
coarse pixels from the centre of the coarse pixel it belongs to (i its number inside, s the scale). The weights are therefore whole
numbers over 2s an axis. Outside the patch the edge pixel is repeated.
"""

import numpy as np

from bigearth import bands


def upsample(coarse: np.ndarray, scale: int) -> np.ndarray:
    """Interpolates to a grid `scale` times finer, rounding halves up.

    Args:
        coarse: (N, H, W, C) uint16.
        scale: an even number, 2 or 6.

    Returns:
        (N, H*scale, W*scale, C) uint16.
    """
    total = (2 * scale) ** 2  # at most 144, and 144 * 65535 fits in 32 bits
    wide = _along(_along(coarse.astype(np.uint32), 1, scale), 2, scale)
    wide += total // 2
    wide //= total
    return wide.astype(np.uint16)


def _along(x: np.ndarray, axis: int, scale: int) -> np.ndarray:
    """One axis of `upsample`, not yet divided by the sum of the weights, 2 * scale."""
    size = x.shape[axis]
    before = np.take(x, np.maximum(np.arange(size) - 1, 0), axis)
    after = np.take(x, np.minimum(np.arange(size) + 1, size - 1), axis)
    shape = list(x.shape)
    shape[axis : axis + 1] = [size, scale]
    fine = np.empty(shape, x.dtype)
    for i in range(scale):
        distance = 2 * i + 1 - scale
        neighbour = before if distance < 0 else after
        place = (slice(None),) * (axis + 1) + (i,)
        np.multiply(x, 2 * scale - abs(distance), out=fine[place])
        fine[place] += neighbour * np.uint32(abs(distance))
    shape[axis : axis + 2] = [size * scale]
    return fine.reshape(shape)


def stack(native: dict) -> np.ndarray:
    """`data_super` of some patches from their native bands.

    Args:
        native: "data_10m" (N, 120, 120, 4), "data_20m" (N, 60, 60, 6), "data_60m" (N, 20, 20, 2), all uint16.

    Returns:
        (N, 120, 120, 12) uint16, bands in the order of bigearth.bands.
    """
    fine = [native["data_10m"]] + [upsample(native[f"data_{r}m"], r // 10) for r in bands.RESOLUTIONS[1:]]
    return np.concatenate(fine, axis=-1)
