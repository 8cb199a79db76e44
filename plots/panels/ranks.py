"""Which node is slow: step time of every rank, one row per node."""

import math
import statistics

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator

from plots.figure import Panel, short
from plots.series import trainings
from reframe_tests.results.values import numbers

SLOW = 1.1  # a node whose median step is this much above the median of all nodes is pointed at
DARK = 0.179  # relative luminance on which black and white have the same contrast
MOST_NAMES = 48  # of nodes beside the map; slow ones have theirs always
MOST_NUMBERS = 32  # columns up to which the step times are written into the map


def _has_steps(run) -> bool:
    return any(map(math.isfinite, numbers(run.column("ranks", "step_time"))))


def rank_rows(runs: list) -> tuple:
    """Median step time of every rank of the largest training run that kept them, and how its node
    compares with all."""
    # the largest one has seen the most nodes
    largest = sorted(trainings(runs), key=lambda run: (run.devices, run.time), reverse=True)
    run = next(filter(_has_steps, largest), None)
    if not run:
        return [], ["No training run kept the step times of its ranks."]
    times: dict = {}
    ranks = zip(
        run.column("ranks", "hostname"),
        numbers(run.column("ranks", "rank")),
        numbers(run.column("ranks", "step_time")),
    )
    for place, (host, rank, step) in enumerate(ranks):
        times.setdefault(str(host or "unnamed node"), []).append(
            (place if math.isnan(rank) else rank, step)
        )
    medians = {
        node: statistics.median(t)
        for node, ranks in times.items()
        if (t := [x for _, x in ranks if math.isfinite(x)])
    }
    middle = statistics.median(medians.values())
    rows = [
        {
            "system": run.system,
            "time": run.time,
            "node": node,
            "rank": int(rank),
            "place": place,
            "step_time": value,
            "node_excess_percent": round(100 * (medians[node] / middle - 1), 2)
            if node in medians and middle > 0
            else math.nan,
        }
        for node, ranks in sorted(times.items())
        for place, (rank, value) in enumerate(sorted(ranks))
    ]
    lost = [row for row in rows if math.isnan(row["step_time"])]
    notes = [f"The largest training run, the last of that size: {run.system}, {run.time}."]
    return rows, notes + ([f"{len(lost)} ranks have no step time (white)."] if lost else [])


def slow_nodes(rows: list) -> dict:
    """node -> how many per cent its median step lies above the median node's, for the slow ones."""
    return {
        row["node"]: row["node_excess_percent"]
        for row in rows
        if row["node_excess_percent"] >= 100 * (SLOW - 1)
    }


def readable(ground) -> str:
    """Black or white, whichever has a contrast of 4.5 on a colour (r, g, b, alpha), each 0 to 1."""
    r, g, b = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in ground[:3])
    return "black" if 0.2126 * r + 0.7152 * g + 0.0722 * b > DARK else "white"


def draw_ranks(rows: list) -> plt.Figure:
    """A heat map: one row per node, one column per rank of the node; slow nodes are marked with an
    arrow."""
    nodes = list(dict.fromkeys(row["node"] for row in rows))
    columns = 1 + max(row["place"] for row in rows)
    grid = np.full((len(nodes), columns), math.nan)
    for row in rows:
        grid[nodes.index(row["node"]), row["place"]] = row["step_time"]
    figure, axes = plt.subplots(figsize=(6.4, 1.8 + min(0.25 * len(nodes), 12)))
    low = float(np.nanmin(grid))
    # colours reach at least as far as what is called slow: noise has one colour
    high = max(float(np.nanmax(grid)), SLOW * low)
    image = axes.imshow(grid, vmin=low, vmax=high, aspect="auto", interpolation="nearest")
    axes.grid(False)
    slow = slow_nodes(rows)
    labels = [
        f"{short(node, 24)} ◀ slow, +{slow[node]:.0f} %" if node in slow else short(node, 24)
        for node in nodes
    ]
    pointed, every = (
        [y for y, node in enumerate(nodes) if node in slow],
        math.ceil(len(nodes) / MOST_NAMES),
    )
    named = pointed + [
        y for y in range(0, len(nodes), every) if all(abs(y - other) >= every for other in pointed)
    ]
    axes.set_yticks(named, [labels[y] for y in named])
    axes.xaxis.set_major_locator(MaxNLocator(20, integer=True))
    axes.set_xlabel("rank within the node")
    axes.set_ylabel("node")
    if columns <= MOST_NUMBERS / 4 and len(nodes) <= MOST_NUMBERS:
        for (y, x), value in np.ndenumerate(grid):
            if math.isfinite(value):
                axes.text(
                    x,
                    y,
                    f"{value:.3g}",
                    ha="center",
                    va="center",
                    fontsize=7,
                    color=readable(image.to_rgba(value)),
                )
    figure.colorbar(image, label="median step time (s)")
    return figure


PANELS = (
    Panel(
        "step_time_by_rank",
        "Step time of every rank",
        ("system", "time", "node", "rank", "place", "step_time", "node_excess_percent"),
        rows=rank_rows,
        draw=draw_ranks,
    ),
)
