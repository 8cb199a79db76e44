"""Files that come in a wheel on a package index: fetched by pip when first needed, checked by
SHA-256, kept in the user's cache."""

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bigearth.errors import InputError, disk_error


def cache() -> Path:
    """The user's cache folder of this project."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bigearth-bench"


def fetch(package: str, wheel: str, sha256: str) -> Path:
    """The path of a wheel in the cache, fetched if it is not there yet; nothing of it is installed
    or executed.

    Args:
        package: what pip is asked for, e.g. "bigearthnet-common==2.8.0".
        wheel: the file's name.
        sha256: its expected digest.

    Raises:
        InputError: it cannot be fetched, or its content is not the expected one.
    """
    path = cache() / wheel
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=path.parent) as folder:
                _download(folder, package, wheel)
                _check(Path(folder) / wheel, sha256)
                (Path(folder) / wheel).replace(path)
        except OSError as error:
            raise disk_error(path, "keep the fetched wheel", error) from error
    _check(path, sha256)
    return path


def _check(path: Path, sha256: str) -> None:
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        raise InputError(
            f"{path}: SHA-256 is {found}, expected {sha256}; the file is damaged or "
            "another one: delete it and try again"
        )


def _download(folder: str, package: str, wheel: str) -> None:
    arguments = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--disable-pip-version-check",
        "--no-deps",
        "--dest",
        folder,
        package,
    ]
    done = subprocess.run(arguments, capture_output=True, text=True)
    if done.returncode or not (Path(folder) / wheel).exists():
        lines = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()
        raise InputError(
            f"{package}: pip could not fetch it ({lines[-1].strip()}); the network or the package "
            "index is out of reach; "
            f"connect, or put {wheel} into {cache()} by hand"
        )
