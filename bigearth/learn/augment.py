"""Augmentation on the device (paper, section 3.5): rotations by 90 degrees and flips, random windows.

Every random number is a function of (seed, epoch, position of the sample in the file): a sample is treated the same in an
epoch whichever rank, batch or restart it falls in.
"""

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
        start = random_bits(positions, seed, epoch, 2)[:, None] * tf.constant(_MIX_1, tf.int64)
        bits = _shift(_mix(start + _GOLDEN * tf.range(1, width + 1, dtype=tf.int64)), 33)
        return bits < int(rate * 2**31)


def _shift(x, bits: int):
    """Logical (unsigned) right shift of int64."""
    return tf.bitwise.bitwise_and(tf.bitwise.right_shift(x, tf.constant(bits, tf.int64)), tf.constant(2 ** (64 - bits) - 1, tf.int64))


def _mix(x):
    x = tf.bitwise.bitwise_xor(x, _shift(x, 30)) * tf.constant(_MIX_1, tf.int64)
    x = tf.bitwise.bitwise_xor(x, _shift(x, 27)) * tf.constant(_MIX_2, tf.int64)
    return tf.bitwise.bitwise_xor(x, _shift(x, 31))


def rotate_and_flip(images, codes):
    """Applies one of the eight symmetries of the square to each patch.

    Args:
        images: (n, H, H, bands).
        codes: (n,) integers: bit 0 transposes, bit 1 flips rows, bit 2 flips columns, in this order; further bits are ignored.

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
