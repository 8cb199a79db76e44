"""Where results come from, as tables of the report: sessions, records, machines, software."""

import math

from plots.cells import Table, cell
from reframe_tests.results.sessions import newest
from reframe_tests.results.values import iso

NATIVE = "native, no image"


def _commit(provenance: dict) -> str:
    changed = ", with changes" if provenance.get("git_dirty") else ""
    return f"{provenance['git_commit']}{changed}" if provenance.get("git_commit") else ""


def _hosts(run) -> str:
    hosts = dict.fromkeys(host for host in run.column("ranks", "hostname") if host)
    return ", ".join(map(str, hosts or run.provenance.get("nodelist") or ()))


def _sessions(cases: list) -> Table:
    rows = []
    for case in newest(cases):
        evidence = case.evidence
        cells = (
            case.system,
            f"{case.check} {case.point}",
            iso(case.time) if math.isfinite(case.time) else None,
            evidence.get("image") or NATIVE,
            evidence.get("commit"),
            ", ".join(case.nodelist),
            evidence.get("dataset"),
        )
        rows.append([cell(value) for value in cells])
    columns = ("system", "check", "ended (UTC)", "image", "commit", "nodes", "data")
    return Table("Newest sessions", columns, rows)


def _records(latest: list) -> Table:
    rows = []
    for run in latest:
        provenance = run.provenance
        cells = (
            run.system,
            run.workload,
            run.time,
            provenance.get("image_digest") or NATIVE,
            _commit(provenance),
            _hosts(run),
            provenance.get("dataset_digest"),
        )
        rows.append([cell(value) for value in cells])
    columns = ("system", "workload", "began (UTC)", "image", "commit", "nodes", "data")
    return Table("Newest records", columns, rows)


def _machines(latest: list) -> Table:
    rows = []
    for run in latest:
        devices = sorted({str(device) for device in run.column("ranks", "device") if device})
        cells = (
            run.system,
            run.workload,
            run.provenance.get("processor"),
            run.provenance.get("kernel"),
            ", ".join(devices),
            run.nodes,
            run.devices,
        )
        rows.append([cell(value) for value in cells])
    columns = ("system", "workload", "processor", "kernel", "devices", "nodes", "ranks")
    return Table("Machines of the newest records", columns, rows)


def _software(latest: list) -> Table:
    users: dict = {}  # of a version of a package: the workloads
    for run in latest:
        parts = (run.provenance.get("packages") or {}, run.provenance.get("libraries") or {})
        for name, version in {**parts[0], **parts[1]}.items():
            users.setdefault((run.system, name, str(version)), []).append(run.workload)
    rows = [[*map(cell, key), cell(", ".join(used))] for key, used in sorted(users.items())]
    columns = ("system", "package", "version", "workloads")
    return Table("Software of the newest records", columns, rows)


def origins(runs: list, cases: list) -> list:
    """The tables that have rows: the newest sessions, and the newest record of every system and
    workload."""
    latest: dict = {}
    for run in runs:
        if run.path:
            latest[run.system, run.workload] = run
    known = list(latest.values())
    tables = [_sessions(cases), _records(known), _machines(known), _software(known)]
    return [table for table in tables if table.rows]
