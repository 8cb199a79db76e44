"""Pictures of time and scaling: the paper's Figs. 3 to 6, efficiency, throughput a device."""

import math

import matplotlib.pyplot as plt

from plots.figure import Panel, plain_log
from plots.series import series, shown, statistic
from plots.training import trainings

COLUMNS = ("series", "origin", "nodes", "devices", "mean", "deviation", "runs")


def metric_rows(name: str):
    """A panel's `rows` function: one metric of the training runs, mean and deviation a series and size."""

    def rows(runs: list) -> tuple:
        runs = trainings(runs)
        notes = [] if runs else ["No training run was found."]
        table, lost = [], {}
        for label, group in series(runs).items():
            for nodes, devices in sorted({(run.nodes, run.devices) for run in group}):
                same = [run for run in group if (run.nodes, run.devices) == (nodes, devices)]
                mean, deviation, count = statistic([run.metric(name) for run in same])
                for run in same:
                    if math.isnan(run.metric(name)):
                        lost.setdefault(run.reason(name), []).append(run)
                if count:
                    entry = {"series": label, "origin": "measured", "nodes": nodes, "devices": devices}
                    table.append({**entry, "mean": mean, "deviation": deviation, "runs": count})
        for reason, without in lost.items():
            notes.append(f"{len(without)} of {len(runs)} training runs have no {name}: {reason}.")
        return table, notes + shown(row["series"] for row in table)[1]

    return rows


def over(axes, rows: list, x: str) -> None:
    """Draws mean and deviation of each series over `x` ("nodes" or "devices"), on log axes with plain tick labels."""
    names, _ = shown(row["series"] for row in rows)
    for name, style in zip(names, plt.rcParams["axes.prop_cycle"]):
        points = sorted((r for r in rows if r["series"] == name), key=lambda r: r[x])
        deviation = [0 if math.isnan(p["deviation"]) else p["deviation"] for p in points]
        count = sorted({p["runs"] for p in points})
        runs = f"{count[0]}" if len(count) == 1 else f"{count[0]}–{count[-1]}"
        label = f"{name} (mean of {runs})" if count[-1] > 1 else name
        axes.errorbar([p[x] for p in points], [p["mean"] for p in points], yerr=deviation, label=label, **style)
    sizes = sorted({r[x] for r in rows})
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(s) for s in sizes])
    axes.minorticks_off()
    axes.set_xlim(min(sizes) / 1.3, max(sizes) * 1.3)
    axes.legend()


def _draw_time(rows: list) -> plt.Figure:
    figure, axes = plt.subplots()
    over(axes, rows, "devices")
    plain_log(axes.yaxis)
    axes.set_xlabel("devices (ranks)")
    axes.set_ylabel("time per epoch (s)")
    return figure


PANELS = (Panel("time_per_epoch", "Time per epoch", COLUMNS, metric_rows("time_per_epoch"), _draw_time),)
