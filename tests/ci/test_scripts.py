"""Every script explains itself without doing anything, and refuses words that it does not know."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = [
    ".ci/run",
    "ci/bootstrap.sh",
    "ci/install-apptainer.sh",
    "ci/track.sh",
    "ci/virtual_cluster/cluster.sh",
    "containers/build.sh",
    "containers/check.sh",
]
# run by Slurm with no words, not by people
BY_SLURM = "ci/virtual_cluster/task_prolog.sh"
CHANGES_MACHINE = ["apt-get", "apptainer", "debootstrap", "munged", "pip", "unshare", "wget"]


@pytest.fixture
def run(tmp_path):
    """run(script, *words) -> CompletedProcess of a copy, without HOME, in which what would change
    the machine is replaced by a command that leaves a trace."""
    checkout, commands = tmp_path / "suite", tmp_path / "bin"
    for name in (".ci", "ci", "containers"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("*.sif"))
    commands.mkdir()
    for name in CHANGES_MACHINE:
        (commands / name).write_text(f'#!/bin/sh\ntouch "{tmp_path}/was-called-{name}"\nexit 1\n')
        (commands / name).chmod(0o755)
    (checkout / ".venv").mkdir()
    before = sorted(tmp_path.rglob("*"))

    def call(script, *words):
        done = subprocess.run(
            [checkout / script, *words],
            cwd=tmp_path,
            env={"PATH": f"{commands}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert sorted(tmp_path.rglob("*")) == before
        return done

    return call


def test_all_scripts_are_here():
    found = [ROOT / ".ci/run", *ROOT.glob("ci/**/*.sh"), *ROOT.glob("containers/**/*.sh")]
    assert sorted(str(path.relative_to(ROOT)) for path in found) == sorted([*SCRIPTS, BY_SLURM])


@pytest.mark.parametrize("word", ["-h", "--help"])
@pytest.mark.parametrize("script", SCRIPTS)
def test_help_explains_and_does_nothing(run, script, word):
    done = run(script, word)
    assert done.returncode == 0 and done.stderr == ""
    assert script in done.stdout and "set -" not in done.stdout and "#" not in done.stdout[:2]


@pytest.mark.parametrize("words", [["--hepl"], [""], ["stop", "now"]])
@pytest.mark.parametrize("script", SCRIPTS)
def test_unknown_words_are_refused(run, script, words):
    done = run(script, *words)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


@pytest.mark.skipif(
    shutil.which("shellcheck") is None,
    reason="no shellcheck on this machine; apt-get install shellcheck",
)
@pytest.mark.parametrize("script", [*SCRIPTS, BY_SLURM, ".ci/run"])
def test_shellcheck_finds_nothing(script):
    done = subprocess.run(["shellcheck", ROOT / script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_scripts_may_be_started():
    assert all(os.access(ROOT / script, os.X_OK) for script in [*SCRIPTS, BY_SLURM])
