"""Bilinear interpolation against plain loops in exact fractions, and against GDAL."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigearth.prepare import bilinear


def loop(coarse, scale):
    """Pixel by pixel in exact arithmetic: centres (i + 1/2)/scale - 1/2, edges repeated, halves
    up."""
    size = len(coarse)
    fine = np.empty((size * scale, size * scale), np.uint16)

    def taps(i):
        centre = Fraction(2 * i + 1, 2 * scale) - Fraction(1, 2)
        low = centre.numerator // centre.denominator
        return [
            (min(max(k, 0), size - 1), weight)
            for k, weight in ((low, 1 - (centre - low)), (low + 1, centre - low))
        ]

    for y in range(size * scale):
        for x in range(size * scale):
            value = sum(wy * wx * int(coarse[ky, kx]) for ky, wy in taps(y) for kx, wx in taps(x))
            fine[y, x] = int(value + Fraction(1, 2))
    return fine


def upsample(coarse, scale):
    out = np.empty((1, len(coarse) * scale, len(coarse) * scale, 1), np.uint16)
    bilinear.upsample(coarse[None, ..., None], scale, out)
    return out[0, ..., 0]


@pytest.mark.parametrize("scale", [2, 6])
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_equals_exact_loop(scale, data):
    high = data.draw(st.sampled_from([3, 10000, 65535]))
    coarse = np.array(
        data.draw(st.lists(st.integers(0, high), min_size=9, max_size=9)), np.uint16
    ).reshape(3, 3)
    assert np.array_equal(upsample(coarse, scale), loop(coarse, scale))


@pytest.mark.parametrize("scale", [2, 6])
def test_extremes_and_constants(scale):
    for value in (0, 1, 65535):
        assert (upsample(np.full((20, 20), value, np.uint16), scale) == value).all()
    checker = (np.indices((20, 20)).sum(0) % 2 * 65535).astype(np.uint16)
    assert np.array_equal(upsample(checker, scale), loop(checker, scale))


def test_stack_puts_bands_in_array_order():
    native = {
        f"data_{r}m": np.zeros((2, 1200 // r, 1200 // r, n), np.uint16)
        for r, n in ((10, 4), (20, 6), (60, 2))
    }
    for key, first in (("data_10m", 0), ("data_20m", 4), ("data_60m", 10)):
        native[key] += np.arange(first, first + native[key].shape[-1], dtype=np.uint16)
    stacked = bilinear.stack(native)
    assert stacked.shape == (2, 120, 120, 12)
    assert (stacked == np.arange(12)).all()
