"""Why not faster: what each factor of the efficiency tree costs, from ceiling to measured
throughput, and over sizes."""

import math

import matplotlib.pyplot as plt
import numpy as np

from bigearth.learn.efficiency import FACTORS
from plots.figure import Panel, cover, entry, short
from plots.series import by_size, series, shown, trainings
from reframe_tests.results.values import number

COLUMNS = ("series", "nodes", "devices", "factor", "value", "low", "high", "loss", "reason")
LEVELS = ("before", "after", "unit")
MOST_BARS = 48  # sizes of all series in the picture of losses
NO_TREE = "No training run kept an efficiency tree with a measured factor."
COLOURS = {name: f"C{place}" for place, name in enumerate(FACTORS)}
MEASURED = ("input", "epoch_overhead")  # factors after which throughput is what was measured
WHOLE = {"color": "0.45"}  # the bars of ceiling and measured throughput


def _part(value) -> dict:
    return value if isinstance(value, dict) else {}


def _words(factor: str) -> str:
    return factor.replace("_", " ")


def tree_rows(label: str, run) -> list:
    """A row per factor of a run's tree; no rows if none of its factors was measured."""
    factors = _part(run.efficiency.get("factors"))
    rows = []
    for name in FACTORS:
        kept = _part(factors.get(name))
        interval = kept.get("interval")
        ends = interval if isinstance(interval, list) and len(interval) == 2 else (None, None)
        value = number(kept.get("value"))
        row = {"series": label, "nodes": run.nodes, "devices": run.devices, "factor": name}
        row.update(value=value, low=number(ends[0]), high=number(ends[1]))
        row.update(loss=number(kept.get("loss")), reason="")
        if not value > 0:
            row.update(value=math.nan, loss=math.nan, reason=str(kept.get("reason") or "not kept"))
        rows.append(row)
    return rows if any(math.isfinite(row["value"]) for row in rows) else []


def _levels(run) -> tuple:
    """Level -> throughput, and its unit: of images where the batch is known, else of steps."""
    batch = number(run.config.get("batch_size"))
    images = run.devices * batch if batch > 0 else 1
    seconds = {name: number(value) for name, value in _part(run.efficiency.get("levels")).items()}
    speeds = {name: number(images / value) for name, value in seconds.items() if value > 0}
    return speeds, "img/s" if batch > 0 else "steps/s"


def waterfall_rows(runs: list) -> tuple:
    """The factors of the largest training run that has a tree, the last of that size, each with the
    throughput before and after it."""
    largest = sorted(trainings(runs), key=lambda run: (run.devices, run.time), reverse=True)
    for run in largest:
        rows = tree_rows(run.system, run)
        speeds, unit = _levels(run)
        for row in rows:
            before = speeds.get(FACTORS[row["factor"]][0], math.nan)
            row.update(before=before, after=number(before * row["value"]), unit=unit)
        if any(math.isfinite(row["after"]) for row in rows):
            size = f"{run.devices} device{'s' * (run.devices > 1)} on {run.nodes} "
            size += f"node{'s' * (run.nodes > 1)}"
            which = f"The largest run with a tree, the last of that size: {run.system}, {run.time}"
            return rows, [f"{which}; {size}. Bars: 95 % intervals."]
    return [], [NO_TREE]


def _ends(row: dict) -> list:
    """Where a factor's bar and its interval begin and end, as far as these are known."""
    factors = (1, row["value"], row["low"], row["high"])
    return [row["before"] * factor for factor in factors if math.isfinite(factor)]


def draw_waterfall(rows: list) -> plt.Figure:
    """Every factor a step from the throughput before it to that after it; ceiling and measured
    throughput whole; a factor without a value has its reason in words."""
    known = [row for row in rows if math.isfinite(row["after"])]
    first, last = known[0], known[-1]
    begin = "ceiling" if first["factor"] == "device_utilisation" else "before losses"
    end = "measured" if last["factor"] in MEASURED else f"after {_words(last['factor'])}"
    figure, axes = plt.subplots(figsize=(6.4, 4.0))
    axes.barh(0, first["before"], **WHOLE)
    axes.barh(len(rows) + 1, last["after"], **WHOLE)
    whole = max(max(_ends(row)) for row in known)
    for place, row in enumerate(rows, 1):
        if not math.isfinite(row["after"]):
            reason = short(row["reason"] or "its levels were not kept", 68)
            axes.text(0.01 * whole, place, f"not measured: {reason}", va="center", fontsize=7)
            continue
        low, high = sorted((row["before"], row["after"]))
        axes.barh(
            place,
            high - low,
            left=low,
            color=COLOURS[row["factor"]],
        )
        text = f"× {row['value']:.3g}"
        if math.isfinite(row["low"]) and math.isfinite(row["high"]):
            bar = [row["before"] * row["low"], row["before"] * row["high"]]
            axes.plot(bar, [place, place], color="black", marker="|", linestyle="-", linewidth=1.2)
            text += f" [{row['low']:.3g} to {row['high']:.3g}]"
        axes.text(max(_ends(row)) + 0.015 * whole, place, text, va="center", fontsize=7.5)
    for place, value in ((0, first["before"]), (len(rows) + 1, last["after"])):
        axes.text(value + 0.015 * whole, place, f"{value:.4g}", va="center", fontsize=7.5)
    names = [begin, *(_words(row["factor"]) for row in rows), end]
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.5 * whole)  # with room for words
    axes.grid(False, axis="y")
    axes.set_xlabel(f"throughput ({first['unit']})")
    return figure


def loss_rows(runs: list) -> tuple:
    """The factors of the last run of every size that has a tree, of the series with several
    sizes."""
    rows = []
    for label, group in series(trainings(runs)).items():
        sizes = {}
        for size, same in by_size(group).items():
            trees = (tree_rows(label, run) for run in reversed(same))
            found = next(filter(None, trees), [])
            sizes.update({size: found} if found else {})
        if len(sizes) > 1:
            rows += [row for found in sizes.values() for row in found]
    if not rows:
        return [], ["No series has efficiency trees at several sizes."]
    notes = shown(row["series"] for row in rows)[1]
    bars = len(_bars(rows))
    if bars > MOST_BARS:
        notes.append(f"{bars} sizes: the first {MOST_BARS} are drawn, all are in the data table.")
    lost = dict.fromkeys(f"{_words(r['factor'])}: {r['reason']}" for r in rows if r["reason"])
    notes += [f"Not measured everywhere: {'; '.join(lost)}."] if lost else []
    return rows, [*notes, "What is left to 100 % is computing, and what was not measured."]


def _bars(rows: list) -> list:
    """(series, nodes, devices) of every bar, of the series that are drawn."""
    names, _ = shown(row["series"] for row in rows)
    sizes = ((row["series"], row["nodes"], row["devices"]) for row in rows)
    return list(dict.fromkeys(size for size in sizes if size[0] in names))


def draw_losses(rows: list) -> plt.Figure:
    """A bar per size of each series, stacked from the losses; what looks like a gain (noise) goes
    to the left of 0."""
    bars = _bars(rows)[:MOST_BARS]
    figure, axes = plt.subplots(figsize=(6.4, 2.3 + 0.3 * len(bars)))
    right, left = np.zeros(len(bars)), np.zeros(len(bars))
    for factor in reversed(FACTORS):
        losses = {
            (row["series"], row["nodes"], row["devices"]): 100 * row["loss"]
            for row in rows
            if row["factor"] == factor and math.isfinite(row["loss"])
        }
        if not losses:
            continue
        width = np.array([losses.get(bar, 0.0) for bar in bars])
        axes.barh(
            range(len(bars)),
            width,
            left=np.where(width >= 0, right, left),
            label=entry(_words(factor), 30),
            color=COLOURS[factor],
            edgecolor="white",
            linewidth=0.5,
        )
        right += np.maximum(width, 0)
        left += np.minimum(width, 0)
    labels = [
        f"{short(name, 40)}, {devices} device{'s' * (devices > 1)} on {nodes} "
        f"node{'s' * (nodes > 1)}"
        for name, nodes, devices in bars
    ]
    axes.set_yticks(range(len(bars)), labels)
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    cover(axes.xaxis, 0, 100)
    axes.set_xlabel("part of the time that is lost (%)")
    figure.legend(loc="outside upper right", ncols=2)
    return figure


PANELS = (
    Panel(
        "why_not_faster",
        "Why not faster: from ceiling to measured throughput",
        (*COLUMNS, *LEVELS),
        rows=waterfall_rows,
        draw=draw_waterfall,
    ),
    Panel("losses", "What is lost to what, over sizes", COLUMNS, rows=loss_rows, draw=draw_losses),
)
