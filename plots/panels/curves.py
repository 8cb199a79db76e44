"""Pictures of single trainings: learning curves, scores per class."""

import math

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.lines import Line2D

from plots import published
from plots.figure import HOLLOW, MISSING, Panel, cover, entry, hover, legend_above, plain_log, short
from plots.series import by_size, grouped, series, shown, trainings
from reframe_tests.results.values import statistic

CURVES = {  # column of tables.epochs -> (axes, label)
    "time": ("time", "time per epoch"),
    "train_loss": ("loss", "training"),
    "val_loss": ("loss", "validation"),
    "val_f1_micro": ("F1", "validation, micro"),
    "val_f1_macro": ("F1", "validation, macro"),
    "learning_rate": ("learning rate", "learning rate"),
}
AXES = {
    "time": "time per epoch (s)",
    "loss": "loss (1)",
    "F1": "F1 score (1)",
    "learning rate": "learning rate (1)",
}
MOST_EPOCHS = 10**9  # a larger number is none of an epoch
MOST_CURVES = 4  # series in one picture of learning curves; more would hide each other
MOST_CLASSES = 60  # lines of the list of classes
SCORES = ("f1", "precision", "recall")
PUBLISHED = "JUWELS, 1 node, published (Table 3, multispectral)"


def _is_epoch(value) -> bool:
    return isinstance(value, int) and abs(value) <= MOST_EPOCHS


def _curve_points(group: list) -> tuple:
    """Mean and deviation of every quantity of CURVES in every epoch, over the runs of a group; and
    how many rows have no epoch's number."""
    epochs = grouped(group, "epochs", "epoch", wanted=CURVES)
    unnumbered = sum(
        len(values["time"]) for epoch, values in epochs.items() if not _is_epoch(epoch)
    )
    points = []
    for column in CURVES:
        for epoch in sorted(filter(_is_epoch, epochs)):
            values = epochs[epoch][column]
            mean, deviation, count = statistic(values)
            point = {
                "quantity": column,
                "epoch": epoch,
                "mean": mean,
                "deviation": deviation,
                "runs": count,
            }
            points.append({**point, "missing": len(values) - count})
    return points, unnumbered


def curve_rows(runs: list) -> tuple:
    """Mean and deviation of every per-epoch quantity, per series."""
    runs = trainings(runs)
    notes, rows, unnumbered = [], [], 0
    without = [run for run in runs if not run.table("epochs")]
    for label, group in series([run for run in runs if run.table("epochs")]).items():
        for (nodes, devices), same in by_size(group).items():
            name = (
                f"{label}, {devices} device{'s' * (devices > 1)} on {nodes} node{'s' * (nodes > 1)}"
            )
            points, more = _curve_points(same)
            rows += [{"series": name, **point} for point in points]
            unnumbered += more
    if not runs:
        notes.append("No training run was found.")
    if without:
        notes.append(f"Without a table of epochs: {len(without)} of {len(runs)} training runs.")
    if unnumbered:
        notes.append(f"Rows of epochs without the epoch's number: {unnumbered}.")
    names = list(dict.fromkeys(row["series"] for row in rows))
    if len(names) > MOST_CURVES:
        notes.append(
            f"Of {len(names)} series the first {MOST_CURVES} are drawn; all are in the data table."
        )
    for column in CURVES:
        lost = sum(row["missing"] for row in rows if row["quantity"] == column)
        if lost:
            notes.append(
                f"{column.replace('_', ' ')}: {lost} values are missing or not finite "
                "(gaps in the line)."
            )
    return rows, notes


def _draw_curve(axes, points: list, **style) -> None:
    epoch = np.array([p["epoch"] for p in points], float)
    mean = np.array([p["mean"] for p in points])
    deviation = np.array([p["deviation"] for p in points])
    (line,) = axes.plot(epoch, mean, markersize=4, **style)
    hover(line, [f"epoch {p['epoch']}: {p['mean']:.4g}" for p in points])
    if np.isfinite(deviation).any():
        axes.fill_between(
            epoch, mean - deviation, mean + deviation, color=style["color"], alpha=0.18, linewidth=0
        )


def draw_curves(rows: list) -> plt.Figure:
    """Four small plots over epochs: time, loss, F1, learning rate. Colour and marker are the
    series, the line's style the quantity."""
    names = list(dict.fromkeys(row["series"] for row in rows))[:MOST_CURVES]
    figure, grid = plt.subplots(2, 2, figsize=(8.4, 5.8 + 0.17 * len(names)), sharex=True)
    cycle = list(plt.rcParams["axes.prop_cycle"])
    for (kind, y_label), axes in zip(AXES.items(), grid.flat):
        columns = [c for c, (k, _) in CURVES.items() if k == kind]
        for name, style in zip(names, cycle):
            for column, line in zip(columns, ("-", "--")):
                points = [r for r in rows if r["series"] == name and r["quantity"] == column]
                if any(math.isfinite(p["mean"]) for p in points):
                    label = entry(name, 48) if column == columns[0] else "_"
                    _draw_curve(
                        axes,
                        points,
                        label=label,
                        color=style["color"],
                        marker=style["marker"],
                        linestyle=line,
                    )
        axes.set_ylabel(y_label)
        axes.xaxis.get_major_locator().set_params(integer=True)
        if not axes.lines:
            axes.text(
                0.5, 0.5, f"no {kind} recorded", ha="center", transform=axes.transAxes, **MISSING
            )
        elif len(columns) > 1:
            grey = [Line2D([], [], color="0.3", linestyle=line) for line in ("-", "--")]
            axes.legend(grey, [CURVES[column][1] for column in columns])
        if kind == "F1" and axes.lines:
            cover(axes.yaxis, 0, 1)
    for axes in grid[-1]:
        axes.set_xlabel("epoch")
    legend_above(grid[0, 0])
    return figure


def class_rows(runs: list) -> tuple:
    """F1, precision, recall and support of every class, mean and deviation over the runs of each
    series; then the paper's Table 3."""
    runs = trainings(runs)
    scored = [run for run in runs if run.table("per_class")]
    notes = [] if runs else ["No training run was found."]
    if len(scored) < len(runs):
        notes.append(
            f"Without scores per class: {len(runs) - len(scored)} of {len(runs)} training runs."
        )
    rows = []
    for label, group in series(scored).items():
        for name, values in grouped(
            group, "per_class", "label", wanted=("support", *SCORES)
        ).items():
            row = {
                "series": label,
                "origin": "measured",
                "class": str(name),
                "support": statistic(values["support"])[0],
            }
            for score in SCORES:
                mean, deviation, count = statistic(values[score])
                row.update(
                    {
                        score: mean,
                        f"{score}_deviation": deviation,
                        "runs": max(count, row.get("runs", 0)),
                    }
                )
            rows.append(row)
    names, note = shown(row["series"] for row in rows)
    classes = {row["class"] for row in rows}
    if len(classes) > MOST_CLASSES:
        notes.append(
            f"{len(classes)} classes: the list shows the {MOST_CLASSES} most frequent, "
            "the data table all."
        )
    absent = [row for row in rows if row["series"] in names and not _drawable(row)]
    if absent:
        notes.append(
            f"Not drawn: {len(absent)} of {len(rows)} rows, without a test patch of the "
            "class (support 0) or without F1."
        )
    if runs and not rows:
        notes.append("Only published numbers are shown.")
    rows += [
        {
            "series": PUBLISHED,
            "origin": "published",
            "class": row["class"],
            "support": row["support"],
            "f1": row["f1_multispectral"],
        }
        for row in published.table3()
    ]
    return rows, notes + note + [published.note()]


def _drawable(row: dict) -> bool:
    return row["support"] > 0 and math.isfinite(row["f1"])


def _marked(rows: list) -> list:
    """(series, its drawable rows, its markers): the measured ones in the palette's order, then the
    published ones, hollow."""
    names, _ = shown(row["series"] for row in rows if row["origin"] == "measured")
    styles = [{**style, "linestyle": "none"} for style in plt.rcParams["axes.prop_cycle"]]
    marked = [
        (name, [r for r in rows if r["series"] == name and _drawable(r)], style)
        for name, style in zip(names, styles)
    ]
    return [
        *marked,
        (PUBLISHED, [r for r in rows if r["origin"] == "published" and _drawable(r)], HOLLOW),
    ]


def draw_classes(rows: list) -> plt.Figure:
    """A line per class, most frequent first: F1 on the left, support (log) on the right."""
    marked = _marked(rows)
    support: dict = {}
    # the order is the first series' own
    for _, points, _ in marked if not marked[0][1] else marked[:1]:
        for row in points:
            support[row["class"]] = row["support"]
    order = sorted(support, key=lambda c: (support[c], c))[-MOST_CLASSES:]
    place = {name: i for i, name in enumerate(order)}
    height = max(2.6, 1.5 + 0.2 * len(order))
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(8.4, height), sharey=True, width_ratios=(3, 1)
    )
    for name, points, style in marked:
        points = [p for p in points if p["class"] in place]
        at = [place[p["class"]] for p in points]
        deviation = [p.get("f1_deviation", math.nan) for p in points]
        if points:
            bars = left.errorbar(
                [p["f1"] for p in points],
                at,
                xerr=deviation,
                label=entry(name, 56),
                markersize=5,
                capsize=2,
                **style,
            )
            hover(bars.lines[0], [f"{p['class']}: F1 {p['f1']:.3f}" for p in points])
            right.plot([p["support"] for p in points], at, markersize=5, **style)
    left.set_yticks(range(len(order)), [short(c) for c in order])
    left.set_ylim(-0.7, len(order) - 0.3)
    cover(left.xaxis, -0.02, 1.02)
    left.set_xlabel("F1 score (1)")
    plain_log(right.xaxis)
    right.set_xlabel("support (patches)")
    legend_above(left)
    return figure


def draw_support(rows: list) -> plt.Figure:
    """F1 over support: one marker per class."""
    figure, axes = plt.subplots(figsize=(6.4, 4.6))
    for name, points, style in _marked(rows):
        if points:
            (line,) = axes.plot(
                [p["support"] for p in points],
                [p["f1"] for p in points],
                label=entry(name),
                **style,
            )
            hover(
                line,
                [f"{p['class']}: F1 {p['f1']:.3f}, support {p['support']:,.0f}" for p in points],
            )
    plain_log(axes.xaxis)
    cover(axes.yaxis, -0.03, 1.03)
    axes.set_xlabel("support (test patches that carry the class)")
    axes.set_ylabel("F1 score (1)")
    legend_above(axes)
    return figure


PANELS = (
    Panel(
        "learning_curves",
        "Training over epochs",
        ("series", "quantity", "epoch", "mean", "deviation", "runs", "missing"),
        rows=curve_rows,
        draw=draw_curves,
    ),
    Panel(
        "f1_per_class",
        "F1 per class, most frequent on top",
        (
            "series",
            "origin",
            "class",
            "support",
            "f1",
            "f1_deviation",
            "precision",
            "precision_deviation",
            "recall",
            "recall_deviation",
            "runs",
        ),
        rows=class_rows,
        draw=draw_classes,
    ),
    Panel(
        "f1_against_support",
        "F1 against how often a class occurs",
        ("series", "origin", "class", "support", "f1", "f1_deviation", "runs"),
        rows=class_rows,
        draw=draw_support,
    ),
)
