"""Plays nightly runs on a machine's own history, with one injected regression: `python -m
ci.playback --history results.db`.

Every night draws its values from the measured ones (or, where a metric was measured fewer than five
times, from normal noise of 1 % around their mean), is added to the same kind of store and judged as
by `ci/track.sh`, and its exit code and sentence are printed. The last night is the template's: no
night lies in the future. The playback ends with exit code 0 if every night before the step was
green and the pipeline went red within eight, with a sentence that names the metric, that it is
worse, and what changed with it.
"""

import copy
import json
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bigearth import cli
from bigearth.errors import InputError
from reframe_tests.results import history, runs, sessions

DAY = 86400.0
WITHIN = 8  # nights: five of the last seven must lie beyond the noise
FEWEST = 5


@dataclass(frozen=True)
class Config:
    """Options of the program."""

    history: str = cli.option(cli.REQUIRED, "results database of this machine")
    nights: int = cli.option(60, "how many are played", least=1)
    at: int = cli.option(40, "the night, counted from 0, from which on it is slower", least=0)
    step: float = cli.option(0.05, "by how much, e.g. 0.05")
    metric: str = cli.option("time_per_epoch", "which gets slower")
    seed: int = cli.option(1, "of the random numbers", least=0)


def measured(path: Path) -> tuple:
    """(the newest session that measured something, metric key -> its values over all sessions)."""
    newest, values = None, {}
    for text in sessions.read_database(path).values():
        report = json.loads(text)
        perf = {
            key: entry
            for run in report["runs"]
            for tc in run["testcases"]
            for key, entry in tc["perfvalues"].items()
            if entry[0] is not None
        }
        newest = report if perf else newest
        for key, entry in perf.items():
            values.setdefault(key, []).append(entry[0])
    if newest is None:
        raise InputError(
            f"{path}: holds no measured value, expected at least one session that measured "
            "something; run the benchmarks first"
        )
    return newest, values


def night(template: dict, values: dict, number: int, step: float, metric: str, rng) -> dict:
    """One night's session: the template's checks with drawn values, `metric` multiplied by 1 +
    step."""
    report = copy.deepcopy(template)
    name, start = (
        str(uuid.UUID(int=int(rng.integers(2**62)))),
        template["session_info"]["time_start_unix"] + number * DAY,
    )
    report["session_info"].update(uuid=name, time_start_unix=start, time_end_unix=start + 600)
    for r, run in enumerate(report["runs"]):
        for t, tc in enumerate(run["testcases"]):
            tc.update(
                session_uuid=name, uuid=f"{name}:{r}:{t}", job_completion_time_unix=start + 600
            )
            for key, entry in tc["perfvalues"].items():
                seen = values.get(key, [])
                if entry[0] is None:
                    continue
                drawn = (
                    rng.choice(seen)
                    if len(seen) >= FEWEST
                    else np.mean(seen) * (1 + 0.01 * rng.standard_normal())
                )
                entry[0] = float(drawn) * (1 + step if key.endswith(f":{metric}") else 1)
            if step and isinstance(tc.get("evidence"), dict):
                tc["evidence"]["image"] = "sha256:another image"
    return report


def play(config: Config, folder: Path) -> list:
    """Plays all nights; returns (exit code, all sentences, findings about the metric) of each."""
    rng = np.random.default_rng(config.seed)
    template, values = measured(Path(config.history))
    told = []
    for number in range(config.nights):
        slower = config.step if number >= config.at else 0.0
        report = night(
            template, values, number - config.nights, step=slower, metric=config.metric, rng=rng
        )
        (folder / f"run-{number:04d}.json").write_text(json.dumps(report))
        findings = history.judgement(runs.load(folder).cases).findings
        mine = [f for f in findings if f.series[-1] == config.metric]
        told.append((history.exit_code(findings), [f.sentence for f in findings], mine))
    return told


def run(config: Config) -> int:
    """Plays, prints one line per night that is not green, and checks that red came when it
    should."""
    with tempfile.TemporaryDirectory() as folder:
        told = play(config, Path(folder))
    for number, (code, sentences, _) in enumerate(told):
        if code:
            print(f"night {number}: exit code {code}: {'; '.join(sentences)}")
    red = [number for number, (code, _, _) in enumerate(told) if code]
    if not red:
        print("the step was not found")
        return 1
    print(f"the step of {config.step:+.1%} came in night {config.at}; first red: night {red[0]}")
    said = [finding.sentence for finding in told[red[0]][2]]
    right = any(
        config.metric in sentence and sentence.endswith("image changed (worse)")
        for sentence in said
    )
    return 0 if config.at <= red[0] < config.at + WITHIN and right else 1


if __name__ == "__main__":
    cli.main(
        Config,
        run,
        cli.Program(
            module="ci.playback",
            description="Play nights on a machine's own history, with one injected slow-down.",
            example="--history results/reframe/results.db",
            exit_codes="exit codes: 0 red came when it should; 1 it did not; 2 a mistake in the "
            "input",
        ),
    )
