"""ci/bootstrap.sh: what a newcomer sees. The set-up itself has run before any test can."""

import os
import pwd
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def bootstrap(folder, as_user=None):
    """Runs the bootstrap of a checkout, as another user if asked (root only)."""
    demote = (
        {"user": as_user, "group": pwd.getpwnam(as_user).pw_gid, "extra_groups": []}
        if as_user
        else {}
    )
    environment = {**os.environ, "HOME": str(folder), "XDG_CACHE_HOME": str(folder / "cache")}
    return subprocess.run(
        ["bash", "ci/bootstrap.sh"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        **demote,
    )


@pytest.fixture
def checkout(tmp_path):
    """A copy of the files that the set-up reads, in a folder that every user may enter and
    write."""
    shutil.copytree(ROOT / "ci", tmp_path / "ci")
    shutil.copy(ROOT / "requirements.lock", tmp_path)
    for folder in (tmp_path, *tmp_path.parents):
        if folder == Path(folder.anchor) or folder == Path("/tmp"):
            break
        folder.chmod(0o777)
    return tmp_path


def test_second_call_installs_nothing_and_says_so():
    result = subprocess.run(["bash", "ci/bootstrap.sh"], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0
    assert "everything is in place" in result.stderr
    assert result.stderr.count("setup:") == 1


def test_without_root_names_the_missing_packages_and_stops(checkout):
    with (checkout / "ci/apt-packages.txt").open("a") as file:
        file.write("no-such-package-a  # not on any machine\nno-such-package-b\n")
    result = bootstrap(checkout, as_user="nobody" if os.getuid() == 0 else None)
    assert result.returncode == 1
    assert "only root can install them" in result.stderr
    assert "no-such-package-a no-such-package-b" in result.stderr
    assert not (checkout / ".venv").exists()


def test_failed_step_is_named_with_the_way_on(checkout):
    (checkout / "requirements.lock").write_text(
        "no-such-distribution==0 --hash=sha256:" + 64 * "0" + "\n"
    )
    result = bootstrap(checkout)
    assert result.returncode == 1
    assert (
        "step 'installing Python packages into .venv (requirements.lock)' failed; check the network"
    ) in result.stderr
    assert "run the same command again" in result.stderr
    assert not (checkout / ".venv/.fingerprint").exists()


def test_lock_pins_every_direct_requirement_with_hashes():
    names = [
        line.split("#")[0].split("=")[0].split("<")[0].strip()
        for line in (ROOT / "requirements.in").read_text().splitlines()
    ]
    lock = (ROOT / "requirements.lock").read_text()
    for name in filter(None, names):
        assert f"\n{name}==" in f"\n{lock}", name
    entries = [line for line in lock.splitlines() if "==" in line]
    assert lock.count("--hash=sha256:") >= len(entries)
    assert "h5py==" not in lock, "a pip-installed h5py hides Debian's parallel one"
