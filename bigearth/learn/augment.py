"""Augmentation on the device (paper, section 3.5): rotations by 90 degrees and flips, mix-up,
random windows.

Every random number is a function of (seed, epoch, position of the sample in the file): a sample is
treated the same in an epoch whichever rank, batch or restart it falls in.
"""

import numpy as np
import tensorflow as tf

# SplitMix64 (Steele et al. 2014): its constants as signed 64-bit integers
_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_MIX_1 = 0xBF58476D1CE4E5B9 - 2**64
_MIX_2 = 0x94D049BB133111EB - 2**64


def random_bits(positions, seed, epoch, stream: int):
    """Independent random integers, one per sample.

    Args:
        positions: (n,) int64.
        seed, epoch: int64 scalars.
        stream: another stream gives other numbers.

    Returns:
        (n,) int64, uniform in [0, 2^31).
    """
    with tf.device("/CPU:0"):  # a few integers: not every device has kernels for them
        state = tf.cast(seed, tf.int64)
        for word in (tf.cast(epoch, tf.int64), tf.constant(stream, tf.int64), positions):
            state = _mix(tf.bitwise.bitwise_xor(state + _GOLDEN, word))
        return _shift(_mix(state + _GOLDEN), 33)


def random_mask(positions, seed, epoch, width: int, rate: float):
    """A random mask for each sample, as dropout wants it.

    Args:
        positions, seed, epoch: as in `random_bits`.
        width: entries per sample.
        rate: share of the entries that are true.

    Returns:
        (n, width) bool.
    """
    with tf.device("/CPU:0"):
        start = random_bits(positions, seed, epoch, stream=2)[:, None] * tf.constant(
            _MIX_1, tf.int64
        )
        bits = _shift(_mix(start + _GOLDEN * tf.range(1, width + 1, dtype=tf.int64)), 33)
        return bits < int(rate * 2**31)


def _shift(x, bits: int):
    """Logical (unsigned) right shift of int64."""
    return tf.bitwise.bitwise_and(
        tf.bitwise.right_shift(x, tf.constant(bits, tf.int64)),
        tf.constant(2 ** (64 - bits) - 1, tf.int64),
    )


def _mix(x):
    x = tf.bitwise.bitwise_xor(x, _shift(x, 30)) * tf.constant(_MIX_1, tf.int64)
    x = tf.bitwise.bitwise_xor(x, _shift(x, 27)) * tf.constant(_MIX_2, tf.int64)
    return tf.bitwise.bitwise_xor(x, _shift(x, 31))


def rotate_and_flip(images, codes):
    """Applies one of the eight symmetries of the square to each patch.

    Args:
        images: (n, H, H, bands).
        codes: (n,) integers: bit 0 transposes, bit 1 flips rows, bit 2 flips columns, in this
            order; further bits are ignored.

    Returns:
        the same shape and dtype.
    """

    def where(bit, changed, x):
        chosen = tf.equal(tf.bitwise.bitwise_and(codes, tf.cast(1 << bit, codes.dtype)), 0)
        return tf.where(chosen[:, None, None, None], x, changed)

    images = where(0, tf.transpose(images, [0, 2, 1, 3]), images)
    images = where(1, tf.reverse(images, [1]), images)
    return where(2, tf.reverse(images, [2]), images)


def random_window(images, window: int, codes):
    """Cuts a square window at a random place out of each patch.

    Args:
        images: (n, H, H, bands).
        window: side of the window, at most H.
        codes: (n,) int64 random integers in [0, 2^31).

    Returns:
        (n, window, window, bands).
    """
    places = images.shape[1] - window + 1
    rows = (codes % places)[:, None] + tf.range(window, dtype=codes.dtype)
    columns = (codes // places % places)[:, None] + tf.range(window, dtype=codes.dtype)
    images = tf.gather(images, rows, axis=1, batch_dims=1)
    return tf.gather(images, columns, axis=2, batch_dims=1)


def beta(positions, seed: int, epoch, alpha: float):
    """A random weight for each sample from Beta(alpha, alpha), (n,) float32; arguments as in
    `random_bits`."""
    with tf.device("/CPU:0"):
        table = tf.constant(beta_quantiles(alpha), tf.float32)
        last = table.shape[0] - 1
        probability = tf.cast(random_bits(positions, seed, epoch, stream=3), tf.float32) / 2.0**31
        place = tf.clip_by_value(probability * (last + 1) - 0.5, 0.0, float(last))
        low = tf.floor(place)
        below = tf.gather(table, tf.cast(low, tf.int32))
        above = tf.gather(table, tf.cast(tf.minimum(low + 1, float(last)), tf.int32))
        return below + (above - below) * (place - low)


def beta_quantiles(alpha: float, count: int = 8192) -> np.ndarray:
    """Quantiles of Beta(alpha, alpha) at the middles of `count` equal parts of 0..1, float64: its
    ends, where the quantile of a large alpha is infinitely steep, are left out."""
    from scipy import stats  # takes a second: only a run with mix-up waits for it

    return stats.beta.ppf((np.arange(count) + 0.5) / count, alpha, alpha)


def mix_up(images, truth, weights):
    """Mixes each patch with another of the batch (Zhang et al. 2018, arXiv:1710.09412), one weight
    per patch.

    Args:
        images: (n, H, W, bands); truth: (n, C) float32; weights: (n,) float32, share of the patch
            itself.

    Returns:
        images and truth of the same shapes: weights x own + (1 - weights) x that of the next patch
        in the batch.
    """
    w = weights[:, None, None, None]
    return w * images + (1 - w) * tf.roll(images, -1, 0), weights[:, None] * truth + (
        1 - weights[:, None]
    ) * tf.roll(truth, -1, 0)
