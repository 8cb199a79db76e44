"""A new site from what Slurm says of itself; Slurm's commands are scripts that print a real
machine's answers."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigearth.errors import InputError
from reframe_tests import site_add, site_plan

ROOT = Path(__file__).resolve().parents[2]
TEXTS = Path(__file__).parent / "slurm"

SMT = (TEXTS / "nodes-22.05.txt").read_text().replace("ThreadsPerCore=1", "ThreadsPerCore=2")

pytestmark = pytest.mark.reframe


@pytest.fixture
def machine(tmp_path):
    """machine(*options, sinfo=text, scontrol=text) -> finished process, in a copy of the suite on a
    machine whose Slurm says that."""
    ignored = shutil.ignore_patterns("__pycache__", ".git", ".venv", "tests", "*.sif")
    for folder in ("reframe_tests", "bigearth", "benchmarks", "containers", "plots"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "cat").symlink_to(shutil.which("cat"))
    recorded = {
        "sinfo": (TEXTS / "sinfo-22.05.txt").read_text(),
        "scontrol": (TEXTS / "nodes-22.05.txt").read_text(),
        "srun": "MPI plugin types are...\n\tnone\n\tpmix\n",
        "apptainer": "apptainer version 1.4.5\n",
    }

    def run(*options, module="site_add", **texts):
        for name, text in {**recorded, **texts}.items():
            script = tmp_path / "bin" / name
            script.unlink(missing_ok=True)
            if text is not None:
                script.write_text(f"#!/bin/sh\ncat <<'X'\n{text}X\n")
                script.chmod(0o755)
        environment = {
            **os.environ,
            "PATH": str(tmp_path / "bin") + ("" if None in texts.values() else ":/bin"),
            "PYTHONPATH": str(tmp_path),
        }
        command = [sys.executable, "-m", f"reframe_tests.{module}", *options]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
        )

    run.folder = tmp_path
    return run


def left(machine):
    """What there is of a site called "mine"."""
    folder = machine.folder / "reframe_tests"
    return sorted(p.name for p in folder.rglob("*mine*") if "__pycache__" not in p.parts)


def test_written_site_is_tried_first_passes_the_lint_and_lists_its_checks(machine):
    done = machine("--name", "mine", "--hostnames", "login[0-9]+")
    assert done.returncode == 0, done.stderr
    assert left(machine) == ["mine.py", "mine.yaml"]
    assert "1 node (jr02), in state IDLE+DRAIN" in done.stdout and "SBATCH_ACCOUNT" in done.stdout
    assert machine("--site", "mine", module="lint").stdout == "references of mine: no fault\n"
    listed = machine("--site", "mine", "--list", module="__main__").stdout
    assert "scaling %nodes=2" in listed and "scaling %nodes=4" not in listed
    assert re.search(r"nightly +[0-9]+ job\(s\), [0-9.]+ node-hours at most", done.stdout)
    settings = machine.folder / "reframe_tests" / "settings" / "mine.py"
    ruff = [sys.executable, "-m", "ruff", "format", "--check", "--line-length=100", settings]
    assert subprocess.run(ruff, capture_output=True).returncode == 0


@pytest.mark.parametrize(
    "options, texts, message",
    [
        (["--name", "mine"], {"sinfo": None}, "there is no `sinfo` on the PATH"),
        (["--name", "mine"], {"scontrol": None}, "there is no `scontrol` on the PATH"),
        (["--name", "mine"], {"sinfo": ""}, "no partition here that jobs could go to"),
        (["--name", "mine"], {"sinfo": "strange words\n"}, "`sinfo` printed 'strange words'"),
        (["--name", "mine"], {"scontrol": "error: no\n"}, "`scontrol show node` printed"),
        (["--name", "juwels"], {}, "is there already"),
        (["--name", "My Site"], {}, "expected at most 40 lower-case letters"),
        (["--name", "mine", "--hostnames", "("], {}, "expected a regular expression"),
        (["--name", "mine", "--hostnames", ".*"], {}, "claims every host"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(machine, options, texts, message):
    done = machine(*options, **texts)
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1
    assert not left(machine)


def test_two_sites_that_claim_one_host_are_refused_and_nothing_is_left(machine):
    settings = machine.folder / "reframe_tests" / "settings"
    text = (settings / "juwels.py").read_text()
    (settings / "juwels.py").write_text(text.replace("jwlogin", f"{os.uname().nodename}|jwlogin"))
    done = machine("--name", "mine", "--hostnames", os.uname().nodename)
    assert done.returncode == 2 and "claimed by the sites juwels and the new one" in done.stderr
    assert not left(machine)


def test_a_site_that_does_not_pass_the_dry_run_is_not_kept(machine):
    check = machine.folder / "reframe_tests" / "checks" / "prepare.py"
    check.write_text(check.read_text() + "\nraise RuntimeError('broken')\n")
    done = machine("--name", "mine", "--hostnames", "login")
    assert done.returncode == 2 and "nothing was written" in done.stderr
    assert not left(machine)


def test_jobs_of_a_written_site_ask_for_whole_nodes_one_thread_per_core_and_their_gpus(machine):
    done = machine("--name", "mine", "--hostnames", "login", scontrol=SMT)
    assert done.returncode == 0, done.stderr
    done = machine("--site", "mine", "--dry-run", module="__main__")
    assert done.returncode == 0, done.stderr
    stage = machine.folder / "results" / "reframe" / "stage" / "mine" / "v100" / "native"
    texts = [path.read_text() for path in stage.glob("scaling*/rfm_job.sh")]
    (script,) = [text for text in texts if "--nodes=2" in text]
    asked = re.findall("^#SBATCH (.*)$", script, re.MULTILINE)
    assert {
        "--partition=v100", "--exclusive", "--mem=0", "--hint=nomultithread", "--no-requeue",
        "--ntasks=8", "--ntasks-per-node=4", "--cpus-per-task=10", "--gres=gpu:v100:4",
    } <= set(asked)  # fmt: skip
    assert len(asked) == len(set(asked)), "an option is given twice"


@given(st.recursive(
    st.one_of(st.integers(), st.booleans(), st.text(max_size=40)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=9), inner, max_size=4)
    ),
    max_leaves=12,
))  # fmt: skip
def test_literals_are_python(value):
    assert eval(site_add.literal(value)) == value


@given(st.text(max_size=300))
def test_no_word_of_slurms_leaves_the_comment(word):
    plan = site_plan.Plan(partitions=[], notes=[word], todos=[word])
    text = site_add.settings("mine", ["login"], plan, "22.05")
    found = {}
    code = text.replace(
        "from .common import LOGIN, configuration", "LOGIN, configuration = 0, dict"
    )
    exec(compile(code, "mine.py", "exec"), found)
    assert found["PARTITIONS"] == [] and found["site_configuration"]["name"] == "mine"


def test_patterns_of_host_names_are_tried():
    for pattern in ("", "a|", "login[0-9]+\n", "["):
        with pytest.raises(InputError, match="--hostnames"):
            site_add.check_hostnames(pattern, ["login1"])
    site_add.check_hostnames("login[0-9]+", ["login1"])
