"""What cannot be run is said in one sentence, with exit code 2, before anything starts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bigearth.errors import InputError
from reframe_tests import sites

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "options, path, message",
    [
        (
            ["--site", "nowhere"],
            None,
            "nowhere: no such site; expected one of jureca, juwels, local, virtual",
        ),
        (["--site", "juwels"], "/nonexistent", "there is no `sbatch` on the PATH"),
    ],
)
def test_refusals(tmp_path, options, path, message):
    environment = {**os.environ, "PATH": path or os.environ["PATH"]}
    command = [sys.executable, "-m", "reframe_tests", "--results", str(tmp_path), *options]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1, (
        done.stderr
    )


@pytest.mark.parametrize(
    "sinfo, message",
    [
        (
            "echo batch",
            "its jobs ask for the partition gpus and Slurm has only batch; correct the "
            "site's settings",
        ),
        (
            "echo 'sinfo: error: unable to contact slurm controller' >&2; exit 1",
            "Slurm does not answer (sinfo: error: unable to contact",
        ),
    ],
)
def test_slurm_that_cannot_take_the_jobs_is_told_before_any_is_submitted(tmp_path, sinfo, message):
    for name, text in (("sinfo", sinfo), ("sbatch", "exit 1")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    command = [
        sys.executable,
        "-m",
        "reframe_tests",
        "--site",
        "juwels",
        "--results",
        str(tmp_path / "results"),
    ]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1, (
        done.stderr
    )


def test_listing_of_a_partition_that_is_not_there_is_not_a_success(tmp_path):
    command = [
        sys.executable,
        "-m",
        "reframe_tests",
        "--site",
        "juwels",
        "--results",
        str(tmp_path),
        "--system=juwels:nope",
        "--list",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "juwels:nope" in done.stdout


@pytest.mark.parametrize(
    "text",
    [
        "",
        "site_configuration = {",
        "site_configuration = {'systems': [{'name': 'x', 'partitions': []}]}",
        "1 / 0",
    ],
)
def test_settings_that_cannot_be_used_are_refused(tmp_path, text):
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(InputError, match="mine.py: not usable as a site's settings"):
        sites.system_of(str(tmp_path / "mine.py"))


@pytest.mark.parametrize(
    "host, site",
    [
        ("jwlogin03", "juwels"),
        ("juwels", "juwels"),
        ("jrl07", "jureca"),
        ("laptop", "local"),
        ("jwc00n001.juwels", "juwels"),
    ],
)
def test_site_is_found_by_host_name(host, site):
    assert sites.detect([host]) == site
