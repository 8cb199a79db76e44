"""The picture of a batch study: F1 of the recipes at a small and a large batch, and what the
spectral bands add, every seed a point."""

import math

import matplotlib.pyplot as plt

from plots.figure import Panel, hover
from reframe_tests.results.values import number, numbers, statistic

COLUMNS = ("compared", "group", "place", "kind", "seed", "f1_micro", "deviation", "runs", "failure")
BATCH, BANDS = "recipe and batch", "bands"
RUN, MEAN = "run", "mean"
KIND = ("recipe", "batch", "bands")
NAMES = {"rgb": "RGB"}


def _groups(rows: list, config: dict) -> dict:
    """What is compared -> {label -> runs}: recipes and batches of the multispectral runs; bands,
    where a recipe and batch has several."""
    small, factor = number(config.get("batch_size")), number(config.get("factor"))
    sizes = (
        {"small": f"{small:.0f} per rank", "large": f"{small * factor:.0f} per rank"}
        if math.isfinite(small * factor)
        else {}
    )
    kinds = {tuple(str(row.get(name)) for name in KIND) for row in rows}
    found: dict = {BATCH: {}, BANDS: {}}
    for row in rows:
        recipe, batch, bands = (str(row.get(name)) for name in KIND)
        size = sizes.get(batch, batch)
        if bands == "multispectral":
            found[BATCH].setdefault(f"{recipe}, {size}", []).append(row)
        if sum(kind[:2] == (recipe, batch) for kind in kinds) > 1:
            found[BANDS].setdefault(f"{NAMES.get(bands, bands)}, {recipe}, {size}", []).append(row)
    return found


def study_rows(runs: list) -> tuple:
    """Every run's F1 and every group's mean and deviation over seeds, of the last batch study."""
    studies = [run for run in runs if run.workload == "batch_study" and run.table("runs")]
    if not studies:
        return [], ["No batch study was found (`python -m benchmarks.studies.batch_size`)."]
    study = studies[-1]
    rows, lost = [], 0
    for compared, groups in _groups(study.table("runs"), study.config).items():
        for place, (label, members) in enumerate(groups.items()):
            common = {"compared": compared, "group": label, "place": place}
            values = numbers(row.get("f1_micro") for row in members)
            mean, deviation, count = statistic(values)
            lost += compared == BATCH and len(values) - count
            for row, value in zip(members, values):
                more = {
                    "seed": row.get("seed"),
                    "f1_micro": value,
                    "failure": row.get("failure") or "",
                }
                rows.append({**common, "kind": RUN, **more})
            if count:
                rows.append(
                    {
                        **common,
                        "kind": MEAN,
                        "f1_micro": mean,
                        "deviation": deviation,
                        "runs": count,
                    }
                )
    notes = [
        f"{study.system}, {study.time}: every point a seed, the bar mean and deviation over "
        "seeds; samples per rank and step."
    ]
    failed = sum(bool(row.get("failure")) for row in study.table("runs"))
    notes += (
        [
            f"{failed} of {len(study.table('runs'))} runs ended without a finite loss: their F1 "
            "is counted as 0."
        ]
        if failed
        else []
    )
    notes += [f"{lost} runs have no F1."] if lost else []
    notes += (
        [f"{len(studies)} batch studies were found; this is the last."] if len(studies) > 1 else []
    )
    return rows, notes


def draw_study(rows: list) -> plt.Figure:
    """Recipes at both batches on the left, bands on the right, one F1 axis for both."""
    parts = [part for part in (BATCH, BANDS) if any(row["compared"] == part for row in rows)]
    widths = [1 + max(row["place"] for row in rows if row["compared"] == part) for part in parts]
    figure, grid = plt.subplots(
        1,
        len(parts),
        figsize=(1.6 + 1.05 * sum(widths), 4.2),
        sharey=True,
        squeeze=False,
        width_ratios=widths,
    )
    for axes, part in zip(grid.flat, parts):
        here = [row for row in rows if row["compared"] == part]
        labels = {row["place"]: row["group"].replace(", ", "\n") for row in here}
        dots = [row for row in here if row["kind"] == RUN]
        (line,) = axes.plot(
            [r["place"] for r in dots],
            [r["f1_micro"] for r in dots],
            "o",
            linestyle="none",
            color="C0",
            alpha=0.6,
            label="one seed",
        )
        hover(line, [f"{r['group']}, seed {r['seed']}: {r['f1_micro']:.4f}" for r in dots])
        means = [row for row in here if row["kind"] == MEAN]
        bars = axes.errorbar(
            [r["place"] for r in means],
            [r["f1_micro"] for r in means],
            yerr=[r["deviation"] for r in means],
            marker="_",
            markersize=20,
            elinewidth=1,
            linestyle="none",
            color="black",
            label="mean and deviation",
        )
        hover(
            bars.lines[0],
            [f"{r['group']}: mean {r['f1_micro']:.4f} (runs: {r['runs']})" for r in means],
        )
        axes.set_xticks(list(labels), list(labels.values()))
        axes.set_xlim(-0.6, max(labels) + 0.6)
        axes.set_xlabel(part)
    grid[0, 0].set_ylabel("F1 score, micro average (1)")
    grid[0, 0].legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2)
    return figure


PANELS = (
    Panel(
        "batch_study",
        "F1 at a small and a large batch, and with more bands",
        COLUMNS,
        rows=study_rows,
        draw=draw_study,
    ),
)
