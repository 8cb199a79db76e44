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
from reframe_tests.results.history import exit_code, histories, judge


@dataclass(frozen=True)
class Config:
    """Options of `python -m plots history`."""

    results: str = option(
        REQUIRED, "folder with ReFrame's results.db or run-*.json reports, or one such file"
    )
    out: str = option(
        REQUIRED,
        "folder for the exports (CSV, Parquet, OpenMetrics, JUnit), the summary and the picture",
    )
    recent: int = option(
        10, "a change for the worse counts as a regression while it is at most this many runs old"
    )
    min_effect: float = option(
        0.02, "relative changes smaller than this are told but are no regression"
    )


def run(config: Config) -> int:
    """Writes all exports, prints the summary's sentences and returns the exit code."""
    if config.recent < 1 or not 0 <= config.min_effect < 1:
        raise InputError(
            f"--recent is {config.recent} and --min-effect {config.min_effect}: "
            "expected at least 1, and from 0 up to below 1"
        )
    cases = runs.load(config.results).cases
    if not cases:
        raise InputError(
            f"{config.results}: holds no ReFrame session; expected results.db or run-*.json "
            "reports; run ReFrame with storage on"
        )
    out = figure.output_folder(config.out)
    series = histories(cases)
    findings = judge(cases, series, config.recent, config.min_effect)
    export.write_all(out, series, findings)
    text = export.summary(cases, series, findings)
    export.write_text(out / "summary.md", text)
    figure.use_style()
    figure.save(timeline.PANEL, series, out)
    print(text, file=sys.stderr)
    print(out)
    return exit_code(findings)
