"""What the synthetic world looks like: materials, the 43 land covers made of them, textures, seasons, and the sensor.

A land cover is one to four materials laid out by a pattern (parcels, clumps, rows ...). Covers are made to be told apart by
what is in a pixel and around it, not by a patch's mean: mixed forest is clumps of the materials of the two other forests, complex
cultivation has the crops of arable land in smaller plots, and the state of a field differs from parcel to parcel and with the season.
"""

import functools
from typing import NamedTuple

import numpy as np

from bigearth import bands, nomenclature

SIZE = 512  # pixels along the side of the periodic textures

# Surface reflectance x 10,000 in spectral order, typical values read off Sentinel-2 scenes and the usual spectral libraries.
_SPECTRAL = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
# fmt: off
_MATERIALS = {
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
_WINTER = {"broadleaf": "leafless", "sapling": "shrub", "crop": "hay", "ripe": "soil", "grass": "hay", "hay": "drygrass",
           "paddy": "river", "reed": "drygrass"}


class Cover(NamedTuple):
    """How one land cover looks.

    Attributes:
        materials: one, two or four, separated by blanks; the pattern says where which one lies.
        pattern: a key of `_PATTERNS`.
        contrast: relative spread of brightness between the pattern's cells (one crop field against another).
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
_GREEN = (0.15, 0.15, 0.35, 0.65, 0.95, 1.0, 1.0, 0.95, 0.8, 0.55, 0.3, 0.15)  # share of summer state, January to December
_SUN = (0.74, 0.81, 0.92, 1.02, 1.07, 1.1, 1.1, 1.07, 1.0, 0.9, 0.78, 0.72)  # brightness: longer shadows in winter
_HAZE = {"B01": 60.0, "B02": 50.0, "B03": 35.0, "B04": 22.0, "B05": 15.0}  # path radiance that atmospheric correction leaves


def _noise(rng, scale: float) -> np.ndarray:
    """Periodic Gaussian noise smoothed over `scale` pixels: (SIZE, SIZE), mean 0, standard deviation 1."""
    f = np.fft.fftfreq(SIZE)
    spectrum = np.fft.fft2(rng.standard_normal((SIZE, SIZE))) * np.exp(-2 * (np.pi * scale) ** 2 * (f[:, None] ** 2 + f**2))
    field = np.fft.ifft2(spectrum).real
    return (field - field.mean()) / field.std()


def _ranked(field: np.ndarray) -> np.ndarray:
    """The same field with its values spread evenly over [0, 1)."""
    ranks = np.empty(field.size)
    ranks[np.argsort(field, axis=None)] = np.arange(field.size)
    return (ranks / field.size).reshape(field.shape)


def nearest_seed(y, x, seed_y: np.ndarray, seed_x: np.ndarray, period: tuple, scale: tuple, round_: bool = False) -> np.ndarray:
    """Which of the jittered seeds of a periodic grid is nearest (Voronoi cells).

    Args:
        y, x: (H, W) positions.
        seed_y, seed_x: (R, C) positions of the seeds, each in its own cell of the grid that divides the period in R x C.
        period: height and width after which the world repeats.
        scale: what distances in y and x are divided by.
        round_: Euclidean distance instead of the larger of the two, which makes rectangles.

    Returns:
        (H, W) index into the flattened seeds.
    """
    rows, columns = seed_y.shape
    seed_y, seed_x = seed_y.ravel(), seed_x.ravel()
    row, column = np.floor(y * (rows / period[0])).astype(np.int64), np.floor(x * (columns / period[1])).astype(np.int64)
    neighbours = [(column + d) % columns for d in (-1, 0, 1)]
    best = None
    for first in [(row + d) % rows * columns for d in (-1, 0, 1)]:
        for neighbour in neighbours:
            index = first + neighbour
            dy = _around(y - seed_y[index], period[0]) / scale[0]
            dx = _around(x - seed_x[index], period[1]) / scale[1]
            distance = dy * dy + dx * dx if round_ else np.maximum(dy, dx)
            if best is None:
                best, result = distance, index
            else:
                nearer = distance < best
                best, result = np.where(nearer, distance, best), np.where(nearer, index, result)
    return result


def _around(difference: np.ndarray, period: float) -> np.ndarray:
    """Distance of two positions in a world that repeats, where neither lies more than a period outside."""
    distance = np.abs(difference)
    return np.minimum(distance, np.abs(period - distance))


def jittered_grid(rng, rows: int, columns: int, period: tuple) -> tuple:
    """Positions y and x (rows, columns) of one seed in every cell of a grid over the period (height, width)."""
    y = (np.arange(rows)[:, None] + rng.uniform(0.1, 0.9, (rows, columns))) * (period[0] / rows)
    x = (np.arange(columns) + rng.uniform(0.1, 0.9, (rows, columns))) * (period[1] / columns)
    return y, x


def _parcels(rng, height: int, width: int, warp: float, round_: bool = False) -> np.ndarray:
    """Periodic parcels of about height x width pixels, each with one value in [0, 1)."""
    period = (SIZE, SIZE)
    seeds = jittered_grid(rng, SIZE // height, SIZE // width, period)
    value = rng.random(seeds[0].size)
    y, x = np.mgrid[:SIZE, :SIZE] + warp * np.stack((_noise(rng, 20), _noise(rng, 20)))
    return value[nearest_seed(y, x, *seeds, period, (height, width), round_)]


def _waves(rng, across: int, down: int) -> np.ndarray:
    """Periodic stripes, slightly bent: `across` and `down` are whole waves over SIZE pixels."""
    y, x = np.mgrid[:SIZE, :SIZE] + np.stack((_noise(rng, 30), _noise(rng, 30)))
    return np.sin(2 * np.pi / SIZE * (across * x + down * y))


@functools.lru_cache(maxsize=1)
def _textures():
    """Every process's same textures: patterns (P, SIZE, SIZE) with values in [0, 1), and grain, relief, warp (2), weather: N(0, 1)."""
    rng = np.random.default_rng(20190203)
    patterns = {
        "plain": _ranked(_noise(rng, 12)) / 4,
        "patches": _parcels(rng, 7, 7, 2.0, True),
        "clumps": _ranked(_noise(rng, 2)),
        "fields": _parcels(rng, 11, 16, 1.5),
        "plots": _parcels(rng, 4, 5, 1.0),
        "strips": _parcels(rng, 3, 16, 1.0),
        "blocks": _parcels(rng, 3, 3, 0.5),
        "circles": _parcels(rng, 14, 14, 0.0, True),
        "rows": _ranked(_waves(rng, 80, 26)),
        "orchard": _ranked(np.maximum(-_waves(rng, 90, 10), -_waves(rng, -10, 90))),
    }
    fields = (_noise(rng, 0.7), _noise(rng, 24), _noise(rng, 14), _noise(rng, 14), _noise(rng, 16))
    return tuple(patterns), np.stack(list(patterns.values())).astype(np.float32), np.stack(fields).astype(np.float32)


def prepare() -> None:
    """Makes the textures now (one second): processes forked afterwards share them."""
    _textures()


class View(NamedTuple):
    """A window of the textures: which pixels of the periodic world a scene takes, and whether it is turned.

    Attributes:
        rows, columns: (H,) and (W,) pixel positions in the world, any integers.
        transpose: swap the two, which turns rows of vines and parcels by 90 degrees.
    """

    rows: np.ndarray
    columns: np.ndarray
    transpose: bool = False

    def cut(self, fields: np.ndarray) -> np.ndarray:
        """The window (P, H, W) of periodic fields (P, SIZE, SIZE)."""
        if self.transpose:
            return fields[:, (self.columns % SIZE)[:, None], self.rows % SIZE].transpose(0, 2, 1)
        return fields[:, (self.rows % SIZE)[:, None], self.columns % SIZE]

    def warp(self) -> np.ndarray:
        """Two smooth fields (2, H, W), N(0, 1), that bend the borders of segments."""
        return self.cut(_textures()[2][2:4])


class Season(NamedTuple):
    """The state of land and air on one day.

    Attributes:
        green: (43,) share of the summer state of every cover, 0 to 1.
        light: brightness of the whole scene.
        haze: thickness of the haze, 0 for none.
        tint: (43, 12) factor on every cover's spectrum: no two forests are the same.
    """

    green: np.ndarray
    light: float
    haze: float
    tint: np.ndarray


def season(month: int, rng) -> Season:
    """Draws the state of land and air for a month, 1 to 12."""
    covers = len(nomenclature.CLASSES)
    green = np.clip(_GREEN[month - 1] + rng.normal(0, 0.08, covers), 0, 1)
    light = _SUN[month - 1] * np.exp(rng.normal(0, 0.08))
    wavelength = np.array([b.wavelength for b in bands.BANDS])
    slope = np.log(wavelength / 850) / np.log(2)
    tint = np.exp(rng.normal(0, 0.08, (covers, 1)) + rng.normal(0, 0.05, (covers, 1)) * slope)
    return Season(green, light, rng.exponential(1.0), tint)


def _spectrum(material: str) -> np.ndarray:
    """(12,) float64 spectrum of a material, in the order of bigearth.bands."""
    return np.array([_MATERIALS[material][_SPECTRAL.index(name)] for name in bands.NAMES], np.float64)


@functools.lru_cache(maxsize=1)
def _tables():
    """Summer and winter spectra (43, 4, 12), pattern index (43,), contrast (43,) and grain (43,) of every cover."""
    names = _textures()[0]
    summer, winter, pattern = [], [], []
    for land in nomenclature.CLASSES:
        cover = COVERS[land.code]
        parts = cover.materials.split()
        four = [parts[i * len(parts) // 4] for i in range(4)]
        summer.append([_spectrum(m) for m in four])
        winter.append([_spectrum(_WINTER.get(m, m)) for m in four])
        pattern.append(names.index(cover.pattern))
    contrast, grain = np.array([(COVERS[c.code].contrast, COVERS[c.code].grain) for c in nomenclature.CLASSES], np.float32).T
    return np.array(summer), np.array(winter), np.array(pattern), contrast, grain


def render(covers: np.ndarray, view: View, day: Season) -> np.ndarray:
    """The surface as a perfect sensor would see it.

    Args:
        covers: (H, W) integer, index of the land cover of every 10 m pixel.
        view: the textures' window, H x W.
        day: season and air.

    Returns:
        (H, W, 12) float32, digital numbers in the order of bigearth.bands.
    """
    summer, winter, pattern, contrast, grain = _tables()
    _, patterns, fields = _textures()
    green = day.green[:, None, None]
    spectra = (green * summer + (1 - green) * winter) * (day.tint[:, None] * day.light)
    cell = 4 * np.take_along_axis(view.cut(patterns), pattern[covers][None], 0)[0]
    state = cell.astype(np.int64)
    crowns, relief = view.cut(fields[:2])
    light = (1 + contrast[covers] * (cell - state - 0.5)) * np.maximum(1 + grain[covers] * crowns, 0.3) * (1 + 0.04 * relief)
    scene = spectra.astype(np.float32).reshape(-1, len(bands.BANDS))[4 * covers.astype(np.int64) + state]
    scene *= light[..., None]
    scene += np.array([day.haze * _HAZE.get(name, 0.0) for name in bands.NAMES], np.float32)
    return scene


def cover_up(scene: np.ndarray, view: View, material: str, share: float, day: Season) -> None:
    """Lays snow or cloud over a share (0 to 1) of a scene (H, W, 12), in place; thin at its edges."""
    weather = view.cut(_textures()[2][4:5])[0]
    threshold = np.quantile(weather, 1 - share)
    cover = np.clip((weather - threshold) * 3, 0, 0.9)[..., None]
    scene += cover * (_spectrum(material).astype(np.float32) * np.float32(day.light) - scene)


def sense(scene: np.ndarray, rng) -> dict:
    """What the instrument records: the bands at their native resolutions by area means, with noise.

    Args:
        scene: (H, W, 12) float32; H and W multiples of 6.
        rng: for the noise.

    Returns:
        resolution in metres -> (H', W', bands) uint16, as in bigearth.bands.at(resolution).
    """
    native, first = {}, 0
    for resolution in bands.RESOLUTIONS:
        step, count = resolution // 10, len(bands.at(resolution))
        part = scene[..., first : first + count]
        if step > 1:
            height, width = scene.shape[0] // step, scene.shape[1] // step
            part = part.reshape(height, step, width, step, count).mean((1, 3))
        noise = rng.standard_normal(part.shape, np.float32)
        native[resolution] = np.clip(np.rint(part + noise * (8 + 0.01 * part)), 1, 65535).astype(np.uint16)
        first += count
    return native
