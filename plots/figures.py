"""`python -m plots figures`: draws every picture from the results, each with its data table beside
it, and the paper's tables."""

import itertools
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bigearth.cli import REQUIRED, option
from bigearth.progress import Progress
from plots import figure, nodes, results, samples, scaling, study, tables, training
from plots.parallel import on_all_cores

# what takes longest first: all cores end together
PANELS = training.PANELS + nodes.PANELS + scaling.PANELS + samples.PANELS + study.PANELS


@dataclass
class Config:
    """Options of `python -m plots figures`."""

    results: str = option(
        REQUIRED,
        "folder that is searched for result.json files, results.db and "
        "run-*.json reports, or one such file",
    )
    out: str = option(
        REQUIRED, "folder for the pictures (SVG, PDF, PNG) and their data tables (CSV)"
    )


def _draw(panels: list, runs: list, out: Path) -> dict:
    """Draws the panels of one data table, which is made once."""
    made = panels[0].rows(runs)
    return {
        panel.name: figure.save(panel._replace(rows=lambda _: made), runs, out) for panel in panels
    }


def _write(table, runs: list, out: Path) -> dict:
    tables.save(table(runs), out)
    return {}


TASKS = [
    *(
        partial(_draw, list(panels))
        for _, panels in itertools.groupby(PANELS, key=lambda panel: panel.rows)
    ),
    *(partial(_write, table) for table in (tables.table2, tables.table3)),
]
_data: tuple = ()


def _inherit(*data) -> None:
    global _data
    _data = data
    figure.use_style()


def _do(index: int) -> dict:
    return TASKS[index](*_data)


def draw(runs: list, out: Path) -> dict:
    """Draws every panel and writes the paper's tables, on all cores.

    Returns:
        panel name -> its notes, in the order of PANELS.
    """
    notes: dict = {}
    with Progress(len(PANELS), "figures", "figures") as progress:
        for found in on_all_cores(_do, range(len(TASKS)), 1, _inherit, (runs, out)):
            notes.update(found)
            progress.update(len(found))
    return {panel.name: notes[panel.name] for panel in PANELS}


def run(config: Config) -> None:
    """Draws all pictures and prints the folder they are in."""
    runs = results.load(config.results).runs
    out = figure.output_folder(config.out)
    print(f"figures from {results.describe(runs)}", file=sys.stderr)
    for name, notes in draw(runs, out).items():
        for note in notes:
            print(f"{name}: {figure.short(note, figure.MOST_LETTERS)}", file=sys.stderr)
    print(out)
