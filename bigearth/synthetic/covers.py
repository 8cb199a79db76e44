"""What the synthetic world is made of: the spectra of materials, and the 43 land covers that are
made of them.

A land cover is one to four materials laid out by a pattern (parcels, clumps, rows ...). Covers are
made to differ by what is in a pixel and around it, not by a patch's mean: mixed forest is
clumps of the materials of the two other forests, complex cultivation has the crops of arable land
in smaller plots.
"""

from typing import NamedTuple

import numpy as np

from bigearth import bands

# Surface reflectance x 10,000 in spectral order, typical values read off Sentinel-2 scenes and the
# usual spectral libraries.
SPECTRAL = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
# fmt: off
MATERIALS = {
    "sea":       (330, 260, 160, 80, 70, 60, 60, 55, 50, 45, 30, 20),
    "lake":      (190, 190, 200, 130, 130, 100, 100, 90, 80, 75, 50, 30),
    "river":     (330, 400, 560, 460, 430, 300, 290, 250, 210, 170, 80, 50),
    "lagoon":    (400, 460, 560, 300, 270, 150, 140, 120, 100, 90, 60, 40),
    "silt":      (480, 590, 760, 740, 690, 470, 430, 380, 310, 250, 90, 60),
    "conifer":   (150, 190, 320, 230, 470, 1250, 1500, 1620, 1730, 1760, 760, 340),
    "broadleaf": (160, 200, 370, 235, 720, 2600, 3300, 3480, 3650, 3600, 1650, 700),
    "leafless":  (230, 290, 400, 420, 800, 1250, 1400, 1500, 1750, 1800, 1950, 1050),
    "sapling":   (190, 240, 410, 320, 800, 1900, 2250, 2400, 2550, 2600, 1500, 720),
    "clearing":  (260, 330, 500, 560, 950, 1550, 1750, 1900, 2150, 2200, 2700, 1650),
    "shrub":     (230, 290, 440, 440, 850, 1600, 1850, 2000, 2150, 2200, 2150, 1250),
    "olive":     (260, 320, 480, 450, 830, 1450, 1650, 1800, 1950, 2000, 1700, 1000),
    "grass":     (240, 330, 630, 390, 1080, 2950, 3700, 3900, 4050, 4000, 2050, 1000),
    "hay":       (330, 450, 780, 700, 1350, 2550, 2950, 3100, 3300, 3300, 2750, 1550),
    "drygrass":  (450, 620, 900, 1100, 1550, 2050, 2250, 2450, 2650, 2700, 3300, 2150),
    "crop":      (230, 310, 600, 330, 980, 3500, 4600, 4850, 4950, 4800, 1650, 680),
    "ripe":      (480, 700, 1050, 1350, 1750, 2150, 2350, 2600, 2750, 2750, 3000, 2050),
    "soil":      (470, 620, 850, 1120, 1350, 1500, 1620, 1750, 1900, 1900, 2650, 2250),
    "paddy":     (330, 400, 640, 480, 800, 1550, 1800, 1900, 1950, 1900, 700, 330),
    "heath":     (210, 260, 380, 430, 750, 1200, 1380, 1500, 1700, 1750, 1750, 1050),
    "moss":      (220, 300, 480, 520, 900, 1450, 1650, 1800, 1980, 1950, 1350, 650),
    "reed":      (240, 310, 470, 470, 850, 1500, 1700, 1850, 2000, 1950, 1150, 560),
    "roof":      (900, 1080, 1230, 1400, 1550, 1700, 1800, 1900, 1950, 1900, 2200, 1950),
    "asphalt":   (650, 740, 830, 880, 980, 1080, 1140, 1200, 1250, 1230, 1400, 1250),
    "hall":      (1900, 2150, 2280, 2380, 2450, 2500, 2550, 2600, 2600, 2500, 2500, 2200),
    "sand":      (1350, 1750, 2250, 2650, 2850, 2950, 3050, 3150, 3250, 3000, 3700, 3100),
    "rock":      (850, 1050, 1200, 1320, 1420, 1500, 1560, 1620, 1700, 1650, 2000, 1800),
    "burnt":     (300, 340, 400, 470, 560, 660, 750, 850, 1000, 1000, 1900, 2000),
    "salt":      (3000, 3500, 3800, 3950, 3900, 3800, 3700, 3600, 3500, 3100, 1300, 1000),
    "snow":      (6200, 6300, 6150, 6100, 5950, 5800, 5700, 5600, 5350, 4700, 650, 550),
    "cloud":     (5200, 5100, 5000, 5050, 5150, 5250, 5350, 5400, 5400, 4600, 4200, 3400),
}
# what a material turns into out of the growing season
WINTER = {
    "broadleaf": "leafless", "sapling": "shrub", "crop": "hay", "ripe": "soil", "grass": "hay",
    "hay": "drygrass", "paddy": "river", "reed": "drygrass",
}


class Cover(NamedTuple):
    """How one land cover looks.

    Attributes:
        materials: one, two or four, separated by blanks; the pattern says where which one lies.
        pattern: a key of the patterns in `landscape._textures`.
        contrast: relative spread of brightness between the pattern's cells (one crop field against
            another).
        grain: relative standard deviation of the pixel-sized texture (tree crowns, roofs).
    """

    materials: str
    pattern: str
    contrast: float = 0.1
    grain: float = 0.05


COVERS = {
    111: Cover("roof asphalt roof roof", "blocks", 0.3, 0.10),
    112: Cover("roof grass broadleaf asphalt", "blocks", 0.2, 0.10),
    121: Cover("hall asphalt hall roof", "plots", 0.3, 0.05),
    122: Cover("asphalt", "plain", 0.0, 0.08),
    123: Cover("asphalt hall asphalt lake", "plots", 0.2, 0.05),
    124: Cover("grass hay asphalt hay", "strips", 0.1, 0.03),
    131: Cover("rock sand rock soil", "patches", 0.3, 0.06),
    132: Cover("soil hall clearing soil", "plots", 0.3, 0.15),
    133: Cover("soil sand asphalt soil", "plots", 0.2, 0.10),
    141: Cover("broadleaf grass", "clumps", 0.1, 0.10),
    142: Cover("crop grass broadleaf sand", "plots", 0.1, 0.03),
    211: Cover("soil crop ripe crop", "fields", 0.2, 0.03),
    212: Cover("crop crop soil crop", "circles", 0.1, 0.03),
    213: Cover("paddy crop paddy paddy", "strips", 0.1, 0.03),
    221: Cover("soil sapling", "rows", 0.1, 0.06),
    222: Cover("hay broadleaf", "orchard", 0.1, 0.06),
    223: Cover("soil olive soil soil", "orchard", 0.1, 0.06),
    231: Cover("grass grass grass hay", "fields", 0.08, 0.03),
    241: Cover("olive ripe soil olive", "strips", 0.15, 0.05),
    242: Cover("soil crop ripe crop", "plots", 0.2, 0.03),
    243: Cover("crop broadleaf ripe conifer", "patches", 0.1, 0.08),
    244: Cover("drygrass olive drygrass drygrass", "orchard", 0.1, 0.06),
    311: Cover("broadleaf", "plain", 0.0, 0.13),
    312: Cover("conifer", "plain", 0.0, 0.13),
    313: Cover("conifer broadleaf", "clumps", 0.0, 0.13),
    321: Cover("drygrass hay", "patches", 0.1, 0.04),
    322: Cover("heath", "patches", 0.1, 0.05),
    323: Cover("olive shrub", "clumps", 0.1, 0.10),
    324: Cover("clearing broadleaf conifer sapling", "patches", 0.1, 0.10),
    331: Cover("sand", "patches", 0.1, 0.03),
    332: Cover("rock", "patches", 0.3, 0.08),
    333: Cover("rock drygrass", "clumps", 0.2, 0.08),
    334: Cover("burnt", "patches", 0.2, 0.06),
    411: Cover("reed lake reed reed", "clumps", 0.1, 0.05),
    412: Cover("moss heath moss moss", "rows", 0.1, 0.05),
    421: Cover("reed silt", "patches", 0.1, 0.05),
    422: Cover("salt lagoon", "plots", 0.2, 0.03),
    423: Cover("silt sand silt silt", "rows", 0.1, 0.03),
    511: Cover("river", "plain", 0.0, 0.03),
    512: Cover("lake", "plain", 0.0, 0.03),
    521: Cover("lagoon", "plain", 0.0, 0.03),
    522: Cover("silt river", "patches", 0.1, 0.03),
    523: Cover("sea", "plain", 0.0, 0.06),
}
LINEAR = {122: 2.0, 511: 5.0}  # covers that are lines, and half their width in pixels
# fmt: on


def spectrum(material: str) -> np.ndarray:
    """(12,) float64 reflectance x 10,000 of a material, in the order of bigearth.bands."""
    return np.array([MATERIALS[material][SPECTRAL.index(name)] for name in bands.NAMES], np.float64)
