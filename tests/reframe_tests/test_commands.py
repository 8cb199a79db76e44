"""The command `bigearth-bench`: finds programs, and loads none before it knows which."""

import subprocess
import sys

import pytest

import bigearth
from reframe_tests import commands
from tests.reframe_tests.run_suite import ROOT

PROBE = """
import sys
from reframe_tests import commands
sys.argv = ["bigearth-bench", "--help"]
commands.main()
print(sorted({"argparse", "yaml", "numpy", "reframe", "bigearth.cli"} & set(sys.modules)))
"""


def bench(folder, *words):
    command = [sys.executable, "-m", "reframe_tests.commands", *words]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_help_loads_no_program(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROBE],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr
    assert "site add" in done.stdout


@pytest.mark.parametrize(
    "words, module, arguments",
    [
        (["run", "--tag", "smoke"], "reframe_tests", ["--tag", "smoke"]),
        (["list", "-n", "x"], "reframe_tests", ["--list", "-n", "x"]),
        (["site", "add", "--name", "x"], "reframe_tests.site_add", ["--name", "x"]),
        (["history"], "plots", ["history"]),
    ],
)
def test_command_finds_its_program(words, module, arguments):
    assert commands.find(words) == (module, arguments)


@pytest.mark.parametrize(
    "words, meant", [("rnu", "run"), ("site", "site add"), ("calibrat", "calibrate"), ("xyz", None)]
)
def test_unknown_command_is_refused_with_what_was_meant(tmp_path, words, meant):
    done = bench(tmp_path, words)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert (f"did you mean `bigearth-bench {meant}`?" in done.stderr) == bool(meant)


@pytest.mark.parametrize("command", [name for name, row in commands.known().items()])
def test_every_command_answers_help_from_any_folder(tmp_path, command):
    done = bench(tmp_path, *command.split(), "--help")
    assert done.returncode == 0 and "usage" in done.stdout, done.stderr


def test_version(tmp_path):
    assert bench(tmp_path, "--version").stdout == f"bigearth-bench {bigearth.VERSION}\n"
