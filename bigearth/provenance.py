"""Where a result comes from: commit, image, packages, libraries, processor, nodes, data.

Standard library only. What cannot be read is null.
"""

import contextlib
import datetime
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Optional

from bigearth import machine

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = (
    "tensorflow",
    "tensorflow-cpu",
    "keras",
    "horovod",
    "numpy",
    "h5py",
    "mpi4py",
    "GDAL",
    "scikit-learn",
    "reframe-hpc",
)


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def gather(start: str, nodelist: list, dataset_digest: Optional[str], data=None, **more) -> dict:
    """Where a result comes from.

    Args:
        start: `now()` as the program began.
        nodelist: host name of each node; repetitions are dropped.
        dataset_digest: the content digest of the HDF5 file, or None if the workload reads none.
        data: path of that file, whose file system counts.
        more: what only this workload knows.

    Returns:
        "machine" holds what bigearth.machine says of the node that calls this, "not_read" why a
        part of it is null.
    """
    changes = _git("status", "--porcelain", "--untracked-files=no")
    here = machine.facts(data)
    return {
        "git_commit": _git("rev-parse", "HEAD") or commit(),
        "git_dirty": None if changes is None else bool(changes),
        "image_digest": os.environ.get("BIGEARTH_IMAGE_DIGEST"),
        "system": os.environ.get("BIGEARTH_SYSTEM"),  # the site's name for it, e.g. "juwels:gpus"
        "packages": packages(),
        "libraries": _libraries(),
        "python": platform.python_version(),
        "kernel": here["kernel"].value,
        "processor": here["processor"].value,
        "nodelist": sorted(set(nodelist)),
        "dataset_digest": dataset_digest,
        "command": [sys.executable, *sys.argv],
        "start_time": start,
        "end_time": now(),
        "machine": {name: fact.value for name, fact in here.items()},
        "not_read": {name: fact.why for name, fact in here.items() if fact.value is None},
        **more,
    }


def commit() -> Optional[str]:
    """The code's commit as far as it is known without starting git, which every rank can afford."""
    return os.environ.get("BIGEARTH_GIT_COMMIT") or head()


def _git(*arguments) -> Optional[str]:
    command = ["git", "-C", str(ROOT), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def head(root: Path = ROOT) -> Optional[str]:
    """The commit as .git says it, for images, in which there is no git."""
    try:
        folder = root / ".git"
        if folder.is_file():  # a worktree's: "gitdir: FOLDER"
            folder = root / folder.read_text().split(":", 1)[1].strip()
        commit = (folder / "HEAD").read_text().strip()
        if not commit.startswith("ref: "):
            return commit
        name, shared = commit[5:], folder / "commondir"
        common = folder / shared.read_text().strip() if shared.is_file() else folder
        if (common / name).is_file():
            return (common / name).read_text().strip()
        packed = (common / "packed-refs").read_text().splitlines()
        return next((line.split()[0] for line in packed if line.endswith(f" {name}")), None)
    except (OSError, IndexError, UnicodeDecodeError):
        return None


def packages() -> dict:
    """Versions of those packages of PACKAGES that are installed."""
    versions = {}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    # the system's own h5py, built for its MPI, has no entry among the packages
    with contextlib.suppress(KeyError, AttributeError):
        versions.setdefault("h5py", sys.modules["h5py"].__version__)
    return versions


def _libraries() -> dict:
    """Versions of the libraries that this process has really loaded; a watchdog may ask while one
    of them is being imported."""
    asked = {
        "hdf5": ("h5py", lambda module: module.version.hdf5_version),
        "gdal": ("osgeo.gdal", lambda module: module.__version__),
        "mpi": (
            "mpi4py.MPI",
            lambda module: module.Get_library_version().split("\0")[0].split(",")[0].strip(),
        ),
    }
    found = {}
    for name, (module, version) in asked.items():
        with contextlib.suppress(KeyError, AttributeError):
            found[name] = version(sys.modules[module])
    return found
