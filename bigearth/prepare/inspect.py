"""Shows what a file of patches holds: keys, splits, labels, band statistics, and a picture of some
patches.

    python -m bigearth.prepare.inspect --data FILE.h5 [--picture FILE.png]
"""

import dataclasses
import textwrap
from typing import Optional

import numpy as np

from bigearth import bands, cli
from bigearth.cli import REQUIRED, option
from bigearth.files import new_file
from bigearth.store import ARRAYS, SPLITS, Store

SAMPLE = 2000  # patches whose pixels are read for the band statistics
TRUE_COLOUR = ("B04", "B03", "B02")
FALSE_COLOUR = ("B08", "B04", "B03")
RED_EDGE_SWIR = ("B11", "B8A", "B05")  # three of the 20 m bands
# digital numbers from black to full colour: open water must not become coloured noise
LEAST_RANGE = 400


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of the program."""

    data: str = option(REQUIRED, "HDF5 file of patches")
    picture: Optional[str] = option(None, "picture to write; else beside the file, as <name>.png")
    patches: int = option(6, "number of patches in the picture", least=1, most=40)
    seed: int = option(0, "of the choice of patches", least=0)


def describe(patches: Store, seed: int) -> str:
    """All that can be said in text: keys and shapes, splits, how often each label occurs,
    statistics of each band.

    Args:
        patches: the file.
        seed: of the choice of patches for the band statistics, if the file holds more than 2,000.
    """
    lines = [
        f"{patches.path}: {len(patches)} patches",
        f"source {patches.source}, data_super {patches.interpolation}",
        patches.digest,
        "",
    ]
    for key, array in patches.arrays.items():
        shape = " x ".join(str(n) for n in (len(patches),) + array.shape)
        lines.append(f"{key:12}{array.dtype.str[1:]:6}{shape:26}{' '.join(array.bands)}".rstrip())
    lines += ["", "split" + "".join(f"{name:>9}" for name in SPLITS)]
    lines.append("     " + "".join(f"{len(patches.indices(name)):9d}" for name in SPLITS))
    lines += ["", f"{'label':90}" + "".join(f"{name:>9}" for name in (*SPLITS, "all"))]
    counts = [patches.classes[patches.indices(name)].sum(0, dtype=int) for name in SPLITS]
    for i, label in enumerate(patches.labels):
        row = [int(count[i]) for count in counts]
        if sum(row):
            lines.append(f"{label:90}" + "".join(f"{n:9d}" for n in (*row, sum(row))))
    absent = [label for i, label in enumerate(patches.labels) if not patches.classes[:, i].any()]
    lines += textwrap.wrap(f"in no patch: {'; '.join(absent)}", 120) if absent else []
    labels = patches.classes.sum(1)
    lines += [
        "",
        f"labels per patch: {labels.min()} to {labels.max()}, mean {labels.mean():.2f}",
        "",
    ]
    some = _choose(len(patches), SAMPLE, seed)
    lines.append(
        "band   metres      min     mean      std      max   BigEarthNet's mean and std "
        f"(pixels of {len(some)} patches)"
    )
    for resolution in bands.RESOLUTIONS:
        pixels = patches.array(f"data_{resolution}m")[some]
        for i, band in enumerate(bands.at(resolution)):
            x = pixels[..., i]
            lines.append(
                f"{band.name:6}{resolution:7d}{x.min():9d}{x.mean():9.1f}{x.std():9.1f}{x.max():9d}"
                f"{band.mean:9.1f}{band.std:9.1f}"
            )
    return "\n".join(lines)


def _choose(size: int, count: int, seed: int) -> np.ndarray:
    """At most `count` positions below `size`, ascending."""
    return np.sort(np.random.default_rng(seed).permutation(size)[:count])


def _composite(pixels: np.ndarray, available: tuple, wanted: tuple) -> np.ndarray:
    """Three bands of (H, W, bands) as a picture, each stretched between its 2nd and 98th
    percentile, over `LEAST_RANGE` at least."""
    image = pixels[..., [available.index(name) for name in wanted]].astype(np.float64)
    low, high = np.percentile(image, (2, 98), axis=(0, 1))
    return np.clip((image - low) / np.maximum(high - low, LEAST_RANGE), 0, 1)


def _columns(interpolation: str) -> tuple:
    """(title, key, bands of the key, bands to show) of each column of the picture."""
    native = ARRAYS["data_20m"].bands
    true, false, swir = TRUE_COLOUR, FALSE_COLOUR, RED_EDGE_SWIR
    upsampled = f"upsampled to 10 m ({interpolation})"
    return (
        (f"true colour\n{' '.join(true)}", "data_super", bands.NAMES, true),
        (f"false colour\n{' '.join(false)}", "data_super", bands.NAMES, false),
        (f"native 20 m\n{' '.join(swir)}", "data_20m", native, swir),
        (f"{upsampled}\n{' '.join(swir)}", "data_super", bands.NAMES, swir),
    )


def _caption(axes, patches: Store, position: int) -> None:
    """Writes a patch's name, split and labels beside its row."""
    labels = [patches.labels[i] for i in np.flatnonzero(patches.classes[position])]
    text = [patches.names[position], SPLITS[patches.splits[position]], ""]
    for label in labels:
        text += textwrap.wrap(label, 38, initial_indent="• ", subsequent_indent="   ")
    axes.set_ylabel(
        "\n".join(text),
        rotation=0,
        ha="right",
        va="center",
        fontsize=7,
        linespacing=1.3,
        multialignment="left",
    )


def picture(patches: Store, count: int, seed: int, path) -> None:
    """Draws some patches as PNG, one per row: true colour, false colour, 20 m bands native and
    upsampled.

    Raises:
        InputError: the picture cannot be written.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    some = _choose(len(patches), count, seed)
    columns = _columns(patches.interpolation)
    figure, grid = plt.subplots(
        len(some),
        len(columns),
        figsize=(11.5, 2.35 * len(some) + 0.6),
        squeeze=False,
        layout="constrained",
    )
    for row, position in zip(grid, some):
        for axes, (_, key, available, wanted) in zip(row, columns):
            axes.imshow(
                _composite(patches.array(key)[position], available, wanted),
                extent=(0, 1.2, 0, 1.2),
                interpolation="nearest",
            )
            axes.set_xticks([])
            axes.set_yticks([])
        _caption(row[0], patches, position)
    for axes, (title, *_) in zip(grid[0], columns):
        axes.set_title(title, fontsize=9)
    stretch = (
        f"each band stretched between its 2nd and 98th percentile, over {LEAST_RANGE} "
        "digital numbers at least"
    )
    figure.supxlabel(f"each picture 1.2 km x 1.2 km, north up, {stretch}", fontsize=8)
    try:
        with new_file(path, "write the picture", inputs=[patches.path]) as partial:
            figure.savefig(partial, dpi=130, format="png")
    finally:
        plt.close(figure)


def run(config: Config) -> None:
    patches = Store(config.data)
    print(describe(patches, config.seed))
    path = config.picture or f"{config.data.removesuffix('.h5')}.png"
    picture(patches, config.patches, config.seed, path=path)
    print(f"\n{path}: {min(config.patches, len(patches))} patches")


if __name__ == "__main__":
    cli.main(
        Config,
        run,
        cli.Program(
            module="bigearth.prepare.inspect",
            description="Show what a file of patches holds.",
            example="--data patches.h5 --picture patches.png",
        ),
    )
