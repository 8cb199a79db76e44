"""What was measured: result records and ReFrame's test cases under a folder, each run counted
once."""

import datetime
import gc
import hashlib
import math
import os
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Optional

import numpy as np

from bigearth import record
from bigearth.errors import InputError
from plots import database
from plots.parallel import on_all_cores
from plots.values import canonical, column, columns, number, printable

RECORD_NAMES = ("result.json", ".result.json")  # a name ends in one of these
# metrics that only a training has
TRAINING = frozenset(("time_per_epoch", "training_time", "f1_micro"))
RECORDS_AT_A_TIME = 256
# Settings that say where or how often, not what was measured: runs that differ only in these are
# repetitions.
NOT_COMPARED = frozenset(
    (
        "archive",
        "checkpoint_epochs",
        "checkpoint_keep",
        "data",
        "devices",
        "mlperf",
        "nodes",
        "out",
        "output",
        "record",
        "resume",
    )
    + ("samples", "seed", "timeline")
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
        metrics, config, files, provenance: as in the record.
        tables: name -> its columns, see `plots.values.columns`, as in the record. Two more, "ranks"
            (rank, hostname, device, step_time: the median in s) and "phases" (a column a phase, in
            s), a row a rank, are made when first asked for: few runs are looked at rank by rank.
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
    case: Optional[database.Case] = field(default=None, repr=False)

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
        return canonical(
            [self.workload, self.system, self.provenance.get("dataset_digest"), self.experiment]
        )

    @cached_property
    def _rank_tables(self) -> dict:
        if self.path:
            return rank_tables(
                _content(self.path)["ranks"], lambda times: number((times or {}).get("p50"))
            )
        return rank_tables(self.case.evidence["ranks"] if self.case else [], number)

    def columns(self, table: str) -> dict:
        """A table's columns, empty if there is none."""
        return (
            self._rank_tables[table]
            if table in ("ranks", "phases") and table not in self.tables
            else self.tables.get(table, {})
        )

    def table(self, name: str) -> list:
        """The rows of one of the record's tables, empty if there is none."""
        found = {
            key: v.tolist() if isinstance(v, np.ndarray) else v
            for key, v in self.columns(name).items()
        }
        return [dict(zip(found, row)) for row in zip(*found.values())]

    def column(self, table: str, name: str):
        """One column of a table; None for each of its rows if it has no such column."""
        found = self.columns(table)
        return found[name] if name in found else [None] * len(next(iter(found.values()), ()))


@dataclass(frozen=True)
class Results:
    """Everything found: `runs` in order of time, and ReFrame's `cases` (of which runs are a
    part)."""

    runs: list
    cases: list


def rank_tables(ranks: list, median) -> dict:
    """The tables "ranks" and "phases" of rows of ranks; `median` finds the median of a row's step
    time."""
    if not ranks:
        return {"ranks": {}, "phases": {}}
    table = {
        name: column([rank.get(name) for rank in ranks]) for name in ("rank", "hostname", "device")
    }
    table["step_time"] = column([median(rank.get("step_time")) for rank in ranks])
    return {"ranks": table, "phases": columns([rank.get("phases") or {} for rank in ranks])}


def _content(path: Path) -> dict:
    return dict(vars(record.read(path)))


def _run_of_record(path: Path) -> Run:
    content = _content(path)
    identity = content.get("id") or hashlib.sha256(canonical(content).encode()).hexdigest()
    ranks, tables = (
        content.pop("ranks"),
        {name: columns(rows) for name, rows in content.pop("tables").items()},
    )
    content = printable(content)
    provenance = content["provenance"]
    hosts = {str(rank["hostname"]) for rank in ranks if rank.get("hostname")} or set(
        map(str, provenance.get("nodelist") or ())
    )
    devices = {str(rank.get("device")) for rank in ranks} - {"None", "CPU"}
    return Run(
        id=str(identity),
        path=path,
        workload=str(content["workload"]),
        system=str(
            provenance.get("system")
            or printable(", ".join(sorted(devices)))
            or provenance.get("processor")
            or "unnamed system"
        ),
        nodes=max(1, len(hosts)),
        devices=max(1, len(ranks)),
        time=str(provenance.get("start_time") or ""),
        experiment={k: v for k, v in content["config"].items() if k not in NOT_COMPARED},
        metrics=content["metrics"],
        config=content["config"],
        tables=tables,
        files=content["files"],
        provenance=provenance,
    )


def _experiment(case: database.Case) -> dict:
    point = dict(part.split("=", 1) for part in case.point.split() if "=" in part)
    return {"check": case.check, **{k: v for k, v in point.items() if k not in NOT_COMPARED}}


def _run_of_case(case: database.Case) -> Run:
    workload = (
        "train" if TRAINING & set(case.values) or case.check.startswith("training") else case.check
    )
    moment = datetime.datetime.fromtimestamp(
        0 if math.isnan(case.time) else case.time, datetime.timezone.utc
    )
    return Run(
        id=f"{case.session}:{case.key}",
        path=None,
        workload=workload,
        system=case.system,
        nodes=max(1, case.nodes),
        devices=max(1, case.tasks),
        time=moment.isoformat(timespec="seconds"),
        experiment=_experiment(case),
        metrics={name: {"value": v.value, "unit": v.unit} for name, v in case.values.items()},
        provenance={
            "dataset_digest": case.evidence.get("dataset"),
            "image_digest": case.evidence.get("image"),
            "nodelist": case.nodelist,
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
            joined[run.id] = replace(
                run, case=case, system=case.system, experiment=_experiment(case)
            )
        elif case.result != "skip":
            other = _run_of_case(case)
            joined[other.id] = other
    return list(joined.values())


def _find(path: Path) -> tuple:
    """(record files, databases, run reports) at or under a path, in order; links are not
    followed."""
    files = [(str(path.parent), path.name)]
    if path.is_dir():
        files = sorted((root, name) for root, _, names in os.walk(path) for name in names)
    elif not path.exists():
        raise InputError(
            f"{path}: no such file or folder; expected the results that `make run` "
            "leaves; check --results"
        )
    records = [Path(root, name) for root, name in files if name.endswith(RECORD_NAMES)]
    databases = [Path(root, name) for root, name in files if name.endswith(".db")]
    reports = [
        f
        for f in (Path(root, name) for root, name in files if database.REPORT_NAME.fullmatch(name))
        if not f.is_symlink()
    ]
    if not records and not databases and not reports:
        what = "holds no result" if path.is_dir() else "is not a results file"
        raise InputError(
            f"{path}: {what}; expected result.json files of workloads, ReFrame's results.db or its "
            "run-*.json reports; run `make run` first"
        )
    return records, databases, reports


@contextmanager
def _for_good():
    """What is made in here is kept to the end: the garbage collector would only walk it again and
    again, in every process."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@_for_good()
def load(path) -> Results:
    """Reads every record, results database and run report at or under a path; copies of one run
    count once.

    Raises:
        InputError: there is none, a file is not what its name says, or two different records or
            sessions have one id.
    """
    records, databases, reports = _find(Path(path))
    runs: dict = {}
    for run in on_all_cores(_run_of_record, records, RECORDS_AT_A_TIME):
        other = runs.setdefault(run.id, run)
        if other is not run and canonical(_content(other.path)) != canonical(_content(run.path)):
            raise InputError(
                f"{run.path}: has the same id ({run.id}) as {other.path} but other content; an id "
                "names one run; remove one of the two"
            )
    cases = database.load(databases, reports)
    if not runs and not cases:
        raise InputError(f"{path}: the results database holds no test case; run `make run` first")
    return Results(sorted(_join(runs, cases), key=lambda run: (run.time, run.id)), cases)


def describe(runs: list) -> str:
    """One line: how many runs of which workloads."""
    counts: dict = {}
    for run in runs:
        counts[run.workload] = counts.get(run.workload, 0) + 1
    return ", ".join(f"{n} x {workload}" for workload, n in sorted(counts.items()))
