"""`pip install -e .` as README says it: a fresh environment of an ordinary user, no compiler."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
import tomllib

ROOT = Path(__file__).parents[2]
NAMES = ["bigearth", "benchmarks", "reframe_tests", "plots", "containers", "docs"]
FILES = ["pyproject.toml", "constraints.txt", "README.md", "LICENSE", "mkdocs.yml"]

pytestmark = pytest.mark.install


@pytest.fixture(scope="module")
def user():
    """user(*words, folder=None) -> what the command printed; without root it is the tests' user."""
    # pytest keeps its own temporary folders for the user who runs it
    with tempfile.TemporaryDirectory(prefix="bigearth-install-") as folder:
        yield installed(Path(folder))


def installed(home):
    checkout = home / "suite"
    for name in NAMES:
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, checkout)
    become = {}
    if os.getuid() == 0:
        become = {"user": "nobody", "group": "nogroup", "extra_groups": []}
        subprocess.run(["chown", "-R", "nobody", home], check=True)
    kept = {name: os.environ[name] for name in os.environ if name.startswith("PIP_")}
    # no compiler, and nothing of this checkout or its environment
    environment = {**kept, "HOME": str(home), "PATH": "/usr/bin:/bin", "CC": "/bin/false"}

    def run(*words, folder=home):
        done = subprocess.run(
            list(map(str, words)),
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
            **become,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("/usr/bin/python3", "-m", "venv", home / "venv")
    pip = home / "venv" / "bin" / "pip"
    run(pip, "install", "--quiet", "-e", ".", "-c", "constraints.txt", folder=checkout)
    run.bin = home / "venv" / "bin"
    return run


def test_the_command_works_from_another_folder(user):
    assert "usage: bigearth-bench" in user(user.bin / "bigearth-bench", "--help")
    listed = user(user.bin / "bigearth-bench", "list", "--site", "local")
    assert "\n- training " in listed and "\n- prepare " in listed


def test_it_draws_and_reports_without_tensorflow(user):
    user(
        user.bin / "python",
        "-c",
        "import matplotlib, jinja2, polars, junitparser, prometheus_client",
    )
    found = user(user.bin / "pip", "list")
    assert not any(name in found for name in ("tensorflow", "horovod", "GDAL", "h5py"))


def test_the_docs_become_a_site(user):
    suite = user.bin.parents[1] / "suite"
    user(
        user.bin / "pip",
        "install",
        "--quiet",
        "-e",
        ".[docs]",
        "-c",
        "constraints.txt",
        folder=suite,
    )
    user(user.bin / "mkdocs", "build", "--strict", folder=suite)
    assert (suite / "build" / "site" / "glossary" / "index.html").is_file()


def test_constraints_pin_every_requirement():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}
    names = [word.split(">")[0].split("==")[0] for word in project["dependencies"]]
    assert set(names) <= pinned
