"""Performance tracking in CI: exit codes of the script, the pipelines, and nights played on a
history."""

import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import yaml

from ci import child_pipeline, playback
from reframe_tests.catalogue import checks
from reframe_tests.results import runs
from tests.plots import example_sessions as sessions

ROOT = Path(__file__).resolve().parents[2]
STUB = """#!/bin/bash
# Stands in for Python: the benchmarks themselves and the pictures are left out, the rest is real.
case "$2 $3" in
    "reframe_tests --site") mkdir -p "{out}"/reframe/reports; [ -f "{tonight}" ] && cp "{tonight}" "{out}"/reframe/reports/run-1.json; exit {code} ;;
    "plots figures"|"plots report") exit 0 ;;
    *) exec {python} "$@" ;;
esac
"""


def track(folder, report, code, out="out"):
    """Runs ci/track.sh with a run that left this session (or none) and ended with this exit
    code."""
    out = folder / out
    tonight = folder / f"{out.name}.tonight.json"
    if report:
        tonight.write_text(json.dumps(report))
    stub = folder / f"{out.name}.python"
    stub.write_text(STUB.format(out=out, tonight=tonight, code=code, python=sys.executable))
    stub.chmod(0o755)
    command = [
        ROOT / "ci/track.sh",
        "--site",
        "local",
        "--tag",
        "smoke",
        "--store",
        folder / "store",
        "--out",
        out,
    ]
    return subprocess.run(
        command, env={**os.environ, "PYTHON": str(stub)}, capture_output=True, text=True
    )


def test_exit_codes_and_the_store_is_carried_on(tmp_path):
    good = [
        sessions.session(sessions.case({"time_per_epoch": 10.0}), time=sessions.START + i)
        for i in range(2)
    ]
    assert track(tmp_path, good[0], 0).returncode == 0
    assert track(tmp_path, good[1], 1, "second").returncode == 1
    assert len(runs.load(tmp_path / "store").cases) == 2
    assert (
        "Measured, not judged: 1 of 1 without a reference"
        in (tmp_path / "out/summary.md").read_text()
    )
    failed = sessions.session(
        sessions.case({}, result="fail", fail_phase="sanity", fail_reason="x"),
        time=sessions.START + 9,
    )
    assert track(tmp_path, failed, 1, "third").returncode == 2, (
        "a check that could not be measured is no regression"
    )
    assert "Could not be measured completely" in (tmp_path / "third/summary.md").read_text()


def test_two_jobs_at_once_and_an_old_copy_of_the_store_lose_nothing(tmp_path):
    """Every run is a file of its own name, so many readers and writers need no lock and no
    merge."""
    reports = [
        sessions.session(sessions.case({"time_per_epoch": 10.0 + i}), time=sessions.START + i)
        for i in range(4)
    ]
    assert track(tmp_path, reports[0], 0, "first").returncode == 0
    old = shutil.copytree(tmp_path / "store", tmp_path / "old copy of the cache")
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(track, tmp_path, reports[i], 0, f"job {i}") for i in (1, 2)]
        assert [job.result().returncode for job in jobs] == [0, 0]
    assert len(runs.load(tmp_path / "store").cases) == 3
    shutil.move(tmp_path / "store", tmp_path / "new")
    shutil.move(old, tmp_path / "store")
    assert track(tmp_path, reports[3], 0, "late").returncode == 0
    shutil.copytree(tmp_path / "new", tmp_path / "store", dirs_exist_ok=True)
    values = [case.values["time_per_epoch"].value for case in runs.load(tmp_path / "store").cases]
    assert values == [10.0, 11.0, 12.0, 13.0]


def test_a_run_that_left_nothing_could_not_measure(tmp_path):
    done = track(tmp_path, None, 1)
    assert done.returncode == 2 and "left no report" in done.stderr


@pytest.mark.parametrize(
    "arguments", [[], ["--site"], ["--colour", "red"], ["--site", "local", "--tag", "smoke"]]
)
def test_wrong_options_are_said(arguments):
    done = subprocess.run([ROOT / "ci/track.sh", *arguments], capture_output=True, text=True)
    assert (
        done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    )


def scripts(node):
    """Every command of a pipeline."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ("script", "before_script", "run"):
                yield from [value] if isinstance(value, str) else value
            else:
                yield from scripts(value)
    elif isinstance(node, list):
        for value in node:
            yield from scripts(value)


@pytest.mark.parametrize("name", ["gitlab.yml", "github.yml"])
def test_pipelines_call_what_is_there(name):
    commands = list(scripts(yaml.safe_load((ROOT / "ci" / name).read_text())))
    assert any("--tag nightly" in c or "$TAG" in c for c in commands)
    for command in commands:
        program = command.split()[0]
        if "/" in program and not program.startswith(".venv"):
            assert os.access(ROOT / program, os.X_OK), command


def test_the_child_pipeline_has_a_job_for_every_check():
    pipeline = child_pipeline.pipeline("juwels", "acceptance")
    text = "\n".join(scripts(pipeline))
    assert all(f"-n '^{name}$'" in text for name in checks())
    assert all(
        job["stage"] in pipeline["stages"]
        for key, job in pipeline.items()
        if key.startswith("check ")
    )


@pytest.mark.parametrize("step, at, red", [(0.05, 30, True), (0.0, 30, False)])
def test_played_nights_go_red_when_they_should(tmp_path, capsys, step, at, red):
    values = 10 * (1 + 0.01 * np.random.default_rng(0).standard_normal(8))
    path = sessions.database(
        tmp_path / "results.db", sessions.nightly([float(v) for v in values], band=0.5)
    )
    code = playback.run(playback.Config(history=str(path), nights=42, at=at, step=step))
    said = capsys.readouterr().out
    assert code == (0 if red else 1)
    if red:
        assert re.search(
            r"time_per_epoch \+\d\.\d % since 20\d\d-\d\d-\d\d, [4-9] runs, image "
            r"changed \(worse\)",
            said,
        )
    else:
        assert said.startswith("the step was not found")


def test_the_history_is_kept_on_red_nights_too():
    gitlab = yaml.safe_load((ROOT / "ci/gitlab.yml").read_text())
    jobs = [gitlab[".measure"], *child_pipeline.pipeline("juwels", "acceptance").values()]
    caches = [job["cache"] for job in jobs if isinstance(job, dict) and "cache" in job]
    assert len(caches) == 1 + len(checks()) and all(cache["when"] == "always" for cache in caches)
    steps = yaml.safe_load((ROOT / "ci/github.yml").read_text())["jobs"]["measure"]["steps"]
    uses = {step["uses"].split("@")[0]: step for step in steps if "uses" in step}
    assert "actions/cache" not in uses, "it saves only what a green job leaves"
    save, restore = uses["actions/cache/save"], uses["actions/cache/restore"]
    assert save["if"] == "always()" and save["with"]["path"] == restore["with"]["path"]
    assert save["with"]["key"].startswith(restore["with"]["restore-keys"])


def publishing(pipeline):
    """The commands of a pipeline that build the site."""
    return [c for c in scripts(pipeline) if "bigearth-bench publish" in c]


@pytest.mark.parametrize("name", ["gitlab.yml", "github.yml"])
def test_the_site_is_built_from_the_store(name, tmp_path):
    (command,) = publishing(yaml.safe_load((ROOT / "ci" / name).read_text()))
    night = sessions.session(sessions.case({"time_per_epoch": 10.0}))
    sessions.database(tmp_path / "store/results.db", [night])
    program = f"{sys.executable} -m reframe_tests.commands"
    subprocess.run(
        command.replace(".venv/bin/bigearth-bench", program).split(),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
    )
    assert len(list(tmp_path.glob("*/index.html"))) == 1


def test_the_site_is_deployed_on_red_nights_and_not_for_a_merge_request():
    gitlab = yaml.safe_load((ROOT / "ci/gitlab.yml").read_text())
    pages = gitlab["pages"]
    assert gitlab["stages"].index(pages["stage"]) > gitlab["stages"].index("measure")
    folder = publishing(pages)[0].split()[-1]
    assert pages["artifacts"]["paths"] == [folder] == ["public"]
    assert all(rule["when"] == "always" for rule in pages["rules"])
    assert "merge_request" not in str(pages["rules"])
    assert pages["cache"]["key"] == gitlab[".measure"]["cache"]["key"]
    assert pages["cache"]["policy"] == "pull"
    jobs = yaml.safe_load((ROOT / "ci/github.yml").read_text())["jobs"]
    steps = jobs["measure"]["steps"]
    build = next(step for step in steps if "bigearth-bench publish" in step.get("run", ""))
    upload = next(step for step in steps if "upload-pages-artifact" in step.get("uses", ""))
    assert upload["with"]["path"] == build["run"].split()[-1]
    for part in (build, upload, jobs["deploy"]):
        assert "cancelled()" in part["if"] and "!= 'pull_request'" in part["if"]
    assert jobs["deploy"]["needs"] == "measure"
    assert jobs["deploy"]["permissions"] == {"pages": "write", "id-token": "write"}
