"""What was measured: the result records under a folder, each run counted once."""

import hashlib
import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from benchmarks import record
from bigearth.errors import InputError

RECORD_NAMES = ("result.json", ".result.json")  # a name ends in one of these
# Fields of a config that say where or how often, not what was measured: runs that differ only in these are repetitions.
NOT_COMPARED = frozenset(("archive", "config", "data", "num_samples", "out", "output", "record", "seed", "workers"))


@dataclass(frozen=True)
class Run:
    """One execution of a workload.

    Attributes:
        id: the record's id; runs are counted by it.
        path: the record's file.
        workload: e.g. "train".
        system: where it ran: the site's name if the record knows it, else its device's.
        nodes, devices: how many took part; a device is what one rank drives (an accelerator, or a set of cores).
        record: the whole record, as `benchmarks.record.read` returns it.
    """

    id: str
    path: Path
    workload: str
    system: str
    nodes: int
    devices: int
    record: dict = field(repr=False)

    def metric(self, name: str) -> float:
        """The metric's value in its own unit, NaN if it was not measured."""
        return number(self.record["metrics"].get(name, {}).get("value"))

    def reason(self, name: str) -> str:
        """Why the metric is missing, in words."""
        entry = self.record["metrics"].get(name)
        return entry.get("reason") or "its value is not a number" if entry else "not recorded"

    def table(self, name: str) -> list:
        """The rows of one of the record's tables, empty if there is none."""
        return self.record["tables"].get(name) or []

    def compared(self) -> dict:
        """The config fields that make two runs different experiments rather than repetitions."""
        return {k: v for k, v in self.record["config"].items() if k not in NOT_COMPARED}


def number(value) -> float:
    """A JSON value as a float; NaN if it is null, infinite, or no number at all."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return math.nan
    return float(value)


def _system(content: dict) -> str:
    named = content["provenance"].get("system")
    devices = sorted({str(r["device"]) for r in content["ranks"] if r.get("device")})
    return named or ", ".join(devices) or content["provenance"].get("processor") or "unnamed system"


def _identity(content: dict, raw: bytes) -> str:
    return str(content.get("id") or hashlib.sha256(raw).hexdigest())


def _run(path: Path, raw: bytes) -> Run:
    content = record.read(path)
    ranks, provenance = content["ranks"], content["provenance"]
    hosts = {r["hostname"] for r in ranks if r.get("hostname")} or set(provenance.get("nodelist") or ())
    return Run(
        id=_identity(content, raw),
        path=path,
        workload=str(content["workload"]),
        system=_system(content),
        nodes=max(1, len(hosts)),
        devices=max(1, len(ranks)),
        record=content,
    )


def record_paths(folder: Path) -> list:
    """Every record under a folder, in order of their paths; links are not followed."""
    found = []
    for root, folders, files in os.walk(folder):
        folders.sort()
        found += [Path(root, name) for name in sorted(files) if name.endswith(RECORD_NAMES)]
    return found


def load(folder) -> list:
    """Reads every result record under a folder; copies of one record count once.

    Returns:
        list of Run, ordered by start time.

    Raises:
        InputError: no such folder, no record in it, a file that is not a record, or two different records with one id.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected the folder of results that `make run` fills; check --results")
    runs: dict = {}
    for path in record_paths(folder):
        run = _run(path, path.read_bytes())
        other: Optional[Run] = runs.get(run.id)
        if other and canonical(other.record) != canonical(run.record):
            raise InputError(
                f"{path}: has the same id ({run.id}) as {other.path} but other content; an id names one run; remove one of the two"
            )
        runs.setdefault(run.id, run)
    if not runs:
        raise InputError(
            f"{folder}: holds no result record; expected files named result.json, as every workload writes; run `make run` first"
        )
    return sorted(runs.values(), key=lambda run: (str(run.record["provenance"].get("start_time")), str(run.path)))


def describe(runs: list) -> str:
    """One line: how many runs of which workloads."""
    counts: dict = {}
    for run in runs:
        counts[run.workload] = counts.get(run.workload, 0) + 1
    return ", ".join(f"{n} x {workload}" for workload, n in sorted(counts.items()))


def canonical(value) -> str:
    """A JSON value as text that is equal exactly for equal values."""
    return json.dumps(value, sort_keys=True, default=str)
