"""Pictures of time and accuracy over nodes and devices: the paper's Figs. 3 to 6, efficiency,
throughput per device.

All are made of rows (series, origin, nodes, devices, mean, deviation, runs): origin "measured" is
what this suite measured, "published" what the paper prints (hollow), "ideal" a straight line
through a series' smallest size.
"""

import math

import matplotlib.pyplot as plt

from plots import published
from plots.figure import HOLLOW, Panel, cover, entry, hover, legend_above, plain_log, size_ticks
from plots.series import by_size, series, shown, trainings
from reframe_tests.results.values import number, numbers, statistic

COLUMNS = ("series", "origin", "nodes", "devices", "mean", "deviation", "runs", "bound", "where")
IDEAL = {"color": "0.55", "linewidth": 1, "linestyle": (0, (5, 3)), "marker": "", "zorder": 1}
TIMES = ("time_per_epoch", "training_time")
ALIKE = 1.1  # amounts of work that differ by less are drawn on one axis
BOUNDS = {"exact": "", "about": " (≈)", "below": " (less than)"}


def metric(run, name: str) -> float:
    """A run's metric; the total training time is the sum of its epochs where the record has no such
    metric."""
    value = run.metric(name)
    if math.isnan(value) and name == "training_time":
        times = numbers(run.column("epochs", "time"))
        return math.fsum(times) if times else math.nan
    return value


def _row(label: str, origin: str, size: tuple, values) -> dict:
    mean, deviation, count = statistic(values)
    return {
        "series": label,
        "origin": origin,
        "nodes": size[0],
        "devices": size[1],
        "mean": mean,
        "deviation": deviation,
        "runs": count,
    }


def whole_nodes(runs: list) -> list:
    """The runs that used every device of their nodes: as many a node as any run of their series."""
    most = max(run.devices / run.nodes for run in runs)
    return [run for run in runs if run.devices / run.nodes == most]


def one_node(runs: list) -> list:
    return [run for run in runs if run.nodes == 1]


def _losses(runs: list, name: str) -> list:
    """Notes on the runs that lack a metric, one per reason."""
    lost: dict = {}
    for run in runs:
        if math.isnan(metric(run, name)):
            reason = run.reason(name)
            lost[reason] = lost.get(reason, 0) + 1
    return [
        f"No {name} in {count} of {len(runs)} training runs: {reason}."
        for reason, count in lost.items()
    ]


def train_patches(run) -> float:
    """How many patches an epoch of the run has, NaN if it was not recorded."""
    patches = run.provenance.get("patches")
    named = patches.get("train") if isinstance(patches, dict) else None
    return number(run.provenance.get("train_patches") or named)


def _printed(name: str, x: str, runs: list) -> tuple:
    """The paper's points of a metric and a note; no times that are of another amount of work."""
    points = [p for p in published.points(name) if x == "nodes" or p["nodes"] == 1]
    if not points or name not in TIMES:
        return points, []
    low, high = published.train_patches()
    sizes = [train_patches(run) for run in runs if math.isfinite(metric(run, name))]
    if any(low / ALIKE <= size <= high * ALIKE for size in sizes):
        return points, []
    known = sorted({round(size) for size in sizes if math.isfinite(size)})
    here = f"these of {known[0]:,}" if known else "how many these have was not recorded"
    return [], [
        f"The paper's times are of {low:,} or {high:,} patches per epoch, {here}: another "
        "amount of work, not drawn beside these."
    ]


def _names(runs: list) -> dict:
    """The series, each with its number of patches per epoch in its name where these differ."""
    found = series(runs)
    sizes = {label: train_patches(group[0]) for label, group in found.items()}
    known = {size for size in sizes.values() if math.isfinite(size)}
    if not known or max(known) <= ALIKE * min(known):
        return found
    return {
        f"{label}, {sizes[label]:,.0f} patches" if math.isfinite(sizes[label]) else label: group
        for label, group in found.items()
    }


def _ideal(points: list, x: str) -> list:
    """The line of perfect scaling (value ~ 1 / size) through the smallest size."""
    points = [p for p in points if p["mean"] > 0]
    if len({p[x] for p in points}) < 2:
        return []
    first = points[0]
    more = {"origin": "ideal", "deviation": math.nan, "runs": 0}
    return [{**p, **more, "mean": first["mean"] * first[x] / p[x]} for p in points]


def _sizes(rows: list, x: str) -> int:
    """The most sizes that a series of some rows has."""
    sizes: dict = {}
    for row in rows:
        sizes.setdefault(row["series"], set()).add(row[x])
    return max(map(len, sizes.values()), default=0)


def metric_rows(name: str, choose, x: str, with_ideal: bool = False):
    """A panel's `rows` function: one metric of the training runs over sizes.

    Args:
        choose: which runs of a series are drawn, e.g. `whole_nodes`.
        x: "nodes" or "devices": what the picture's axis is.
        with_ideal: adds the line of perfect scaling (value ~ 1 / size) through the smallest size.
    """

    def rows(runs: list) -> tuple:
        runs = trainings(runs)
        notes = _losses(runs, name) if runs else ["No training run was found."]
        measured, ideal = [], []
        for label, group in _names(runs).items():
            points = [
                _row(label, "measured", size, values=[metric(r, name) for r in same])
                for size, same in by_size(choose(group)).items()
            ]
            points = [p for p in points if p["runs"]]
            measured += points
            ideal += _ideal(points, x) if with_ideal else []
        printed, why = _printed(name, x, runs)
        notes += why if measured else ["Nothing measured."]
        low = sum(row["mean"] <= 0 for row in measured)
        if with_ideal and low:
            notes.append(
                f"Not on the log axis: {low} values that are not above 0; they are in the "
                "data table."
            )
        notes += shown(row["series"] for row in measured)[1]
        if max(_sizes(measured, x), _sizes(printed, x)) < 2:
            return [], [*notes, "Measured at one size alone: not drawn."] if measured else notes
        return measured + ideal + printed, notes + ([published.note(name)] if printed else [])

    return rows


def _efficiency(least: float, cost: float) -> float:
    """Node seconds at the smallest size over those at another; NaN if either is not above 0."""
    return number(least / cost) if least > 0 and cost > 0 else math.nan


def efficiency_rows(runs: list) -> tuple:
    """Scaling efficiency: time at the smallest size x its nodes, over time x nodes, from
    time_per_epoch."""
    runs = trainings(runs)
    notes = _losses(runs, "time_per_epoch") if runs else ["No training run was found."]
    rows = []
    for label, group in series(runs).items():
        times = {
            size: [run.metric("time_per_epoch") for run in same]
            for size, same in by_size(whole_nodes(group)).items()
        }
        times = {size: values for size, values in times.items() if statistic(values)[2]}
        if len(times) < 2:
            notes.append(f"{label}: no efficiency from one size alone.")
            continue
        (first, _), base = next(iter(times.items()))
        base = statistic(base)[0]
        points = [
            _row(
                label, "measured", size, values=[_efficiency(first * base, size[0] * t) for t in ts]
            )
            for size, ts in times.items()
        ]
        rows += [point for point in points if point["runs"]]
        if first > 1:
            notes.append(f"{label}: relative to {first} nodes, the smallest size that was run.")
    printed = published.points("time_per_epoch")
    base = printed[0]
    rows += [
        {
            **p,
            "mean": base["mean"] * base["nodes"] / (p["mean"] * p["nodes"]),
            "where": f"from {p['where']}",
        }
        for p in printed
    ]
    return rows, notes + shown(row["series"] for row in rows if row["origin"] == "measured")[1] + [
        published.note()
    ]


def _runs_text(points: list) -> str:
    counts = sorted({p["runs"] for p in points})
    if counts[-1] < 2:
        return ""
    return (
        f", mean of {counts[0]}" if len(counts) == 1 else (f", mean of {counts[0]} to {counts[-1]}")
    )


def draw_over(rows: list, x: str, x_label: str, y_label: str, log_y: bool) -> plt.Figure:
    """Mean and deviation of each series over `x`, ideal lines thin, published numbers hollow."""
    names, _ = shown(row["series"] for row in rows if row["origin"] == "measured")
    printed = [r for r in rows if r["origin"] == "published"]
    entries = len(names) + len({(r["series"], r["bound"]) for r in printed})
    # the legend takes its own room
    figure, axes = plt.subplots(figsize=(6.4, 3.8 + 0.17 * entries))
    cycle = list(plt.rcParams["axes.prop_cycle"])
    for name, style in zip(names, cycle):
        points = sorted(
            (r for r in rows if r["series"] == name and r["origin"] == "measured"),
            key=lambda r: r[x],
        )
        deviation = [p["deviation"] for p in points]  # NaN for a single run: no bar
        bars = axes.errorbar(
            [p[x] for p in points],
            [p["mean"] for p in points],
            yerr=deviation,
            label=entry(name) + _runs_text(points),
            **style,
        )
        hover(
            bars.lines[0],
            [f"{name}, {p[x]} {x}: {p['mean']:.4g} (runs: {p['runs']})" for p in points],
        )
        ideal = sorted(
            (r for r in rows if r["series"] == name and r["origin"] == "ideal"), key=lambda r: r[x]
        )
        if ideal:
            axes.plot(
                [p[x] for p in ideal],
                [p["mean"] for p in ideal],
                label="_" if "ideal" in axes.get_legend_handles_labels()[1] else "ideal",
                **IDEAL,
            )
    for i, name in enumerate(dict.fromkeys(r["series"] for r in printed)):
        for bound, suffix in BOUNDS.items():
            points = [r for r in printed if r["series"] == name and r["bound"] == bound]
            marker = {"exact": "os"[i % 2], "about": "Dd"[i % 2], "below": "v"}[bound]
            if points:
                axes.plot(
                    [p[x] for p in points],
                    [p["mean"] for p in points],
                    label=name + suffix,
                    markersize=8,
                    **{**HOLLOW, "marker": marker},
                )
    sizes = sorted({r[x] for r in rows})
    axes.set_xscale("log", base=2)
    size_ticks(axes.xaxis, sizes)
    axes.minorticks_off()
    axes.set_xlim(min(sizes) / 1.3, max(sizes) * 1.3)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    if log_y:
        plain_log(axes.yaxis)
    legend_above(axes)
    return figure


def _drawing(x: str, x_label: str, y_label: str, log_y: bool, limits=None):
    def draw(rows: list) -> plt.Figure:
        figure = draw_over(rows, x, x_label, y_label=y_label, log_y=log_y)
        if limits:
            cover(
                figure.axes[0].yaxis,
                limits[0],
                max(limits[1], 1.05 * max(r["mean"] for r in rows)) or 1,
            )
        return figure

    return draw


PANELS = (
    Panel(
        "fig3_time_per_epoch",
        "Fig. 3  Time per epoch on one node",
        COLUMNS,
        rows=metric_rows("time_per_epoch", one_node, "devices", with_ideal=True),
        draw=_drawing("devices", "devices of one node (ranks)", "time per epoch (s)", log_y=True),
    ),
    Panel(
        "fig4_time_per_epoch",
        "Fig. 4  Time per epoch over nodes",
        COLUMNS,
        rows=metric_rows("time_per_epoch", whole_nodes, "nodes", with_ideal=True),
        draw=_drawing("nodes", "nodes", "time per epoch (s)", log_y=True),
    ),
    Panel(
        "fig5_training_time",
        "Fig. 5  Total training time over nodes",
        COLUMNS,
        rows=metric_rows("training_time", whole_nodes, "nodes", with_ideal=True),
        draw=_drawing("nodes", "nodes", "training time, all epochs (s)", log_y=True),
    ),
    Panel(
        "fig6_f1",
        "Fig. 6  F1 over nodes",
        COLUMNS,
        rows=metric_rows("f1_micro", whole_nodes, "nodes"),
        draw=_drawing("nodes", "nodes", "F1 score, micro average (1)", log_y=False, limits=(0, 1)),
    ),
    Panel(
        "efficiency",
        "Scaling efficiency",
        COLUMNS,
        rows=efficiency_rows,
        draw=_drawing("nodes", "nodes", "efficiency (1)", log_y=False, limits=(0, 1.1)),
    ),
    Panel(
        "throughput_per_device",
        "Training throughput per device",
        COLUMNS,
        rows=metric_rows("throughput_per_device", whole_nodes, "devices"),
        draw=_drawing(
            "devices",
            "devices (ranks)",
            "throughput per device (img/s)",
            log_y=False,
            limits=(0, 0),
        ),
    ),
)
