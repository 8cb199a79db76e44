"""What every picture has in common: the style, a data table that holds all it shows, and one way of saving.

A panel is two functions. `rows(runs)` makes the data table; `draw(rows)` draws from that table alone, so a picture cannot show a
number that is not in it. What is missing is returned as notes, written under the picture and at the end of the table.
"""

import csv
import math
import os
import textwrap
from pathlib import Path
from typing import Callable, NamedTuple

import matplotlib
import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from bigearth.errors import InputError, disk_error

STYLE = Path(__file__).with_name("style.mplstyle")
FORMATS = ("svg", "pdf", "png")
HOLLOW = {"linestyle": "none", "marker": "o", "markerfacecolor": "none", "markeredgecolor": "0.25", "color": "0.25"}  # not measured here
MISSING = {"color": "0.35", "style": "italic"}


class Panel(NamedTuple):
    """One picture.

    Attributes:
        name: file name without its ending.
        title: what it shows, in words.
        columns: the data table's columns, in order.
        rows: runs -> (rows, notes): list of dicts with those columns, and list of sentences.
        draw: rows -> matplotlib Figure; called only if there are rows.
    """

    name: str
    title: str
    columns: tuple
    rows: Callable
    draw: Callable


def use_style() -> None:
    """Draws without a screen, in the style of style.mplstyle."""
    matplotlib.use("Agg")
    plt.style.use(str(STYLE))


def plain_log(axis) -> None:
    """A log axis (`axes.xaxis` or `axes.yaxis`) labelled 1, 2, 5, 10 … in plain numbers; linear if nothing is positive."""
    if not math.isfinite(axis.get_minpos()):
        return
    name = axis.axis_name
    getattr(axis.axes, f"set_{name}scale")("log")
    low, high = axis.get_view_interval()
    wide = low > 0 and high / low > 300
    axis.set_major_locator(LogLocator(subs=(1,) if wide else (1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(NullFormatter())


def legend_above(axes, columns: int = 1) -> None:
    """The legend above the axes, where it cannot hide data."""
    handles, _ = axes.get_legend_handles_labels()
    if handles:
        axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=columns or 1)


def short(label: str, width: int = 44) -> str:
    """A label cut to `width` characters."""
    return textwrap.shorten(label, width, placeholder=" …") if len(label) > width else label


def write_table(path: Path, columns, rows, notes=()) -> None:
    """Writes a data table as CSV: the rows, then one row for each note (its only filled column is "note")."""
    header = [*columns, *(["note"] if notes else [])]
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, header, restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
        writer.writerows({"note": note} for note in notes)


def _empty() -> plt.Figure:
    figure, axes = plt.subplots(figsize=(6.4, 2.4))
    axes.set_axis_off()
    axes.text(0.5, 0.6, "nothing to draw", ha="center", va="center", fontsize=12, transform=axes.transAxes, **MISSING)
    return figure


def _say(figure, notes) -> None:
    """Writes the notes under the picture, wrapped to its width."""
    width = int(figure.get_figwidth() * 17)
    text = "\n".join(textwrap.fill(note, width) for note in notes)
    figure.supxlabel(text, x=0.01, ha="left", fontsize=7.5, **MISSING)


def save(panel: Panel, runs: list, out: Path) -> list:
    """Draws one panel and saves it as SVG, PDF and PNG with its data table beside it as CSV.

    Returns:
        The notes: what is missing in the picture.

    Raises:
        InputError: the folder is not writable or the disk is full.
    """
    rows, notes = panel.rows(runs)
    figure = panel.draw(rows) if rows else _empty()
    try:
        figure.suptitle(panel.title, x=0.01, ha="left", fontsize=11, fontweight="bold")
        if notes:
            _say(figure, notes)
        figure.get_layout_engine().execute(figure)
        figure.set_layout_engine("none")  # the layout is solved once, not again for each format
        write_table(out / f"{panel.name}.csv", panel.columns, rows, notes)
        for suffix in FORMATS:
            metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(suffix)
            figure.savefig(out / f"{panel.name}.{suffix}", metadata=metadata)
    except OSError as error:
        raise disk_error(out / panel.name, "write the figure", error) from error
    finally:
        plt.close(figure)
    return notes


def output_folder(path) -> Path:
    """Creates the folder that pictures go to.

    Raises:
        InputError: it cannot be created or written to.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(folder, "create the output folder", error) from error
    if not os.access(folder, os.W_OK):
        raise InputError(f"{folder}: the output folder is not writable; choose another with --out, or change its permissions")
    return folder
