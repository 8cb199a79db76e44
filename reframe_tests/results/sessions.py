"""ReFrame's memory: test cases out of its results database (SQLite) and its run reports (JSON).
ReFrame itself is not needed.

The layout is that of ReFrame 4.9 and 4.10: tables `metadata`, `sessions` (whose `json_blob` is the
whole run report) and `testcases`. A performance value is stored as [value, reference, lower, upper,
unit, result], the limits relative to the reference.

Order: a database stores its sessions one after the other, and that order counts, whatever the
clock said. Sessions of different files are put together by time. A time that lies in the future is
none: such a session keeps its place in its database; a report of its own has no place and always
counts as newest.
"""

import datetime
import json
import math
import re
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from bigearth.errors import InputError, one_line
from bigearth.files import read_bytes

from .values import canonical, number, printable

SCHEMA_VERSION = "1.0"  # of the database
DATA_VERSION = "4"  # of the reports in it, the part before the dot
REPORT_NAME = re.compile(r"run-.*\.json|report.*\.json")
MOST_BYTES = 1 << 30  # of a run report
WAIT_S = 30  # for a database that another program holds
# of a case's evidence
TEXTS = ("image", "driver", "commit", "dataset", "kernel", "record", "efficiency")
LAST_MOMENT = datetime.datetime(9999, 12, 31, tzinfo=datetime.timezone.utc).timestamp()
GRACE_S = 86400  # clocks of two machines may differ by this much
MOST = 10_000_000  # nodes or tasks of one case
LOCAL = "local"  # the one site that is many machines: its host is part of its name
GOOD = ("pass", "xfail", "xpass")  # results of a case that was measured
EXPECTED = "what `reframe --report-file` or its database holds"


@dataclass(frozen=True)
class Value:
    """One performance value and what it was judged by.

    Attributes:
        value: in `unit`; NaN if it was not measured.
        reference, low, high: the band in the same unit; NaN where there is none.
        verdict: ReFrame's: "pass", "fail", "xfail", "xpass", or "" if there is none.
        origin, source: where the reference comes from ("published", "measured", "predicted",
            "computed", "unknown" or ""), and in words.
        date, runs: of the reference, "" and 0 if it has none.
        interval: (low, high), the 95 % interval of the value; NaN if it is not known.
    """

    value: float
    unit: str
    reference: float = math.nan
    low: float = math.nan
    high: float = math.nan
    verdict: str = ""
    origin: str = ""
    source: str = ""
    date: str = ""
    runs: int = 0
    interval: tuple = (math.nan, math.nan)

    @property
    def judged(self) -> bool:
        """Whether there was a reference to judge it by."""
        known = self.origin != "unknown" and not math.isnan(self.reference)
        return bool(self.verdict) and known


@dataclass(frozen=True)
class Case:
    """One test case of one session.

    Attributes:
        session: the session's id; placed: whether its place among the sessions is known.
        time: when the job ended (Unix s), NaN if that is not known.
        system: "site:partition"; "local@host:partition" on a machine without a site's name.
        check, point: e.g. "training" and "nodes=4"; environ: ReFrame's environment.
        result: ReFrame's word for how it ended: "pass", "fail", "abort", "skip", "xfail", "xpass".
        phase, reason: where and why it failed, or "".
        values: metric -> Value.
        evidence: what the check kept of the record: image, dataset, commit, ranks …
        nodelist: host names; nodes, tasks: how many.
        output: the folder its files are in (of a failed case, the stage folder); stderr: of its
            job; jobid, hash: ReFrame's names for the job and for the test; each may be "".
        fixture: whether it only prepares other cases.
        command: the session's command line, "" if it is not known.
    """

    session: str
    time: float
    system: str
    check: str
    point: str
    result: str
    values: dict
    evidence: dict = field(repr=False)
    phase: str = ""
    reason: str = ""
    nodelist: tuple = ()
    nodes: int = 1
    tasks: int = 1
    environ: str = ""
    output: str = ""
    stderr: str = ""
    jobid: str = ""
    hash: str = ""
    fixture: bool = False
    placed: bool = True
    command: str = ""

    @property
    def key(self) -> tuple:
        """What makes a history: (system, check, point)."""
        return (self.system, self.check, self.point)

    @property
    def like(self) -> tuple:
        """What makes two cases runs of the same work: the key, image, data and patches."""
        return (*self.key, *map(self.evidence.get, ("image", "dataset", "patches")))

    @property
    def name(self) -> str:
        """In words: "scaling nodes=4 @gpu"."""
        partition = self.system.partition(":")[2]
        return f"{self.check} {self.point}".strip() + f" @{partition}"

    @property
    def sound(self) -> bool:
        """Whether its numbers are to be believed; one that only missed its references is sound."""
        return bool(self.evidence.get("dataset") or self.evidence.get("patches")) and (
            self.result in GOOD or self.phase == "performance"
        )


def _value(entry: list, cell: dict, interval) -> Value:
    """One perfvalue; reports of version 4.0 lack the last field. A limit of None is open, a
    reference of 0 is none."""
    value, reference, lower, upper = map(number, entry[:4])
    if not reference:
        reference = math.nan
    ends = tuple(map(number, interval)) if isinstance(interval, list) else ()
    return Value(
        value=value,
        unit=_text(entry[4]),
        reference=reference,
        low=number(reference + abs(reference) * lower),
        high=number(reference + abs(reference) * upper),
        verdict=_text(entry[5] if len(entry) > 5 else None),
        origin=_text(cell.get("origin")),
        source=_text(cell.get("source")),
        date=_text(cell.get("date")),
        runs=_count(cell.get("runs"), 0),
        interval=ends if len(ends) == 2 else (math.nan, math.nan),
    )


def _text(value) -> str:
    return "" if value in (None, "None") else printable(str(value))


def moment(value) -> float:
    """A Unix time in s, NaN if it is none or lies in the future."""
    seconds = number(value)
    return seconds if 0 <= seconds <= min(LAST_MOMENT, time.time() + GRACE_S) else math.nan


def _count(*values) -> int:
    """The first that is a number of nodes, tasks or runs, else 1 (0 if that is the last)."""
    found = (value for value in map(number, values) if 1 <= value <= MOST)
    return int(next(found, 0 if values[-1] == 0 else 1))


def _nodelist(value) -> tuple:
    names = value.split(",") if isinstance(value, str) else value or ()
    return tuple(name for name in map(_text, names) if name)


def _evidence(kept: dict) -> dict:
    """What a check kept of a record, if it is built as one that keeps it.

    Raises:
        TypeError: it is not.
    """
    for name, kind in (("ranks", list), ("packages", dict), ("intervals", dict)):
        if not isinstance(kept.get(name) or kind(), kind):
            raise TypeError(f"evidence: {name} is not a {kind.__name__}")
    ranks = kept.get("ranks") or []
    if not all(
        isinstance(row, dict) and isinstance(row.get("phases") or {}, dict) for row in ranks
    ):
        raise TypeError("evidence: a rank is not a dict of its name, step time and phases")
    texts = {name: _text(kept[name]) or None for name in TEXTS if name in kept}
    return {**kept, **texts, "packages": printable(kept.get("packages") or {}), "ranks": ranks}


def _system(tc: dict, session: dict) -> str:
    site, host = tc["system"], _text(session.get("hostname"))
    name = f"{site}@{host}" if site == LOCAL and host else site
    return _text(f"{name}:{tc['partition']}")


def _case(tc: dict, session: dict) -> Case:
    cells = tc.get("cells") if isinstance(tc.get("cells"), dict) else {}
    kept = tc.get("evidence") if isinstance(tc.get("evidence"), dict) else {}
    named = {name: session[name] for name in ("commit", "image", "driver") if name in session}
    evidence = _evidence({**named, **kept})
    intervals = evidence.get("intervals") or {}
    name, _, parameters = _text(tc["name"]).partition(" ")
    values = {}
    for key, entry in (tc.get("perfvalues") or {}).items():
        metric = key.rsplit(":", 1)[-1]
        values[_text(metric)] = _value(entry, cells.get(metric) or {}, intervals.get(metric))
    nodelist = _nodelist(tc.get("job_nodelist"))
    hosts = {_text(row.get("hostname")) for row in evidence["ranks"]} - {""}
    return Case(
        session=_text(session["uuid"]),
        time=moment(tc.get("job_completion_time_unix") or session.get("time_end_unix")),
        system=_system(tc, session),
        check=_text(tc.get("check")) or name,
        point=_text(tc.get("point")) or parameters.replace("%", ""),
        result=_text(tc["result"]),
        phase=_text(tc.get("fail_phase")),
        reason=_text(tc.get("fail_reason")),
        values=values,
        evidence=evidence,
        nodelist=tuple(sorted(hosts)) or nodelist,
        nodes=_count(evidence.get("nodes"), tc.get("num_nodes"), len(nodelist) or None),
        tasks=_count(tc.get("num_tasks")),
        environ=_text(tc.get("environ")),
        output=_text(tc.get("outputdir" if tc["result"] in GOOD else "stagedir")),
        stderr=_text(tc.get("job_stderr")),
        jobid=_text(tc.get("jobid")),
        hash=_text(tc.get("hashcode")),
        fixture=bool(tc.get("fixture")),
        placed=not math.isnan(moment(session.get("time_start_unix"))),
        command=_text(session.get("cmdline")),
    )


def cases_of(report: dict, where) -> list:
    """The test cases of one run report, fixtures included; of a case that was retried, the last
    try; of one that was run again on purpose (--reruns, --duration), every run.

    Raises:
        InputError: the report is not ReFrame's, or of another version.
    """
    try:
        session = report["session_info"]
        version = str(session["data_version"])
        if version.split(".")[0] != DATA_VERSION:
            raise InputError(
                f"{where}: report data version is {one_line(version)}, expected {DATA_VERSION}.x; "
                "read it with the ReFrame that wrote it"
            )
        again = re.search(r"--(reruns|duration)\b", str(session.get("cmdline", "")))
        last = {}
        for number, run in enumerate(report["runs"]):
            for tc in run["testcases"]:
                name = tc.get("unique_name") or tc["name"]
                place = (tc["system"], tc["partition"], tc["environ"])
                last[(name, *place, number if again else 0)] = tc
        return [_case(tc, session) for tc in last.values()]
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputError(
            f"{where}: not a ReFrame run report ({one_line(repr(error))}); expected {EXPECTED}"
        ) from error


def _damaged(path, why) -> InputError:
    return InputError(
        f"{path}: the results database is damaged ({one_line(why)}); restore its last backup"
    )


def _refusal(path, error: sqlite3.Error) -> InputError:
    """The sentence for an error of SQLite."""
    if "locked" in str(error) or "busy" in str(error):
        return InputError(
            f"{path}: the results database is locked: another program has written to it for "
            f"{WAIT_S} s; wait until it has ended"
        )
    return InputError(
        f"{path}: not a results database ({error}); expected the SQLite file that ReFrame keeps "
        "(results.db)"
    )


def connect(path) -> sqlite3.Connection:
    """Opens a results database to read, and checks that it is ReFrame's and of the known layout.

    Raises:
        InputError: no such file, not SQLite, not ReFrame's, of another version, or locked.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"{path}: no such results database; expected the SQLite file that ReFrame keeps "
            "(results.db)"
        )
    connection = None
    try:
        address = f"{path.absolute().as_uri()}?mode=ro"
        connection = sqlite3.connect(address, uri=True, timeout=WAIT_S)
        _check_layout(path, connection)
    except (sqlite3.Error, InputError) as error:
        if connection:
            connection.close()
        raise error if isinstance(error, InputError) else _refusal(path, error) from error
    return connection


def _check_layout(path: Path, connection: sqlite3.Connection) -> None:
    query = "SELECT name FROM sqlite_master WHERE type = 'table'"
    tables = {name for (name,) in connection.execute(query)}
    if not {"metadata", "sessions", "testcases"} <= tables:
        found = ", ".join(sorted(tables)) or "no table at all"
        raise InputError(
            f"{path}: not ReFrame's results database: it has {one_line(found)}; expected "
            "metadata, sessions and testcases"
        )
    versions = [row[0] for row in connection.execute("SELECT schema_version FROM metadata")]
    if versions != [SCHEMA_VERSION]:
        found = ", ".join(map(str, versions)) or "missing"
        raise InputError(
            f"{path}: database of another ReFrame: schema version {one_line(found)}, expected "
            f"{SCHEMA_VERSION}; use the suite's ReFrame"
        )


def read_database(path) -> dict:
    """Session id -> its report as text, of a results database, in the order in which they were
    stored.

    Raises:
        InputError: see `connect`; or the file is damaged.
    """
    with closing(connect(path)) as connection:
        try:
            query = "SELECT uuid, json_blob FROM sessions ORDER BY rowid"
            found = connection.execute(query).fetchall()
        except sqlite3.DatabaseError as error:
            if "no such column" in str(error):
                raise InputError(
                    f"{path}: database of another ReFrame ({error}); use the suite's ReFrame"
                ) from error
            raise _damaged(path, error) from error
    for uuid, text in found:
        if not isinstance(uuid, str) or not isinstance(text, str):
            raise _damaged(path, f"session {uuid} has no id or no report")
    return dict(found)


def _parse(text, where) -> dict:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{where}: not a ReFrame run report ({one_line(error)}); expected JSON as ReFrame "
            "writes it"
        ) from error


def read_report(path) -> dict:
    """A run report as ReFrame wrote it.

    Raises:
        InputError: it cannot be read or is no JSON.
    """
    data = read_bytes(path, what="ReFrame run report", most=MOST_BYTES)
    return _parse(data.decode(errors="replace"), path)


def _info(report) -> dict:
    info = report.get("session_info") if isinstance(report, dict) else None
    return info if isinstance(info, dict) else {}


def _place(start: float, before: float) -> float:
    """Where a session lies on the axis of all sessions, after the one stored before it."""
    return before if math.isnan(start) or start < before else start


def load(databases: list, reports: list) -> list:
    """All test cases of databases and run reports, fixtures left out, each session once, oldest
    first.

    Raises:
        InputError: a file is not what it should be, or two files hold different sessions of one id.
    """
    found, places = {}, {}

    def add(uuid: str, report, path, before: float) -> float:
        first, where = found.setdefault(uuid, (report, path))
        if first is not report and canonical(first) != canonical(report):
            raise InputError(
                f"{path}: session {one_line(uuid)} differs from the one of that id in {where}; an "
                "id names one session; remove one"
            )
        place = _place(moment(_info(report).get("time_start_unix")), before)
        places.setdefault(uuid, place)
        return places[uuid]

    for path in databases:
        place = 0.0
        for uuid, text in read_database(path).items():
            place = max(place, add(uuid, _parse(text, path), path, before=place))
    stored = set(found)
    for path in reports:
        report = read_report(path)
        add(str(_info(report).get("uuid") or path), report, path, before=-1.0)
    cases = []
    for uuid in sorted(found, key=places.get):
        new = (case for case in cases_of(*found[uuid]) if not case.fixture)
        cases += [_known(case) for case in new] if uuid in stored else new
    return cases


def _known(case: Case) -> Case:
    """The case with a known place: its database says where it belongs."""
    return case if case.placed else replace(case, placed=True)


def of_report(path) -> list:
    """All cases of one run report, fixtures included; none if there is no such file.

    Raises:
        InputError: see `cases_of`.
    """
    return cases_of(read_report(path), path) if Path(path).is_file() else []


def before(database, cases: list) -> list:
    """What a results database holds of sessions other than that of `cases`; nothing if it cannot
    be read."""
    try:
        earlier = load([database], [])
    except InputError:
        return []
    sessions = {case.session for case in cases}
    return [case for case in earlier if case.session not in sessions]


def newest(cases: list) -> list:
    """The cases of each system's newest session, and those whose place is not known."""
    last = {case.system: case.session for case in cases if case.placed}
    return [case for case in cases if not case.placed or last.get(case.system) == case.session]
