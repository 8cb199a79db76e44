"""The result record: the one JSON file that every workload writes, and the names and units of every
metric.

{"schema": 1, "id": "5f0c…", "workload": "train",   the id names this run: copies of the file are
one run
 "config":     {...}                       all of it, resolved
 "metrics":    {"f1_micro": {"value": 0.71, "unit": "1", "better": "higher"}, ...}
                                           a metric that could not be measured has value null and a
                                           "reason"
 "ranks":      [{"rank": 0, "hostname": "n1", "device": "...", ...}, ...]
 "tables":     {"epochs": [{...}, ...], "per_class": [...]}
 "files":      {"samples": "samples.npz"}  beside the record
 "provenance": {"git_commit": ..., "image_digest": ..., "packages": {...}, "nodelist": [...], ...}}
"""

import contextlib
import datetime
import json
import math
import os
import platform
import subprocess
import sys
import uuid
from importlib import metadata
from pathlib import Path
from typing import Optional

from bigearth.errors import InputError
from bigearth.files import new_file

SCHEMA = 1
ROOT = Path(__file__).resolve().parent.parent

# name -> (unit, which way is better); used by records, references and plots alike
METRICS = {
    "time_per_epoch": ("s", "lower"),
    "training_time": ("s", "lower"),
    "step_time": ("s", "lower"),
    "throughput": ("img/s", "higher"),
    "throughput_per_device": ("img/s", "higher"),
    "scaling_efficiency": ("1", "higher"),
    "loss": ("1", "lower"),
    "f1_micro": ("1", "higher"),
    "f1_macro": ("1", "higher"),
    "f1_weighted": ("1", "higher"),
    "f1_samples": ("1", "higher"),
    "average_precision_micro": ("1", "higher"),
    "average_precision_macro": ("1", "higher"),
    "precision_micro": ("1", "higher"),
    "precision_macro": ("1", "higher"),
    "recall_micro": ("1", "higher"),
    "recall_macro": ("1", "higher"),
    "input_throughput": ("img/s", "higher"),
    "input_bandwidth": ("GB/s", "higher"),
    "allreduce_bandwidth": ("GB/s", "higher"),
    "energy_per_epoch": ("J", "lower"),
    "patch_throughput": ("patches/s", "higher"),
    "read_bandwidth": ("GB/s", "higher"),
    "write_bandwidth": ("GB/s", "higher"),
    "imbalance": ("1", "lower"),
    "container_step_ratio": ("1", "higher"),  # native time / container time
    "container_all_reduce_ratio": ("1", "higher"),
    "container_read_ratio": ("1", "higher"),
    "container_start_up": ("s", "lower"),  # container time - native time
}


def metric(name: str, value: Optional[float], reason: Optional[str] = None) -> dict:
    """One entry of `metrics`.

    Args:
        name: a key of `METRICS`.
        value: in that metric's unit, or None if it could not be measured.
        reason: why it could not be measured; needed exactly when value is None.
    """
    unit, better = METRICS[name]
    if value is None:
        if not reason:
            raise ValueError(f"metric {name}: a missing value needs a reason")
        return {"value": None, "unit": unit, "better": better, "reason": reason}
    if not math.isfinite(value):
        raise ValueError(f"metric {name} is {value}: say why as a missing value instead")
    return {"value": float(value), "unit": unit, "better": better}


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def _git(*arguments) -> Optional[str]:
    try:
        return subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _head() -> Optional[str]:
    """The commit as .git says it, for images, in which there is no git."""
    try:
        head = (ROOT / ".git" / "HEAD").read_text().strip()
        return (ROOT / ".git" / head[5:]).read_text().strip() if head.startswith("ref: ") else head
    except OSError:
        return None


def _packages() -> dict:
    names = (
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
    versions = {}
    for name in names:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
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


def provenance(start: str, nodelist: list, dataset_digest: Optional[str], **more) -> dict:
    """Where a result comes from.

    Args:
        start: `now()` as the program began.
        nodelist: host names of the nodes, one each.
        dataset_digest: the content digest of the HDF5 file, or None if the workload reads none.
        more: what only this workload knows (NCCL version, driver, ...).
    """
    commit = _git("rev-parse", "HEAD") or os.environ.get("BIGEARTH_GIT_COMMIT") or _head()
    changes = _git("status", "--porcelain", "--untracked-files=no")
    return {
        "git_commit": commit,
        "git_dirty": None if changes is None else bool(changes),
        "image_digest": os.environ.get("BIGEARTH_IMAGE_DIGEST"),
        "system": os.environ.get("BIGEARTH_SYSTEM"),  # the site's name for it, e.g. "juwels:gpus"
        "packages": _packages(),
        "libraries": _libraries(),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "processor": _processor(),
        "nodelist": sorted(set(nodelist)),
        "dataset_digest": dataset_digest,
        "command": [sys.executable, *sys.argv],
        "start_time": start,
        "end_time": now(),
        **more,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(
            line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")
        )
    except (OSError, StopIteration):
        return platform.machine()


def write(
    path,
    workload: str,
    config: dict,
    metrics: dict,
    ranks: list,
    tables: dict,
    files: dict,
    provenance: dict,
) -> None:
    """Writes the record under a temporary name and renames it, so that a file with the final name
    is complete.

    Raises:
        InputError: the folder is not writable or the disk is full.
    """
    content = dict(
        schema=SCHEMA,
        id=uuid.uuid4().hex,
        workload=workload,
        config=config,
        metrics=metrics,
        ranks=ranks,
        tables=tables,
        files=files,
        provenance=provenance,
    )
    with new_file(path, "write the result record") as partial:
        partial.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")


def read(path, parse=json.loads) -> dict:
    """Reads a record.

    Args:
        parse: what makes its bytes a value, as `json.loads` does.

    Raises:
        InputError: no such file, not a record, or of another schema.
    """
    try:
        content = parse(Path(path).read_bytes())
    except OSError as error:
        raise InputError(
            f"{path}: cannot read the result record: {error.strerror}; expected the "
            "result.json of a finished run"
        ) from error
    except ValueError as error:
        raise InputError(
            f"{path}: not a result record ({error}); expected the result.json that a "
            "workload wrote; run it again"
        ) from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        found = content.get("schema", "missing") if isinstance(content, dict) else "missing"
        raise InputError(
            f"{path}: record schema is {found}, expected {SCHEMA}; read it with the "
            "version of the suite that wrote it"
        )
    missing = [
        k
        for k in ("workload", "config", "metrics", "ranks", "tables", "files", "provenance")
        if k not in content
    ]
    if missing:
        raise InputError(
            f"{path}: incomplete result record, {', '.join(missing)} missing; run the "
            "workload again"
        )
    return content
