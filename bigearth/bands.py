"""The twelve Sentinel-2 bands of BigEarthNet: names, resolutions, sizes, statistics, and their
order in every array.

Everywhere in this project a patch's bands come in the order 10 m, 20 m, 60 m, and by name within a
resolution (B8A after B07): that is the order of `data_10m`, `data_20m`, `data_60m`, and
`data_super` is the three joined. B10 (cirrus) carries no surface signal and is not in Level-2A
products.
"""

from typing import NamedTuple

import numpy as np


class Band(NamedTuple):
    """One band.

    Attributes:
        name: as in file names, e.g. "B8A".
        resolution: metres per pixel: 10, 20 or 60.
        wavelength: central wavelength in nm.
        mean, std: statistics over BigEarthNet in digital numbers (reflectance x 10,000), the values
            in common use.
    """

    name: str
    resolution: int
    wavelength: int
    mean: float
    std: float


# fmt: off
BANDS = (
    Band("B02", 10, 490, 429.9430203, 572.41639287),  # blue
    Band("B03", 10, 560, 614.21682446, 582.87945694),  # green
    Band("B04", 10, 665, 590.23569706, 675.88746967),  # red
    Band("B08", 10, 842, 2218.94553375, 1365.45589904),  # near infrared
    Band("B05", 20, 705, 950.68368468, 729.89827633),  # red edge 1
    Band("B06", 20, 740, 1792.46290469, 1096.01480586),  # red edge 2
    Band("B07", 20, 783, 2075.46795189, 1273.45393088),  # red edge 3
    Band("B8A", 20, 865, 2266.46036911, 1356.13789355),  # narrow near infrared
    Band("B11", 20, 1610, 1594.42694882, 1079.19066363),  # shortwave infrared 1
    Band("B12", 20, 2190, 1009.32729131, 818.86747235),  # shortwave infrared 2
    Band("B01", 60, 443, 340.76769064, 554.81258967),  # coastal aerosol
    Band("B09", 60, 945, 2246.0605464, 1302.3292881),  # water vapour
)
# fmt: on

PATCH_METRES = 1200
RESOLUTIONS = (10, 20, 60)
NAMES = tuple(b.name for b in BANDS)
MEAN = np.array([b.mean for b in BANDS], np.float32)
STD = np.array([b.std for b in BANDS], np.float32)
# red, green, blue: the order a picture wants
RGB = tuple(NAMES.index(n) for n in ("B04", "B03", "B02"))


def chosen(bands: str) -> list:
    """Indices into `BANDS` of "multispectral" (all of them), "rgb", or one band's name."""
    if bands == "rgb":
        return list(RGB)
    return list(range(len(NAMES))) if bands == "multispectral" else [NAMES.index(bands)]


def at(resolution: int) -> tuple:
    """The bands of one resolution (10, 20 or 60 m), in array order."""
    return tuple(b for b in BANDS if b.resolution == resolution)


def patch_size(resolution: int) -> int:
    """Pixels along one side of a 1.2 km patch at a resolution in metres: 120, 60 or 20."""
    return PATCH_METRES // resolution
