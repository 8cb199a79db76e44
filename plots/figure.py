"""What every picture has in common: the style, a data table that holds all it shows, and one way of
saving.

A panel is two functions. `rows(runs)` makes the data table; `draw(rows)` draws from that table
alone, so a picture cannot show a number that is not in it. What is missing is returned as notes,
written under the picture and at the end of the table.
"""

import csv
import io
import json
import math
import re
import textwrap
import warnings
from pathlib import Path
from typing import Callable, NamedTuple
from xml.etree import ElementTree

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from bigearth.files import new_file

STYLE = Path(__file__).with_name("style.mplstyle")
SVG = "{http://www.w3.org/2000/svg}"
ElementTree.register_namespace("", SVG[1:-1])
ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")
HOVER = "hover:"  # begins the id of a line whose points have names
# not measured here
HOLLOW = {
    "linestyle": "none",
    "marker": "o",
    "markerfacecolor": "none",
    "markeredgecolor": "0.25",
    "color": "0.25",
}
MISSING = {"color": "0.35"}
MOST_LETTERS = 400  # of one note under a picture; it is whole in the data table


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
    """Draws without a screen, in the style of style.mplstyle; letters that its font lacks become
    boxes (not in an SVG), without a word."""
    matplotlib.use("Agg")
    warnings.filterwarnings("ignore", r"Glyph .* missing from")
    plt.style.use(str(STYLE))


def plain_log(axis) -> None:
    """A log axis (`axes.xaxis` or `axes.yaxis`) labelled 1, 2, 5, 10 … in plain numbers; linear if
    nothing is positive."""
    if not math.isfinite(axis.get_minpos()):
        return
    name = axis.axis_name
    getattr(axis.axes, f"set_{name}scale")("log")
    low, high = axis.get_view_interval()
    wide = low > 0 and math.log10(high) - math.log10(low) > 2.5
    axis.set_major_locator(LogLocator(subs=(1,) if wide else (1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(NullFormatter())


def legend_above(axes, columns: int = 1) -> None:
    """The legend above the axes, where it cannot hide data."""
    handles, _ = axes.get_legend_handles_labels()
    if handles:
        axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=columns)


def short(label: str, width: int = 44) -> str:
    """A label of at most `width` characters: of a longer one the beginning and the end, where names
    differ."""
    if len(label) <= width:
        return label
    head = 2 * width // 3
    return f"{label[: head - 3].rstrip()} … {label[head - width :].lstrip()}"


def entry(label: str, width: int = 64) -> str:
    """A label as an entry of a legend; matplotlib leaves out those that begin with an
    underscore."""
    return short(f" {label}" if label.startswith("_") else label, width)


def cover(axis, low: float, high: float) -> None:
    """Limits of an axis: `low` to `high`, and further where the data are."""
    first, last = axis.get_data_interval()
    getattr(axis.axes, f"set_{axis.axis_name}lim")(min(low, first), max(high, last))


def size_ticks(axis, sizes) -> None:
    """Ticks of a base-2 log axis at the sizes that were run: the ends, then powers of two, then as
    many others as have room."""
    sizes = sorted(set(sizes))
    room = math.log2(sizes[-1] / sizes[0]) / 18
    shown: list = []
    for size in sorted(
        sizes,
        key=lambda size: (
            size not in (sizes[0], sizes[-1]),
            not math.log2(size).is_integer(),
            size,
        ),
    ):
        if all(
            abs(math.log2(size / other)) >= room * max(len(str(size)), len(str(other)), 2) / 2
            for other in shown
        ):
            shown.append(size)
    axis.set_ticks(shown, [str(size) for size in shown])


def write_table(path: Path, columns, rows, notes=()) -> None:
    """Writes a data table as CSV: the rows, then one row for each note (its only filled column is
    "note")."""
    header = [*columns, *(["note"] if notes else [])]
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, header, restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
        writer.writerows({"note": note} for note in notes)


def _say(figure, notes) -> None:
    """Writes the notes under the picture, wrapped to its width; a picture with many is taller, not
    smaller."""
    width = int(figure.get_figwidth() * 17)
    text = "\n".join(textwrap.fill(short(note, MOST_LETTERS), width) for note in notes)
    figure.set_figheight(figure.get_figheight() + 0.13 * max(0, text.count("\n") - 3))
    figure.supxlabel(text, x=0.01, ha="left", fontsize=7.5, **MISSING)


def worth_drawing(rows: list) -> bool:
    """Whether a picture would show anything that was measured here."""
    return any(row.get("origin", "measured") == "measured" for row in rows)


def draw(panel: Panel, rows: list, notes: list) -> plt.Figure:
    """Draws one panel with its title and notes; the caller closes the figure."""
    with plt.rc_context({"figure.constrained_layout.use": True}):
        figure = panel.draw(rows)
    title = textwrap.fill(panel.title, int(figure.get_figwidth() * 10))
    # one weight and slant everywhere: each more costs a font in every PDF
    figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    if notes:
        _say(figure, notes)
    figure.get_layout_engine().execute(figure)
    # the layout is solved once, and no format is drawn twice for its sake
    figure.set_layout_engine(None)
    return figure


def save(panel: Panel, rows: list, notes: list, out: Path) -> None:
    """Draws one panel and saves it as SVG, PDF and PNG with its data table beside it as CSV.

    Raises:
        InputError: the folder is not writable or the disk is full.
    """
    figure = draw(panel, rows, notes)
    formats = {
        "csv": lambda path: write_table(path, panel.columns, rows, notes=notes),
        "svg": lambda path: path.write_text(svg(figure, panel.name), encoding="utf-8"),
        "pdf": lambda path: figure.savefig(path, format="pdf", metadata={"CreationDate": None}),
        "png": lambda path: figure.savefig(path, format="png"),
    }
    for ending, write in formats.items():
        with new_file(out / f"{panel.name}.{ending}", "write the figure") as path:
            write(path)
    plt.close(figure)


def svg(figure, name: str) -> str:
    """The figure as SVG text: points named by `hover` show their values, and every id begins with
    `name`."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    root = ElementTree.fromstring(buffer.getvalue())
    for number, group in enumerate(root.iter(f"{SVG}g")):
        if group.get("id", "").startswith(HOVER):
            for mark, text in zip(
                group.iter(f"{SVG}use"), json.loads(group.get("id")[len(HOVER) :])
            ):
                ElementTree.SubElement(mark, f"{SVG}title").text = text
            group.set("id", f"points{number}")
    for element in root.iter():  # so that several pictures can stand in one page
        for key, value in element.attrib.items():
            if key == "id":
                element.set(key, f"{name}-{value}")
            elif "#" in value:
                element.set(key, re.sub(r"(^|url\()#", rf"\g<1>#{name}-", value))
    return ElementTree.tostring(root, encoding="unicode")


def hover(line, texts) -> None:
    """Names the points of a line: in the report, a pointer that rests on point i shows texts[i].

    Args:
        line: a drawn Line2D with a marker at every finite point.
        texts: one a point.
    """
    finite = np.isfinite(line.get_xydata()).all(axis=1)
    line.set_gid(HOVER + json.dumps([text for text, shown in zip(texts, finite) if shown]))
