"""`python -m plots figures`: draws every picture from the results, each with its data table beside it, and the paper's tables."""

import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.program import REQUIRED, option
from bigearth.progress import Progress
from plots import figure, nodes, results, samples, scaling, study, tables, training
from plots.parallel import on_all_cores

PANELS = training.PANELS + samples.PANELS + scaling.PANELS + nodes.PANELS + study.PANELS  # what takes longest first: two cores end together


@dataclass
class Config:
    """Options of `python -m plots figures`."""

    results: str = option(REQUIRED, "folder that is searched for result.json files, results.db and run-*.json reports, or one such file")
    out: str = option(REQUIRED, "folder for the pictures (SVG, PDF, PNG) and their data tables (CSV)")


def draw(runs: list, out: Path) -> dict:
    """Draws every panel, on all cores.

    Returns:
        panel name -> its notes, in the order of PANELS.
    """
    notes = {}
    with Progress(len(PANELS), "figures", "figures") as progress:
        for name, found in on_all_cores(_save, range(len(PANELS)), 1, _inherit, (runs, out)):
            notes[name] = found
            progress.update(1)
    return notes


_task: tuple = ()


def _inherit(runs: list, out: Path) -> None:
    global _task
    _task = (runs, out)
    figure.use_style()


def _save(index: int) -> tuple:
    return PANELS[index].name, figure.save(PANELS[index], *_task)


def run(config: Config) -> None:
    """Draws all pictures and prints the folder they are in."""
    runs = results.load(config.results).runs
    out = figure.output_folder(config.out)
    print(f"figures from {results.describe(runs)}", file=sys.stderr)
    for table in (tables.table2(runs), tables.table3(runs)):
        tables.save(table, out)
    for name, notes in draw(runs, out).items():
        for note in notes:
            print(f"{name}: {figure.short(note, figure.MOST_LETTERS)}", file=sys.stderr)
    print(out)
