"""The picture of the history: values over time, their levels, and where these changed."""

import datetime
import math

import matplotlib.pyplot as plt
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

from plots.figure import Panel, hover, short
from reframe_tests.results.values import iso

DAY = datetime.timedelta(days=1)
MOST_SERIES = 12  # small plots in one picture
MOST_DOTS = 500  # of one series; more are drawn as pixels, to keep SVG and PDF small


def rows(series: list) -> tuple:
    """Value, level, band and whether a lasting change begins, of every run of the series that are
    drawn."""
    ranked = sorted(series, key=lambda one: (not one.events, one.key))  # what changed first
    table = []
    for one in ranked[:MOST_SERIES]:
        begins = {event.index: event for event in one.events}
        for i, (case, value, level) in enumerate(zip(one.cases, one.values, one.levels())):
            judged = case.values[one.key[3]]
            row = {
                "series": one.name,
                "metric": one.key[3],
                "unit": one.unit,
                "time": iso(case.time),
                "value": value,
                "level": level,
            }
            change = begins[i].sentence(one.key[3]) if i in begins else ""
            table.append({**row, "low": judged.low, "high": judged.high, "change": change})
    notes = [] if series else ["No series was found."]
    if len(series) > MOST_SERIES:
        notes.append(
            f"Shown: {MOST_SERIES} of {len(series)} series, those that changed first; all "
            "are in history.csv."
        )
    return table, notes


def draw(table: list) -> plt.Figure:
    """Small plots, one a series: dots are runs, the line is the level, an arrow a lasting change,
    grey the reference band."""
    by_series: dict = {}
    for row in table:
        by_series.setdefault(row["series"], []).append(row)
    columns = min(2, len(by_series))
    lines = math.ceil(len(by_series) / columns)
    figure, grid = plt.subplots(
        lines, columns, figsize=(4.6 * columns, 2.2 * lines + 0.6), squeeze=False
    )
    for axes in grid.flat[len(by_series) :]:
        axes.set_axis_off()
    for axes, (name, points) in zip(grid.flat, by_series.items()):
        times = [datetime.datetime.fromisoformat(p["time"]) for p in points]
        (dots,) = axes.plot(
            times,
            [p["value"] for p in points],
            ".",
            color="C0",
            markersize=6,
            rasterized=len(points) > MOST_DOTS,
        )
        if len(points) <= MOST_DOTS:
            hover(dots, [f"{p['time']}: {p['value']:.4g} {p['unit']}" for p in points])
        axes.plot(
            times,
            [p["level"] for p in points],
            color="C1",
            linestyle="-",
            marker="",
            linewidth=1.2,
            drawstyle="steps-mid",
        )
        if any(math.isfinite(p["low"]) and math.isfinite(p["high"]) for p in points):
            axes.fill_between(
                times,
                [p["low"] for p in points],
                [p["high"] for p in points],
                color="0.9",
                linewidth=0,
                zorder=0,
            )
        for side in ("low", "high"):  # a band that is open on one side has only an edge
            axes.plot(
                times,
                [p[side] for p in points],
                color="0.75",
                linestyle="-",
                marker="",
                linewidth=0.8,
                zorder=0,
            )
        for time, point in zip(times, points):
            if point["change"]:
                axes.plot(
                    [time],
                    [point["level"]],
                    marker="^",
                    color="black",
                    markersize=7,
                    linestyle="none",
                )
        if len(set(times)) == 1:
            axes.set_xlim(times[0] - DAY, times[0] + DAY)
        locator = AutoDateLocator(maxticks=6)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
        axes.set_ylabel(
            short(f"{points[0]['metric']} ({points[0]['unit'] or 'unit not recorded'})", 36),
            fontsize=7,
        )
        last = next((p["change"] for p in reversed(points) if p["change"]), "")
        axes.set_title(short(name, 70) + (f"\n{short(last, 72)}" if last else ""), fontsize=7)
    return figure


PANEL = Panel(
    "timeline",
    "History: dots are runs, lines levels, ▲ lasting changes, grey the reference band",
    ("series", "metric", "unit", "time", "value", "level", "low", "high", "change"),
    rows,
    draw,
)
