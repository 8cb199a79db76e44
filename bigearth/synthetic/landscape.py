"""How the synthetic world looks: textures, seasons, and the sensor, over the land covers of
covers.py.

The state of a field differs from parcel to parcel and with the season.
"""

import functools
from typing import NamedTuple

import numpy as np

from bigearth import bands, nomenclature
from bigearth.synthetic.covers import COVERS, WINTER, spectrum

SIZE = 512  # pixels along the side of the periodic textures
# share of summer state, January to December
_GREEN = (0.15, 0.15, 0.35, 0.65, 0.95, 1.0, 1.0, 0.95, 0.8, 0.55, 0.3, 0.15)
# brightness: longer shadows in winter
_SUN = (0.74, 0.81, 0.92, 1.02, 1.07, 1.1, 1.1, 1.07, 1.0, 0.9, 0.78, 0.72)
# path radiance that atmospheric correction leaves
_HAZE = {"B01": 60.0, "B02": 50.0, "B03": 35.0, "B04": 22.0, "B05": 15.0}


def _noise(rng, scale: float) -> np.ndarray:
    """Periodic Gaussian noise smoothed over `scale` pixels: (SIZE, SIZE), mean 0, standard
    deviation 1."""
    f = np.fft.fftfreq(SIZE)
    smooth = np.fft.fft2(rng.standard_normal((SIZE, SIZE))) * np.exp(
        -2 * (np.pi * scale) ** 2 * (f[:, None] ** 2 + f**2)
    )
    field = np.fft.ifft2(smooth).real
    return (field - field.mean()) / field.std()


def _ranked(field: np.ndarray) -> np.ndarray:
    """The same field with its values spread evenly over [0, 1)."""
    ranks = np.empty(field.size)
    ranks[np.argsort(field, axis=None)] = np.arange(field.size)
    return (ranks / field.size).reshape(field.shape)


def nearest_seed(
    y, x, seed_y: np.ndarray, seed_x: np.ndarray, period: tuple, scale: tuple, round_: bool = False
) -> np.ndarray:
    """Which of the jittered seeds of a periodic grid is nearest (Voronoi cells).

    Args:
        y, x: (H, W) positions.
        seed_y, seed_x: (R, C) positions of the seeds, each in its own cell of the grid that divides
            the period in R x C.
        period: height and width after which the world repeats.
        scale: what distances in y and x are divided by.
        round_: Euclidean distance instead of the larger of the two, which makes rectangles.

    Returns:
        (H, W) index into the flattened seeds.
    """
    rows, columns = seed_y.shape
    seed_y, seed_x = seed_y.ravel(), seed_x.ravel()
    row, column = (
        np.floor(y * (rows / period[0])).astype(np.int64),
        np.floor(x * (columns / period[1])).astype(np.int64),
    )
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
    """Distance of two positions in a world that repeats, where neither lies more than a period
    outside."""
    distance = np.abs(difference)
    return np.minimum(distance, np.abs(period - distance))


def jittered_grid(rng, rows: int, columns: int, period: tuple) -> tuple:
    """Positions y and x (rows, columns) of one seed in every cell of a grid over the period
    (height, width)."""
    y = (np.arange(rows)[:, None] + rng.uniform(0.1, 0.9, (rows, columns))) * (period[0] / rows)
    x = (np.arange(columns) + rng.uniform(0.1, 0.9, (rows, columns))) * (period[1] / columns)
    return y, x


def _parcels(rng, height: int, width: int, warp: float, round_: bool = False) -> np.ndarray:
    """Periodic parcels of about height x width pixels, each with one value in [0, 1)."""
    period = (SIZE, SIZE)
    seed_y, seed_x = jittered_grid(rng, SIZE // height, SIZE // width, period=period)
    value = rng.random(seed_y.size)
    y, x = np.mgrid[:SIZE, :SIZE] + warp * np.stack((_noise(rng, 20), _noise(rng, 20)))
    scale = (height, width)
    nearest = nearest_seed(
        y, x, seed_y=seed_y, seed_x=seed_x, period=period, scale=scale, round_=round_
    )
    return value[nearest]


def _waves(rng, across: int, down: int) -> np.ndarray:
    """Periodic stripes, slightly bent: `across` and `down` are whole waves over SIZE pixels."""
    y, x = np.mgrid[:SIZE, :SIZE] + np.stack((_noise(rng, 30), _noise(rng, 30)))
    return np.sin(2 * np.pi / SIZE * (across * x + down * y))


@functools.lru_cache(maxsize=1)
def _textures():
    """Every process's same textures: patterns (P, SIZE, SIZE) with values in [0, 1), and grain,
    relief, warp (2), weather: N(0, 1)."""
    rng = np.random.default_rng(20190203)
    patterns = {
        "plain": _ranked(_noise(rng, 12)) / 4,
        "patches": _parcels(rng, 7, 7, warp=2.0, round_=True),
        "clumps": _ranked(_noise(rng, 2)),
        "fields": _parcels(rng, 11, 16, warp=1.5),
        "plots": _parcels(rng, 4, 5, warp=1.0),
        "strips": _parcels(rng, 3, 16, warp=1.0),
        "blocks": _parcels(rng, 3, 3, warp=0.5),
        "circles": _parcels(rng, 14, 14, warp=0.0, round_=True),
        "rows": _ranked(_waves(rng, 80, 26)),
        "orchard": _ranked(np.maximum(-_waves(rng, 90, 10), -_waves(rng, -10, 90))),
    }
    fields = (_noise(rng, 0.7), _noise(rng, 24), _noise(rng, 14), _noise(rng, 14), _noise(rng, 16))
    return (
        tuple(patterns),
        np.stack(list(patterns.values())).astype(np.float32),
        np.stack(fields).astype(np.float32),
    )


def prepare() -> None:
    """Makes the textures now (one second): processes forked afterwards share them."""
    _textures()


class View(NamedTuple):
    """A window of the textures: which pixels of the periodic world a scene takes, and whether it is
    turned.

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
    return Season(green, light, rng.exponential(1.0), tint=tint)


@functools.lru_cache(maxsize=1)
def _tables():
    """Summer and winter spectra (43, 4, 12), pattern index (43,), contrast (43,) and grain (43,) of
    every cover."""
    names = _textures()[0]
    summer, winter, pattern = [], [], []
    for land in nomenclature.CLASSES:
        cover = COVERS[land.code]
        parts = cover.materials.split()
        four = [parts[i * len(parts) // 4] for i in range(4)]
        summer.append([spectrum(m) for m in four])
        winter.append([spectrum(WINTER.get(m, m)) for m in four])
        pattern.append(names.index(cover.pattern))
    contrast, grain = np.array(
        [(COVERS[c.code].contrast, COVERS[c.code].grain) for c in nomenclature.CLASSES], np.float32
    ).T
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
    light = (
        (1 + contrast[covers] * (cell - state - 0.5))
        * np.maximum(1 + grain[covers] * crowns, 0.3)
        * (1 + 0.04 * relief)
    )
    scene = spectra.astype(np.float32).reshape(-1, len(bands.BANDS))[
        4 * covers.astype(np.int64) + state
    ]
    scene *= light[..., None]
    scene += np.array([day.haze * _HAZE.get(name, 0.0) for name in bands.NAMES], np.float32)
    return scene


def cover_up(scene: np.ndarray, view: View, material: str, share: float, day: Season) -> None:
    """Lays snow or cloud over a share (0 to 1) of a scene (H, W, 12), in place; thin at its
    edges."""
    weather = view.cut(_textures()[2][4:5])[0]
    threshold = np.quantile(weather, 1 - share)
    cover = np.clip((weather - threshold) * 3, 0, 0.9)[..., None]
    scene += cover * (spectrum(material).astype(np.float32) * np.float32(day.light) - scene)


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
        native[resolution] = np.clip(np.rint(part + noise * (8 + 0.01 * part)), 1, 65535).astype(
            np.uint16
        )
        first += count
    return native
