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


def _draw_band(axes, times: list, points: list) -> None:
    """The reference band in grey; one that is open on one side has only an edge."""
    low, high = ([p[side] for p in points] for side in ("low", "high"))
    if any(math.isfinite(a) and math.isfinite(b) for a, b in zip(low, high)):
        axes.fill_between(times, low, high, color="0.9", linewidth=0, zorder=0)
    for edge in (low, high):
        axes.plot(times, edge, color="0.75", linestyle="-", marker="", linewidth=0.8, zorder=0)


def _draw_series(axes, name: str, points: list) -> None:
    """One small plot: runs as dots, the level as a line, an arrow where it changed."""
    times = [datetime.datetime.fromisoformat(p["time"]) for p in points]
    many = len(points) > MOST_DOTS
    values, levels = ([p[column] for p in points] for column in ("value", "level"))
    (dots,) = axes.plot(times, values, ".", color="C0", markersize=6, rasterized=many)
    if not many:
        hover(dots, [f"{p['time']}: {p['value']:.4g} {p['unit']}" for p in points])
    line = {"color": "C1", "linestyle": "-", "marker": "", "linewidth": 1.2}
    axes.plot(times, levels, drawstyle="steps-mid", **line)
    _draw_band(axes, times, points)
    arrow = {"marker": "^", "color": "black", "markersize": 7, "linestyle": "none"}
    for time, point in zip(times, points):
        if point["change"]:
            axes.plot([time], [point["level"]], **arrow)
    if len(set(times)) == 1:
        axes.set_xlim(times[0] - DAY, times[0] + DAY)
    locator = AutoDateLocator(maxticks=6)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    label = f"{points[0]['metric']} ({points[0]['unit'] or 'unit not recorded'})"
    axes.set_ylabel(short(label, 36), fontsize=7)
    last = next((p["change"] for p in reversed(points) if p["change"]), "")
    axes.set_title(short(name, 70) + (f"\n{short(last, 72)}" if last else ""), fontsize=7)


def draw(table: list) -> plt.Figure:
    """Small plots, one per series: dots are runs, the line is the level, an arrow a lasting change,
    grey the reference band."""
    by_series: dict = {}
    for row in table:
        by_series.setdefault(row["series"], []).append(row)
    columns = min(2, len(by_series))
    lines = math.ceil(len(by_series) / columns)
    size = (4.6 * columns, 2.2 * lines + 0.6)
    figure, grid = plt.subplots(lines, columns, figsize=size, squeeze=False)
    for axes in grid.flat[len(by_series) :]:
        axes.set_axis_off()
    for axes, (name, points) in zip(grid.flat, by_series.items()):
        _draw_series(axes, name, points)
    return figure


PANEL = Panel(
    "timeline",
    "History: dots are runs, lines levels, ▲ lasting changes, grey the reference band",
    ("series", "metric", "unit", "time", "value", "level", "low", "high", "change"),
    rows=rows,
    draw=draw,
)
