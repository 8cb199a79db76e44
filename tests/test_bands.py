"""The band table against the facts of Sentinel-2 and of BigEarthNet."""

import numpy as np
import pytest

from bigearth import bands


def test_twelve_bands_without_b10():
    assert sorted(bands.NAMES) == sorted([f"B{i:02d}" for i in range(1, 13) if i != 10] + ["B8A"])


@pytest.mark.parametrize(
    "resolution, names, side",
    [(10, "B02 B03 B04 B08", 120), (20, "B05 B06 B07 B8A B11 B12", 60), (60, "B01 B09", 20)],
)
def test_resolutions(resolution, names, side):
    assert [band.name for band in bands.at(resolution)] == names.split()
    assert bands.patch_size(resolution) == side


def test_array_order_is_by_resolution():
    assert tuple(band.name for r in bands.RESOLUTIONS for band in bands.at(r)) == bands.NAMES


def test_rgb_are_red_green_blue():
    assert [bands.NAMES[i] for i in bands.RGB] == ["B04", "B03", "B02"]
    assert [bands.BANDS[i].wavelength for i in bands.RGB] == sorted(
        (b.wavelength for b in bands.BANDS if b.name in ("B02", "B03", "B04")), reverse=True
    )


def test_statistics_are_in_array_order():
    assert bands.MEAN.shape == bands.STD.shape == (12,)
    assert bands.MEAN.dtype == np.float32
    assert bands.MEAN[bands.NAMES.index("B09")] == pytest.approx(2246.06, abs=0.01)
    assert bands.STD[bands.NAMES.index("B8A")] == pytest.approx(1356.14, abs=0.01)
