"""`python -m plots figures`: draws every picture from the results, each with its data table beside it."""

import sys
from dataclasses import dataclass

from benchmarks.program import REQUIRED, option
from bigearth.progress import Progress
from plots import figure, results, scaling, training

PANELS = scaling.PANELS + training.PANELS


@dataclass
class FiguresConfig:
    """Options of `python -m plots figures`."""

    results: str = option(REQUIRED, "folder with the results, searched for result.json files")
    out: str = option(REQUIRED, "folder for the pictures (SVG, PDF, PNG) and their data tables (CSV)")


def run(config: FiguresConfig) -> None:
    """Draws all pictures and prints the folder they are in."""
    runs = results.load(config.results)
    out = figure.output_folder(config.out)
    figure.use_style()
    print(f"figures from {results.describe(runs)}", file=sys.stderr)
    with Progress(len(PANELS), "figures", "figures") as progress:
        for panel in PANELS:
            for note in figure.save(panel, runs, out):
                print(f"{panel.name}: {note}", file=sys.stderr)
            progress.update(1)
    print(out)
