"""The picture of sample patches with true and predicted labels."""

import math

import matplotlib.pyplot as plt
import numpy as np

from bigearth.errors import InputError
from bigearth.files import read_arrays
from plots.figure import Panel, short
from plots.series import trainings

MOST_SAMPLES = 12
MOST_LABELS = 7  # under one patch
THRESHOLD = 0.5
MOST_BYTES = 64 << 20  # of all arrays: a small file may unpack to a large one
STRETCH = (2, 98)  # percentiles of a patch's brightness that are drawn black and white


def latest(runs: list, has):
    """The last run for which `has(run)` is true (None if there is none)."""
    return next((run for run in reversed(runs) if has(run)), None)


def _samples(run):
    """The samples of a run: (rgb, truth, score, names), or None with the reason."""
    name = run.files.get("samples")
    if not name:
        return None, "the last training run kept no sample patches"
    try:
        found = read_arrays(run.path.parent / name, "file of sample patches", MOST_BYTES)
        arrays = tuple(found[key] for key in ("rgb", "truth", "score", "names"))
    except (InputError, KeyError):
        return None, f"{name} beside the last training's record is damaged or cannot be read"
    return (arrays, "") if _fit(*arrays) else (None, f"the arrays of {name} do not fit together")


def _fit(rgb, truth, score, names) -> bool:
    """Whether pictures (n, h, w, 3), labels and scores (n, classes) and names (n,) are of n
    patches."""
    return (
        rgb.ndim == 4
        and rgb.shape[3] == 3
        and rgb.size > 0
        and truth.ndim == 2
        and truth.shape == score.shape
        and len(rgb) == len(truth) == len(names)
        and names.ndim == 1
        and all(array.dtype.kind in "buif" for array in (rgb, truth, score))
        and bool(np.isfinite(rgb).all() and np.isfinite(score).all())
    )


def sample_rows(runs: list) -> tuple:
    """Truth and score of every class that is true or predicted on the sample patches of the last
    training that kept some."""
    runs = trainings(runs)
    if not runs:
        return [], ["No training run was found."]
    run = latest(runs, lambda r: r.files.get("samples")) or runs[-1]
    arrays, why = _samples(run)
    if arrays is None:
        return [], [f"No sample patches: {why}."]
    labels = [str(label) for label in run.column("per_class", "label")]
    rgb, truth, score, names = arrays
    rows = []
    for i in range(min(len(names), MOST_SAMPLES)):
        chosen = np.flatnonzero((truth[i] > 0) | (score[i] >= THRESHOLD))
        for c in chosen:
            label = labels[c] if c < len(labels) else f"class {c}"
            rows.append(
                {
                    "patch": names[i].decode(errors="replace")
                    if isinstance(names[i], bytes)
                    else str(names[i]),
                    "class": label,
                    "true": int(truth[i, c] > 0),
                    "score": round(float(score[i, c]), 6),
                    "predicted": int(score[i, c] >= THRESHOLD),
                    "_pixels": rgb[i],
                }
            )
    notes = (
        [f"Shown: {min(len(names), MOST_SAMPLES)} of {len(names)} kept patches."]
        if len(names) > MOST_SAMPLES
        else []
    )
    return rows, notes


def _stretched(pixels: np.ndarray) -> np.ndarray:
    """A patch with its brightness stretched so that it can be seen, (h, w, 3) uint8."""
    low, high = np.percentile(pixels, STRETCH)
    scaled = (pixels.astype(float) - low) / max(high - low, 1)
    return (255 * scaled.clip(0, 1)).astype(np.uint8)


def _sample_line(row: dict) -> str:
    mark = {(1, 1): "✓", (1, 0): "– missed:", (0, 1): "+ wrong:"}[row["true"], row["predicted"]]
    return f"{mark} {short(row['class'], 30)} {row['score']:.2f}"


def draw_samples(rows: list) -> plt.Figure:
    """Patches in true colour, the labels beneath: ✓ found, – missed, + predicted but not true, each
    with its probability."""
    by_patch: dict = {}
    for row in rows:
        by_patch.setdefault(row["patch"], []).append(row)
    columns = min(4, len(by_patch))
    lines = math.ceil(len(by_patch) / columns)
    figure, grid = plt.subplots(
        lines, columns, figsize=(2.4 * columns + 0.4, 3.4 * lines), squeeze=False
    )
    for axes in grid.flat[len(by_patch) :]:
        axes.set_axis_off()
    for axes, (patch, entries) in zip(grid.flat, by_patch.items()):
        axes.imshow(_stretched(entries[0]["_pixels"]), interpolation="nearest")
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        axes.set_title(short(patch, 30), fontsize=7)
        ranked = sorted(entries, key=lambda r: (-r["true"], -r["score"]))
        text = "\n".join(_sample_line(row) for row in ranked[:MOST_LABELS])
        more = (
            (f"\n… and {len(ranked) - MOST_LABELS} more in the data table")
            if len(ranked) > MOST_LABELS
            else ""
        )
        axes.set_xlabel(text + more, loc="left", fontsize=7)
    return figure


PANELS = (
    Panel(
        "samples",
        "Sample patches: ✓ found, – missed, + wrongly predicted (probability)",
        ("patch", "class", "true", "score", "predicted"),
        rows=sample_rows,
        draw=draw_samples,
    ),
)
