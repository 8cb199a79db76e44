"""ReFrame's memory: test cases out of its results database (SQLite) and its run reports (JSON).
ReFrame itself is not needed.

The layout is that of ReFrame 4.9 and 4.10: tables `metadata`, `sessions` (whose `json_blob` is the
whole run report) and `testcases`. A performance value is stored as [value, reference, lower, upper,
unit, result], the limits relative to the reference.
"""

import datetime
import math
import re
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from bigearth.errors import InputError
from plots.values import canonical, number, parse, printable

SCHEMA_VERSION = "1.0"  # of the database
DATA_VERSION = "4"  # of the reports in it, the part before the dot
REPORT_NAME = re.compile(r"run-.*\.json|report.*\.json")
TEXTS = ("image", "driver", "commit", "dataset", "kernel", "record")  # of a case's evidence
# that a date can be written of
LAST_MOMENT = datetime.datetime(9999, 12, 31, tzinfo=datetime.timezone.utc).timestamp()
MOST = 10_000_000  # nodes or tasks of one case


@dataclass(frozen=True)
class Value:
    """One performance value and what it was judged by.

    Attributes:
        value: in `unit`; NaN if it was not measured.
        reference, low, high: the band in the same unit; NaN where there is none.
        verdict: "pass", "fail", "xfail", "xpass", or "" if it was not judged.
        origin, source: where the reference comes from ("published", "measured", "predicted",
            "unknown" or ""), and in words.
    """

    value: float
    unit: str
    reference: float = math.nan
    low: float = math.nan
    high: float = math.nan
    verdict: str = ""
    origin: str = ""
    source: str = ""


@dataclass(frozen=True)
class Case:
    """One test case of one session.

    Attributes:
        session: the session's id; time: when the job ended (Unix s); system: "site:partition".
        check, point: e.g. "training" and "nodes=4".
        result: ReFrame's word for how it ended: "pass", "fail", "abort", "skip", "xfail", "xpass".
        phase, reason: where and why it failed, or "".
        values: metric -> Value.
        evidence: what the check kept of the record: image, dataset, commit, ranks …
        nodelist: host names.
        output: the folder its files were kept in, or "".
    """

    session: str
    time: float
    system: str
    check: str
    point: str
    result: str
    phase: str
    reason: str
    values: dict
    evidence: dict = field(repr=False)
    nodelist: tuple
    nodes: int
    tasks: int
    output: str

    @property
    def key(self) -> tuple:
        """What makes a history: (system, check, point)."""
        return (self.system, self.check, self.point)


def _value(entry: list, cell: dict) -> Value:
    """One perfvalue; reports of version 4.0 lack the last field. A limit of None is open, a
    reference of 0 is none."""
    value, reference, lower, upper, unit = (
        number(v) if i < 4 else v for i, v in enumerate(entry[:5])
    )
    if not reference:
        reference = math.nan
    return Value(
        value=value,
        unit=_text(unit),
        reference=reference,
        low=number(reference + abs(reference) * lower),
        high=number(reference + abs(reference) * upper),
        verdict=_text(entry[5] if len(entry) > 5 else None),
        origin=_text(cell.get("origin")),
        source=_text(cell.get("source")),
    )


def _text(value) -> str:
    return "" if value in (None, "None") else printable(str(value))


def _moment(value) -> float:
    """A Unix time in s, NaN if it is none."""
    time = number(value)
    return time if 0 <= time <= LAST_MOMENT else math.nan


def _count(*values) -> int:
    """The first that is a number of nodes or tasks, else 1."""
    return int(next((value for value in map(number, values) if 1 <= value <= MOST), 1))


def _nodelist(value) -> tuple:
    names = value.split(",") if isinstance(value, str) else value or ()
    return tuple(name for name in map(_text, names) if name)


def _evidence(kept: dict) -> dict:
    """What a check kept of a record, if it is built as one that keeps it.

    Raises:
        TypeError: it is not.
    """
    for name, kind in (("ranks", list), ("packages", dict)):
        if not isinstance(kept.get(name) or kind(), kind):
            raise TypeError(f"evidence: {name} is not a {kind.__name__}")
    ranks = kept.get("ranks") or []
    if not all(
        isinstance(row, dict) and isinstance(row.get("phases") or {}, dict) for row in ranks
    ):
        raise TypeError("evidence: a rank is not a dict of its name, step time and phases")
    texts = {name: _text(kept[name]) or None for name in TEXTS if name in kept}
    return {**kept, **texts, "packages": printable(kept.get("packages") or {}), "ranks": ranks}


def _case(tc: dict, session: dict) -> Case:
    cells = tc.get("cells") if isinstance(tc.get("cells"), dict) else {}
    evidence = tc.get("evidence") if isinstance(tc.get("evidence"), dict) else {}
    evidence = _evidence(
        {
            **{name: session[name] for name in ("commit", "image", "driver") if name in session},
            **evidence,
        }
    )
    name, _, parameters = _text(tc["name"]).partition(" ")
    values = {}
    for key, entry in (tc.get("perfvalues") or {}).items():
        metric = key.rsplit(":", 1)[-1]
        values[_text(metric)] = _value(entry, cells.get(metric) or {})
    nodelist = _nodelist(tc.get("job_nodelist"))
    hosts = {_text(row.get("hostname")) for row in evidence["ranks"]} - {""}
    return Case(
        session=_text(session["uuid"]),
        time=_moment(tc.get("job_completion_time_unix") or session.get("time_end_unix")),
        system=_text(f"{tc['system']}:{tc['partition']}"),
        check=_text(tc.get("check")) or name,
        point=_text(tc.get("point")) or parameters.replace("%", ""),
        result=_text(tc["result"]),
        phase=_text(tc.get("fail_phase")),
        reason=_text(tc.get("fail_reason")),
        values=values,
        evidence=evidence,
        nodelist=tuple(sorted(hosts)) or nodelist,
        nodes=_count(evidence.get("nodes"), tc.get("num_nodes"), len(nodelist)),
        tasks=_count(tc.get("num_tasks")),
        output=_text(tc.get("outputdir")),
    )


def cases_of(report: dict, where) -> list:
    """The test cases of one run report, fixtures left out; of a case that was retried, the last
    try.

    Raises:
        InputError: the report is not ReFrame's, or of another version.
    """
    try:
        session = report["session_info"]
        version = str(session["data_version"])
        if version.split(".")[0] != DATA_VERSION:
            raise InputError(
                f"{where}: report data version is {version}, expected {DATA_VERSION}.x; read it "
                "with the ReFrame that wrote it"
            )
        last = {}
        for run in report["runs"]:
            for tc in run["testcases"]:
                if not tc.get("fixture"):
                    last[
                        tc.get("unique_name") or tc["name"],
                        tc["system"],
                        tc["partition"],
                        tc["environ"],
                    ] = tc
        return [_case(tc, session) for tc in last.values()]
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputError(
            f"{where}: not a ReFrame run report ({printable(repr(error))}); expected what `reframe "
            "--report-file` or its database holds"
        ) from error


def connect(path, writable: bool = False) -> sqlite3.Connection:
    """Opens a results database and checks that it is ReFrame's and of the known layout.

    Raises:
        InputError: no such file, not SQLite, not ReFrame's, or of another version.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"{path}: no such results database; expected the SQLite file that ReFrame "
            "keeps (results.db)"
        )
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={'rw' if writable else 'ro'}", uri=True, timeout=30
    )
    try:
        tables = {
            name
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        }
        if not {"metadata", "sessions", "testcases"} <= tables:
            found = ", ".join(sorted(tables)) or "no table at all"
            raise InputError(
                f"{path}: not ReFrame's results database: it has {found}; expected "
                "metadata, sessions and testcases"
            )
        versions = [
            version for (version,) in connection.execute("SELECT schema_version FROM metadata")
        ]
        if versions != [SCHEMA_VERSION]:
            found = ", ".join(map(str, versions)) or "missing"
            raise InputError(
                f"{path}: database of another ReFrame: schema version {found}, expected "
                f"{SCHEMA_VERSION}; use the suite's ReFrame"
            )
    except sqlite3.DatabaseError as error:
        connection.close()
        if "locked" in str(error):
            raise InputError(
                f"{path}: another program writes to the results database; wait until it has ended"
            ) from error
        raise InputError(
            f"{path}: not a results database ({error}); expected the SQLite file that "
            "ReFrame keeps (results.db)"
        ) from error
    except InputError:
        connection.close()
        raise
    return connection


def read_database(path) -> dict:
    """Session id -> its report as text, of a results database.

    Raises:
        InputError: see `connect`; or the file is damaged.
    """
    with closing(connect(path)) as connection:
        try:
            found = dict(
                connection.execute(
                    "SELECT uuid, json_blob FROM sessions ORDER BY session_start_unix"
                )
            )
        except sqlite3.DatabaseError as error:
            if "no such column" in str(error):
                raise InputError(
                    f"{path}: database of another ReFrame ({error}); use the suite's ReFrame"
                ) from error
            raise InputError(
                f"{path}: the results database is damaged ({error}); restore its last backup"
            ) from error
    for uuid, text in found.items():
        if not isinstance(uuid, str) or not isinstance(text, str):
            raise InputError(
                f"{path}: the results database is damaged (session {uuid} has no id "
                "or no report); restore its last backup"
            )
    return found


def _parse(text: str, where) -> dict:
    try:
        return parse(text)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{where}: not a ReFrame run report ({error}); expected JSON as ReFrame writes it"
        ) from error


def _session_id(text: str) -> str:
    """A report's session id, found without reading all of it (ReFrame writes session_info
    first)."""
    found = re.search(r'"uuid":\s*"([^"]+)"', text[:4000])
    return found.group(1) if found else ""


def load(databases: list, reports: list) -> list:
    """All test cases of databases and run reports, each session once, in order of time.

    Raises:
        InputError: a file is not what it should be, or two files hold different sessions of one id.
    """
    texts: dict = {}
    found = [(uuid, text, path) for path in databases for uuid, text in read_database(path).items()]
    for path in reports:
        text = Path(path).read_text(errors="replace")
        found.append((_session_id(text) or str(path), text, path))
    for uuid, text, path in found:
        first, where = texts.setdefault(uuid, (text, path))
        if first != text and canonical(_parse(first, where)) != canonical(_parse(text, path)):
            raise InputError(
                f"{path}: session {uuid} differs from the one of that id in {where}; "
                "an id names one session; remove one"
            )
    cases = [
        case for text, where in texts.values() for case in cases_of(_parse(text, where), where)
    ]
    return sorted(cases, key=lambda case: (math.isnan(case.time), case.time))
