"""`bigearth-bench history`: per system x check x metric, what changed, since when, by how much, and
what else changed with it.

Ends with exit code 0 (steady), 1 (a regression: a new lasting change for the worse, or a value
outside its band in the newest session) or 2 (nothing regressed, but something could not be
measured; also every mistake of the user's).
"""

import sys
from dataclasses import dataclass

from bigearth.cli import REQUIRED, option
from bigearth.errors import InputError
from plots import figure
from plots.panels import timeline
from reframe_tests.results import export, runs
from reframe_tests.results.history import judgement


@dataclass(frozen=True)
class Config:
    """Options of `python -m plots history`."""

    results: str = option(
        REQUIRED, "folder with ReFrame's results.db or run-*.json reports, or one such file"
    )
    out: str = option(
        REQUIRED,
        "folder for the exports (CSV, Parquet, JSON lines, OpenMetrics, JUnit), the summary and the picture",
    )
    recent: int = option(
        10,
        "a change for the worse counts as a regression while it is at most this many runs old",
        least=1,
    )
    min_effect: float = option(
        0.02,
        "relative changes smaller than this are told but are no regression",
        least=0.0,
        most=1.0,
    )


def run(config: Config) -> int:
    """Writes all exports, prints the summary's sentences and returns the exit code."""
    cases = runs.load(config.results).cases
    if not cases:
        raise InputError(
            f"{config.results}: holds no ReFrame session; expected results.db or run-*.json "
            "reports; run ReFrame with storage on"
        )
    out = figure.output_folder(config.out)
    judged = judgement(cases, config.recent, config.min_effect)
    export.write_all(out, judged)
    text = export.summary(judged)
    export.write_text(out / "summary.md", text)
    figure.use_style()
    rows, notes = timeline.PANEL.rows(judged.series)
    if rows:
        figure.save(timeline.PANEL, rows, notes, out)
    print(text, file=sys.stderr)
    print(out)
    return judged.exit_code
