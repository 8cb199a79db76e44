"""Plays nightly runs on a machine's own history, with one injected regression: `python -m
ci.playback --history results.db`.

Every night draws its values from the measured ones (or, where a metric was measured fewer than five
times, from normal noise of 1 % around their mean), is added to the same kind of store and judged as
by `ci/track.sh`, and its exit code and sentence are printed. The last night is the template's: no
night lies in the future. The playback ends with exit code 0 if every night before the step was
green and the pipeline went red within eight, with a sentence that names the metric, that it is
worse, and what changed with it.
"""

import argparse
import copy
import json
import sys
import tempfile
import uuid
from pathlib import Path

import numpy as np

from bigearth.errors import InputError
from reframe_tests.results import history, runs, sessions

DAY = 86400.0
WITHIN = 8  # nights: five of the last seven must lie beyond the noise
FEWEST = 5


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


def play(
    path: Path, nights: int, at: int, step: float, metric: str, seed: int, folder: Path
) -> list:
    """Plays all nights; returns (exit code, all sentences, findings about `metric`) of each."""
    rng = np.random.default_rng(seed)
    template, values = measured(path)
    told = []
    for number in range(nights):
        slower = step if number >= at else 0.0
        report = night(template, values, number - nights, slower, metric, rng)
        (folder / f"run-{number:04d}.json").write_text(json.dumps(report))
        cases = runs.load(folder).cases
        findings = history.judgement(cases).findings
        told.append(
            (
                history.exit_code(findings),
                [f.sentence for f in findings],
                [f for f in findings if f.series[-1] == metric],
            )
        )
    return told


def main(argv) -> int:
    """Plays, prints one line per night that is not green, and checks that red came when it
    should."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--history", type=Path, required=True, help="this machine's results database"
    )
    parser.add_argument("--nights", type=int, default=60)
    parser.add_argument(
        "--at", type=int, default=40, help="the night, counted from 0, from which on it is slower"
    )
    parser.add_argument("--step", type=float, default=0.05, help="by how much, e.g. 0.05")
    parser.add_argument("--metric", default="time_per_epoch")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(argv)
    try:
        with tempfile.TemporaryDirectory() as folder:
            told = play(
                options.history,
                options.nights,
                options.at,
                options.step,
                options.metric,
                options.seed,
                Path(folder),
            )
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for number, (code, sentences, _) in enumerate(told):
        if code:
            print(f"night {number}: exit code {code}: {'; '.join(sentences)}")
    red = [number for number, (code, _, _) in enumerate(told) if code]
    if not red:
        print("the step was not found")
        return 1
    print(f"the step of {options.step:+.1%} came in night {options.at}; first red: night {red[0]}")
    said = [finding.sentence for finding in told[red[0]][2]]
    right = any(
        options.metric in sentence and sentence.endswith("image changed (worse)")
        for sentence in said
    )
    return 0 if options.at <= red[0] < options.at + WITHIN and right else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
