"""What was measured: result records and ReFrame's test cases under a folder, each run counted
once."""

import datetime
import hashlib
import math
import os
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Optional

from bigearth import record
from bigearth.errors import InputError

from . import sessions
from .sessions import Case
from .values import canonical, number, printable

RECORD_NAMES = ("result.json", ".result.json")  # a name ends in one of these
# metrics that only a training has
TRAINING = frozenset(("time_per_epoch", "training_time", "f1_micro"))
SIZES = ("nodes", "devices")  # of a point: runs of several sizes are one series
NO_RESULT = (
    "expected result.json files of workloads, ReFrame's results.db or its run-*.json reports; run "
    "`make run` first"
)


@dataclass(frozen=True)
class Run:
    """One execution of a workload, from its record, from ReFrame's database, or from both.

    Attributes:
        id: the record's id, or the test case's; runs are counted by it.
        path: the record's file, None if only ReFrame's values are left.
        workload: e.g. "train".
        system: where it ran: the site's name if known, else the device's or the processor's.
        nodes, devices: how many took part; a device is what one rank drives (an accelerator, or a
            set of cores).
        time: when it began or ended, ISO 8601 (UTC).
        experiment: what makes two runs different experiments rather than repetitions: check and
            point, or the config.
        metrics, config, files, provenance, efficiency: as in the record.
        tables: name -> rows, as in the record, and one more: "ranks" (rank, hostname, device,
            step_time: the median in s).
        case: ReFrame's test case, if it was ReFrame that started the run.
    """

    id: str
    path: Optional[Path]
    workload: str
    system: str
    nodes: int
    devices: int
    time: str
    experiment: dict = field(repr=False)
    metrics: dict = field(repr=False)
    config: dict = field(default_factory=dict, repr=False)
    tables: dict = field(default_factory=dict, repr=False)
    files: dict = field(default_factory=dict, repr=False)
    provenance: dict = field(default_factory=dict, repr=False)
    efficiency: dict = field(default_factory=dict, repr=False)
    case: Optional[Case] = field(default=None, repr=False)

    def metric(self, name: str) -> float:
        """The metric's value in its own unit, NaN if it was not measured."""
        return number((self.metrics.get(name) or {}).get("value"))

    def reason(self, name: str) -> str:
        """Why the metric is missing, in words."""
        if self.case and self.case.reason:
            return f"the check failed in {self.case.phase or 'an unknown phase'}"
        entry = self.metrics.get(name)
        return entry.get("reason") or "its value is not a number" if entry else "not recorded"

    @cached_property
    def key(self) -> str:
        """Runs with one key are the same experiment, at whatever number of nodes."""
        data = self.provenance.get("dataset_digest")
        return canonical([self.workload, self.system, data, self.experiment])

    def table(self, name: str) -> list:
        """The rows of a table, none if there is no such table."""
        return self.tables.get(name) or []

    def column(self, table: str, name: str) -> list:
        """One column of a table; None for each of its rows that has no such cell."""
        return [row.get(name) for row in self.table(table)]


@dataclass(frozen=True)
class Results:
    """Everything found: `runs` in order of time, and ReFrame's `cases` (of which runs are a
    part)."""

    runs: list
    cases: list


def _rank_table(ranks: list, median) -> dict:
    """The table "ranks" of rows of ranks; `median` finds the median of a row's step time."""
    rows = [
        {
            **{name: rank.get(name) for name in ("rank", "hostname", "device")},
            "step_time": median(rank.get("step_time")),
        }
        for rank in ranks
    ]
    return {"ranks": rows}


def _system(provenance: dict, devices: set, hosts: list) -> str:
    """Where a record was made; a machine without a site's name is named by its host."""
    site = str(provenance.get("system") or "")
    if site.split(":")[0] == sessions.LOCAL and hosts:
        return f"{sessions.LOCAL}@{hosts[0]}{site[len(sessions.LOCAL) :]}"
    other = ", ".join(sorted(devices)) or provenance.get("processor")
    return str(site or other or "unnamed system")


def _run_of_record(path: Path) -> Run:
    content = printable(vars(record.read(path)))
    provenance, ranks = content["provenance"], content["ranks"]
    named = [str(rank["hostname"]) for rank in ranks if rank.get("hostname")]
    hosts = list(dict.fromkeys(named or map(str, provenance.get("nodelist") or ())))
    devices = {str(rank.get("device")) for rank in ranks} - {"None", "CPU"}
    config = content["config"]
    tables = _rank_table(ranks, lambda times: number((times or {}).get("p50")))
    return Run(
        id=str(content["id"]),
        path=path,
        workload=content["workload"],
        system=_system(provenance, devices, hosts),
        nodes=max(1, len(hosts)),
        devices=max(1, len(ranks)),
        time=str(provenance.get("start_time") or ""),
        experiment={k: v for k, v in config.items() if k not in content["repeats"]},
        metrics=content["metrics"],
        config=config,
        tables={**tables, **content["tables"]},
        files=content["files"],
        provenance=provenance,
        efficiency=content["efficiency"] or {},
    )


def _experiment(case: Case) -> dict:
    point = dict(part.split("=", 1) for part in case.point.split() if "=" in part)
    return {"check": case.check, **{k: v for k, v in point.items() if k not in SIZES}}


def _run_of_case(case: Case) -> Run:
    is_training = TRAINING & set(case.values) or case.check.startswith("training")
    seconds = 0 if math.isnan(case.time) else case.time
    moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return Run(
        id=f"{case.session}:{case.key}",
        path=None,
        workload="train" if is_training else case.check,
        system=case.system,
        nodes=max(1, case.nodes),
        devices=max(1, case.tasks),
        time=moment.isoformat(timespec="seconds"),
        experiment=_experiment(case),
        metrics={name: {"value": v.value, "unit": v.unit} for name, v in case.values.items()},
        tables=_rank_table(case.evidence["ranks"], number),
        provenance={
            "dataset_digest": case.evidence.get("dataset"),
            "image_digest": case.evidence.get("image"),
            "nodelist": list(case.nodelist),
        },
        case=case,
    )


def _join(runs: dict, cases: list) -> list:
    """The runs of all records and cases; a case keeps the id of the record it judged, and the two
    are one run."""
    joined = dict(runs)
    for case in cases:
        run = runs.get(case.evidence.get("record"))
        if run:
            more = {"case": case, "system": case.system, "experiment": _experiment(case)}
            joined[run.id] = replace(run, **more)
        elif case.result != "skip":
            other = _run_of_case(case)
            joined[other.id] = other
    return list(joined.values())


def _find(path: Path) -> tuple:
    """(record files, databases, run reports) at or under a path, in order; links to folders are
    not followed, links to reports are left out."""
    if not path.exists():
        raise InputError(
            f"{path}: no such file or folder; expected the results that `make run` leaves; check "
            "--results"
        )
    files = [path]
    if path.is_dir():
        files = sorted(Path(root, name) for root, _, names in os.walk(path) for name in names)
    records = [file for file in files if file.name.endswith(RECORD_NAMES)]
    databases = [file for file in files if file.suffix == ".db"]
    named = [file for file in files if sessions.REPORT_NAME.fullmatch(file.name)]
    reports = [file for file in named if not file.is_symlink()]
    if not records and not databases and not reports:
        what = "holds no result" if path.is_dir() else "is not a results file"
        raise InputError(f"{path}: {what}; {NO_RESULT}")
    return records, databases, reports


def _records(paths: list) -> dict:
    """Id -> run of some record files."""
    runs: dict = {}
    prints: dict = {}
    for path in paths:
        run = _run_of_record(path)
        content = canonical(vars(replace(run, path=None)))
        digest = hashlib.sha256(content.encode()).digest()
        other = runs.setdefault(run.id, run)
        if prints.setdefault(run.id, digest) != digest:
            raise InputError(
                f"{path}: has the same id ({run.id}) as {other.path} but other content; an id "
                "names one run; remove one of the two"
            )
    return runs


def load(path) -> Results:
    """Reads every record, results database and run report at or under a path; copies of one run
    count once.

    Raises:
        InputError: there is none, a file is not what its name says, or two different records or
            sessions have one id.
    """
    records, databases, reports = _find(Path(path))
    runs = _records(records)
    cases = sessions.load(databases, reports)
    if not runs and not cases:
        raise InputError(f"{path}: the results database holds no test case; run `make run` first")
    return Results(sorted(_join(runs, cases), key=lambda run: (run.time, run.id)), cases)


def describe(runs: list) -> str:
    """One line: how many runs of which workloads."""
    counts: dict = {}
    for run in runs:
        counts[run.workload] = counts.get(run.workload, 0) + 1
    return ", ".join(f"{n} x {workload}" for workload, n in sorted(counts.items()))
