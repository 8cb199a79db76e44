"""`python -m plots figures`: draws every picture from the results, each with its data table beside
it, and the paper's tables."""

import sys
from dataclasses import dataclass
from pathlib import Path

from bigearth.cli import REQUIRED, option
from bigearth.files import make_folder
from bigearth.progress import Progress
from plots import figure, tables
from plots.panels import batch_study, curves, efficiency, patches, ranks, scaling
from reframe_tests.results import runs

PANELS = (
    curves.PANELS
    + efficiency.PANELS
    + ranks.PANELS
    + scaling.PANELS
    + patches.PANELS
    + batch_study.PANELS
)


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


def draw(found: list, out: Path) -> dict:
    """Draws every panel that has something measured to show and writes the paper's tables.

    Args:
        found: the runs.

    Returns:
        panel name -> its notes, in the order of PANELS.
    """
    figure.use_style()
    told = {}
    with Progress(len(PANELS), "figures", "figures") as progress:
        for panel in PANELS:
            rows, notes = panel.rows(found)
            if figure.worth_drawing(rows):
                figure.save(panel, rows, notes, out=out)
            told[panel.name] = notes
            progress.update(1)
    for table in (tables.table2, tables.table3):
        tables.save(table(found), out)
    return told


def run(config: Config) -> None:
    """Draws all pictures and prints the folder they are in."""
    found = runs.load(config.results).runs
    out = make_folder(config.out)
    print(f"figures from {runs.describe(found)}", file=sys.stderr)
    for name, notes in draw(found, out).items():
        for note in notes:
            print(f"{name}: {figure.short(note, figure.MOST_LETTERS)}", file=sys.stderr)
    print(out)
