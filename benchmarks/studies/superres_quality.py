"""How good is the upsampling? Degrade a scene, restore it, compare with what it was (Wald et al.
1997, as in Lanaras et al. 2018).

    python -m benchmarks.studies.superres_quality --scene DIR [--order B02,B03,B04,B08] [--tilings]

DIR is a Level-2A product (SAFE folder) or a folder with B01.tif ... B12.tif, of which a square in
the middle is taken. For the 20 m bands all bands are degraded by 2 (for the 60 m bands by 6):
Gaussian blur of sigma 1/scale pixels of the coarse grid's spacing, then the mean of each block.
What is restored from these is compared with the original bands, one row per method.
"""

import dataclasses
from pathlib import Path
from typing import Optional

import numpy as np

from bigearth import bands, cli
from bigearth.cli import REQUIRED, option
from bigearth.errors import InputError
from bigearth.prepare import cut, raster, superres, tile, weights

SIZE = 1080  # pixels of 10 m along the side of the square that is evaluated
CORES = 360, 240  # pixels of 10 m: two ways to work through a scene
WINDOW = 8  # pixels: side of the sliding window of UIQ
METRICS = ("RMSE", "SRE", "UIQ")


def degrade(image: np.ndarray, scale: int) -> np.ndarray:
    """Blurs and averages an image to a grid `scale` times coarser.

    Args:
        image: (H, W, bands); H and W are multiples of scale.

    Returns:
        (H/scale, W/scale, bands) float64.
    """
    from scipy import ndimage

    blurred = ndimage.gaussian_filter(image.astype(np.float64), (1 / scale, 1 / scale, 0))
    height, width, count = image.shape
    return blurred.reshape(height // scale, scale, width // scale, scale, count).mean((1, 3))


def bicubic(coarse: np.ndarray, scale: int) -> np.ndarray:
    """(H*scale, W*scale, bands) float32: GDAL's cubic convolution, pixel-area aligned."""
    from osgeo import gdal, gdal_array

    source = gdal_array.OpenArray(np.ascontiguousarray(coarse.transpose(2, 0, 1), np.float32))
    size = dict(width=coarse.shape[1] * scale, height=coarse.shape[0] * scale)
    fine = gdal.Translate("", source, format="MEM", resampleAlg="cubic", **size)
    return fine.ReadAsArray().reshape(-1, size["height"], size["width"]).transpose(1, 2, 0)


def rmse(truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Root mean square error per band, in digital numbers; (H, W, bands) each -> (bands,)."""
    return np.sqrt(np.mean((truth - found) ** 2, (0, 1)))


def sre(truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Signal to reconstruction error per band, in dB: squared mean over mean squared error."""
    return 10 * np.log10(np.mean(truth, (0, 1)) ** 2 / np.mean((truth - found) ** 2, (0, 1)))


def sam(truth: np.ndarray, found: np.ndarray) -> float:
    """Spectral angle between the pixels' vectors of bands, in degrees, mean over pixels."""
    cosine = (truth * found).sum(-1) / np.maximum(
        np.linalg.norm(truth, axis=-1) * np.linalg.norm(found, axis=-1), 1e-12
    )
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean())


def uiq(truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Universal image quality index per band (Wang and Bovik 2002), 1 is best: mean over all 8 x 8
    windows that are not constant."""

    def windows(image):
        return np.lib.stride_tricks.sliding_window_view(image, (WINDOW, WINDOW), (0, 1))

    scores = []
    for x, y in zip(np.moveaxis(truth, -1, 0), np.moveaxis(found, -1, 0)):
        mean_x, mean_y = windows(x).mean((-2, -1)), windows(y).mean((-2, -1))
        variance_x, variance_y = windows(x).var((-2, -1)), windows(y).var((-2, -1))
        covariance = windows(x * y).mean((-2, -1)) - mean_x * mean_y
        below = (variance_x + variance_y) * (mean_x**2 + mean_y**2)
        valid = below > 0
        scores.append(
            float(np.mean(4 * covariance[valid] * mean_x[valid] * mean_y[valid] / below[valid]))
            if valid.any()
            else np.nan
        )
    return np.array(scores)


def load(scene, size: int = SIZE) -> dict:
    """Resolution -> (H, W, bands) uint16 of a square in the middle of a scene, so wide that it can
    be degraded by 6.

    Args:
        scene: a Level-2A product, or a folder of twelve GeoTIFFs.
        size: H and W at 10 m, at most.

    Raises:
        InputError: the scene is neither, or too small, or a file is damaged.
    """
    folder = Path(scene)
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder; expected a Level-2A product or a folder with B01.tif ... "
            "B12.tif; give another --scene"
        )
    if (folder / "B02.tif").exists():
        columns, rows, read = _open_bands(folder)
    else:
        product = tile.Tile(folder)
        columns, rows, read = product.columns, product.rows, product.read
    width, height = (min(side, size) // 36 * 36 for side in (columns, rows))
    if min(width, height) < 36 * WINDOW:
        raise InputError(
            f"{folder}: {min(columns, rows, size)} pixels of 10 m per side; expected at least "
            f"{36 * WINDOW} to degrade 60 m bands by 6; "
            "give a larger scene"
        )
    left, top = (columns - width) // 12 * 6, (rows - height) // 12 * 6
    return {
        r: read(r, *(edge * 10 // r for edge in (left, top, width, height)))
        for r in bands.RESOLUTIONS
    }


def _open_bands(folder: Path) -> tuple:
    """(columns, rows, read) of a folder of GeoTIFFs, as those of `tile.Tile`."""
    paths = {band: folder / f"{band.name}.tif" for band in bands.BANDS}
    first = raster.open_raster(paths[bands.BANDS[0]], "GTiff", None)
    scale = bands.BANDS[0].resolution // 10
    columns, rows = first.RasterXSize * scale, first.RasterYSize * scale

    def read(resolution: int, *window) -> np.ndarray:
        size = columns * 10 // resolution, rows * 10 // resolution
        images = [
            raster.read_window(raster.open_raster(paths[b], "GTiff", size), paths[b], window)
            for b in bands.at(resolution)
        ]
        return np.stack(images, -1)

    return columns, rows, read


def compare(native: dict, network: superres.DSen2, resolution: int) -> dict:
    """Degrades a scene and restores its 20 m or 60 m bands.

    Args:
        native: from `load`.
        network: with some weights and order of bands.
        resolution: 20 or 60.

    Returns:
        method -> {"RMSE": (bands,), "SRE": (bands,), "UIQ": (bands,), "SAM": float} for dsen2,
        bicubic and bilinear.
    """
    scale = resolution // 10
    coarse = {r: degrade(image, scale) for r, image in native.items()}
    truth = native[resolution].astype(np.float64)
    restored = {
        "dsen2": network.predict(coarse, (resolution,)),
        "bicubic": bicubic(coarse[resolution], scale),
        "bilinear": superres.upsample(coarse[resolution], scale),
    }
    return {
        method: dict(
            RMSE=rmse(truth, found),
            SRE=sre(truth, found),
            UIQ=uiq(truth, found),
            SAM=sam(truth, found),
        )
        for method, found in (
            (method, found.astype(np.float64)) for method, found in restored.items()
        )
    }


def tilings(native: dict, one: superres.DSen2, other: superres.DSen2) -> float:
    """The largest difference, in digital numbers, between a scene super-resolved in the cores of
    one network and of another."""
    rows, columns = native[10].shape[:2]
    side = bands.patch_size(10)
    corners = [[*range(0, length - side, side), length - side] for length in (rows, columns)]
    cuts = [cut.Cut(0, column, row) for row in corners[0] for column in corners[1]]
    first, second = (
        network.restore(native, (0, 0), (columns, rows), cuts=cuts) for network in (one, other)
    )
    return float(np.abs(first.astype(np.float64) - second).max())


def table(scores: dict, resolution: int) -> str:
    """The scores of `compare` as text, one row per metric and method."""
    names = [band.name for band in bands.at(resolution)]
    lines = [
        f"{resolution} m bands".ljust(18) + "".join(f"{name:>9}" for name in names) + f"{'mean':>9}"
    ]
    for metric in METRICS:
        for method, found in scores.items():
            values = "".join(f"{value:9.3f}" for value in (*found[metric], found[metric].mean()))
            lines.append(f"{metric:6}{method:12}{values}")
    lines += [
        f"{'SAM':6}{method:12}" + " " * 9 * len(names) + f"{found['SAM']:9.3f}"
        for method, found in scores.items()
    ]
    return "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class Config:
    scene: str = option(
        REQUIRED, "a Level-2A product (SAFE folder), or a folder with B01.tif ... B12.tif"
    )
    order: Optional[str] = option(
        None,
        "order in which both networks take the 10 m bands, e.g. B04,B03,B02,B08; else each its own",
    )
    size: int = option(
        SIZE, "at most so many pixels of 10 m per side, in the middle", least=36 * WINDOW
    )
    tilings: bool = option(
        False, "only super-resolve the scene itself in two tilings, and say by how much they differ"
    )
    weights_20m: Optional[str] = option(
        None, "weight file for the 20 m bands; else the published one"
    )
    weights_60m: Optional[str] = option(None, "the same for the 60 m bands")


def run(config: Config) -> None:
    """Prints the scores of both resolutions, or the difference of two tilings."""
    names = [band.name for band in bands.at(10)]
    order = superres.ORDER_10M
    if config.order:
        order = dict.fromkeys((20, 60), config.order.split(","))
    if sorted(order[20]) != names:
        raise InputError(
            f"command line: --order {config.order}; expected {','.join(names)} in "
            "some order; correct it"
        )
    native = load(config.scene, config.size)
    files = weights.find(config.weights_20m, config.weights_60m)
    if config.tilings:
        one, other = (superres.DSen2(files[20], files[60], order, core=core) for core in CORES)
        height, width = native[10].shape[:2]
        print(
            f"{height} x {width} pixels in cores of {CORES[0]} and of {CORES[1]}: at most "
            f"{tilings(native, one, other):.3g} digital numbers apart"
        )
        return
    network = superres.DSen2(files[20], files[60], order)
    print("RMSE in digital numbers, SRE in dB, UIQ 1, SAM in degrees")
    for resolution in (20, 60):
        print(f"order of the 10 m bands: {', '.join(order[resolution])}")
        print(table(compare(native, network, resolution), resolution))


if __name__ == "__main__":
    cli.main(
        Config,
        run,
        cli.Program(
            module="benchmarks.studies.superres_quality",
            description="Degrade a scene, restore it with DSen2 and by interpolation, compare.",
            example="--scene S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP.SAFE",
        ),
    )
