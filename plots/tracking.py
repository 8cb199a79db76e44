"""`bigearth-bench history`: per system x check x metric, what changed, since when, by how much, and
what else changed with it.

Ends with exit code 0 (steady), 1 (a regression: a lasting change for the worse that nobody has
acknowledged, or a value outside its band in the newest session) or 2 (nothing regressed, but
something could not be measured; also every mistake of the user's).
"""

import sys
from dataclasses import dataclass
from typing import Optional

from bigearth.cli import REQUIRED, option
from bigearth.errors import InputError
from bigearth.files import make_folder
from plots import figure
from plots.panels import timeline
from reframe_tests.results import export, runs
from reframe_tests.results.alarms import acknowledge, acknowledgements, read_acknowledgements
from reframe_tests.results.history import MIN_EFFECT, acknowledgement, judgement


@dataclass(frozen=True)
class Config:
    """Options of `python -m plots history`."""

    results: str = option(
        REQUIRED, "folder with ReFrame's results.db or run-*.json reports, or one such file"
    )
    out: str = option(
        REQUIRED,
        "folder for the exports (CSV, Parquet, JSON lines, OpenMetrics, JUnit), the summary and "
        "the picture",
    )
    min_effect: float = option(
        MIN_EFFECT, "relative changes smaller than this are no regression", least=0.0, most=1.0
    )
    acknowledge: Optional[str] = option(
        None,
        "a series whose open alarm is known from now on, as in the sentences: 'SYSTEM CHECK POINT "
        "METRIC'; kept in acknowledged.jsonl beside the results",
        group="acknowledge an alarm",
    )
    name: str = option("", "who acknowledges it", group="acknowledge an alarm")
    reason: str = option("", "why", group="acknowledge an alarm")
    over: bool = option(
        False,
        "it is explained and over, e.g. a broken node; otherwise the new level is the normal one",
        group="acknowledge an alarm",
    )


def run(config: Config) -> int:
    """Writes all exports, prints the summary's sentences and returns the exit code."""
    cases = runs.load(config.results).cases
    if not cases:
        raise InputError(
            f"{config.results}: holds no ReFrame session; expected results.db or run-*.json "
            "reports; run ReFrame with storage on"
        )
    out = make_folder(config.out)
    path = acknowledgements(config.results)
    judged = judgement(cases, read_acknowledgements(path), config.min_effect)
    if config.acknowledge:
        acknowledge(
            path,
            acknowledgement(
                judged,
                config.acknowledge,
                name=config.name,
                reason=config.reason,
                over=config.over,
            ),
        )
        judged = judgement(cases, read_acknowledgements(path), config.min_effect)
    export.write_all(out, judged)
    text = export.summary(judged)
    export.write_text(out / "summary.md", text)
    figure.use_style()
    rows, notes = timeline.PANEL.rows(judged.series)
    if rows:
        figure.save(timeline.PANEL, rows, notes, out=out)
    print(text, file=sys.stderr)
    print(out)
    return judged.exit_code
