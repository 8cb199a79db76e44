"""A new site from what Slurm says of itself; Slurm is a script that answers as one real machine's
`sinfo` would."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from reframe_tests import site_add

ROOT = Path(__file__).resolve().parents[2]
SINFO = """\
batch|2271|2|24|92000|mem192:1|1-00:00:00
gpus|46|2|20|191000|gpu:v100:4(S:0-1)|1-00:00:00
gpus|2|2|20|380000|gpu:v100:4(S:0-1)|1-00:00:00
develgpus|2|2|20|191000|gpu:v100:4(S:0-1)|2:00:00
"""


@pytest.fixture
def machine(tmp_path):
    """site_add(*options, sinfo=text) -> finished process, in a copy of the suite on a machine whose
    Slurm says `text`."""
    shutil.copytree(
        ROOT / "reframe_tests",
        tmp_path / "reframe_tests",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    (tmp_path / "bin").mkdir()

    def run(*options, sinfo=SINFO, module="site_add"):
        if sinfo is not None:
            script = tmp_path / "bin" / "sinfo"
            script.write_text(f"#!/bin/sh\ncat <<'X'\n{sinfo}X\n")
            script.chmod(0o755)
        path = (
            f"{tmp_path / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin"
            if sinfo is not None
            else str(tmp_path)
        )
        command = [sys.executable, "-m", f"reframe_tests.{module}", *options]
        return subprocess.run(
            command,
            cwd=tmp_path,
            env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
        )

    run.folder = tmp_path
    return run


def test_written_site_passes_the_lint_and_lists_its_checks(machine):
    done = machine("--name", "mine", "--hostnames", r"login\d+")
    assert done.returncode == 0, done.stderr
    assert machine("--site", "mine", module="lint").stdout == "references of mine: no fault\n"
    text = (machine.folder / "reframe_tests" / "settings" / "mine.py").read_text()
    assert '"sm_70"' in text and "nodes=46" in text and "max_time_s=7200" in text
    listed = machine("--site", "mine", "--list", module="__main__").stdout
    assert "scaling %nodes=24" in listed and "single_node" in listed


def test_device_that_nobody_knows_is_left_to_fill_in(machine):
    done = machine("--name", "mine", sinfo="gpu|4|2|32|500000|gpu:mi250:8|infinite\n")
    assert done.returncode == 0 and "FILL IN the architecture" in done.stdout


@pytest.mark.parametrize(
    "options, sinfo, message",
    [
        (["--name", "mine"], None, "there is no `sinfo` on the PATH"),
        (["--name", "mine"], "", "Slurm has no partition here"),
        (["--name", "juwels"], SINFO, "is there already"),
        (["--name", "My Site"], SINFO, "expected lower-case letters"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(machine, options, sinfo, message):
    done = machine(*options, sinfo=sinfo)
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1


def test_two_sites_that_claim_one_host_are_refused_and_nothing_is_left(machine):
    host = os.uname().nodename
    assert machine("--name", "one", "--hostnames", host).returncode == 0
    done = machine("--name", "two", "--hostnames", host)
    assert done.returncode == 2 and "claimed by the sites one and two" in done.stderr
    assert not (machine.folder / "reframe_tests" / "settings" / "two.py").exists()


@pytest.mark.parametrize(
    "limit, expected",
    [
        ("1-00:00:00", 86400),
        ("2:00:00", 7200),
        ("30:00", 1800),
        ("infinite", None),
        ("UNLIMITED", None),
        ("2-12:30:01", 217801),
    ],
)
def test_time_limits(limit, expected):
    assert site_add.seconds(limit) == expected


@pytest.mark.parametrize("gres", ["(null)", "mem192:1", "", "craynetwork:4"])
def test_node_without_devices(gres):
    assert site_add.device(gres) is None
