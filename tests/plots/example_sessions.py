"""Made-up ReFrame sessions and results databases of the real layout, for the tests of plots."""

import json
import sqlite3
import uuid

DAY = 86400.0
START = 1_790_000_000.0  # September 2026

TABLES = """
CREATE TABLE sessions(uuid TEXT PRIMARY KEY, session_start_unix REAL, session_end_unix REAL, json_blob TEXT, report_file TEXT);
CREATE TABLE testcases(name TEXT, system TEXT, partition TEXT, environ TEXT, job_completion_time_unix REAL, session_uuid TEXT, uuid TEXT,
                       FOREIGN KEY(session_uuid) REFERENCES sessions(uuid) ON DELETE CASCADE);
CREATE TABLE metadata(schema_version TEXT);
"""


def case(
    values,
    check="training",
    point="nodes=1",
    system="local",
    partition="default",
    time=START,
    result="pass",
    **more,
):
    """One test case; `values` is metric -> value, or metric -> (value, reference, lower, upper,
    unit, verdict)."""
    perf = {}
    for name, value in values.items():
        entry = (
            value
            if isinstance(value, (list, tuple))
            else (value, 0, None, None, "s" if "time" in name else "1", "pass")
        )
        perf[f"{system}:{partition}:{name}"] = list(entry)
    return {
        "name": check,
        "unique_name": check,
        "check": check,
        "point": point,
        "system": system,
        "partition": partition,
        "environ": "native",
        "result": result,
        "fail_phase": None,
        "fail_reason": None,
        "filename": "training.py",
        "fixture": False,
        "job_completion_time_unix": time,
        "job_nodelist": ["n1"],
        "num_tasks": 2,
        "perfvalues": perf,
        "time_total": 60.0,
        "cells": {name: {"origin": "measured", "source": "made up"} for name in values},
        "evidence": {"image": None, "dataset": "sha256:1", "nodes": 1, "patches": 100, "ranks": []},
        **more,
    }


def session(*cases, time=START, uuid_=None, **info):
    """One run report."""
    return {
        "session_info": {
            "data_version": "4.2",
            "hostname": "n1",
            "uuid": uuid_ or str(uuid.uuid4()),
            "time_start_unix": time,
            "time_end_unix": time + 60,
            "time_elapsed": 60.0,
            **info,
        },
        "runs": [{"num_cases": len(cases), "num_failures": 0, "testcases": list(cases)}],
        "restored_cases": [],
    }


def database(path, sessions, version="1.0"):
    """Writes a results database as ReFrame does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path)
    connection.executescript(TABLES)
    connection.execute("INSERT INTO metadata VALUES(?)", (version,))
    for report in sessions:
        info = report["session_info"]
        connection.execute(
            "INSERT INTO sessions VALUES(?,?,?,?,?)",
            (info["uuid"], info["time_start_unix"], info["time_end_unix"], json.dumps(report), ""),
        )
        for i, tc in enumerate(report["runs"][0]["testcases"]):
            row = (
                tc["name"],
                tc["system"],
                tc["partition"],
                tc["environ"],
                tc["job_completion_time_unix"],
                info["uuid"],
                f"{info['uuid']}:0:{i}",
            )
            connection.execute("INSERT INTO testcases VALUES(?,?,?,?,?,?,?)", row)
    connection.commit()
    connection.close()
    return path


def nightly(values, check="training", metric="time_per_epoch", unit="s", band=0.05, **more):
    """One session a night, a night a value, judged against the first value."""
    reference = values[0]
    return [
        session(
            case(
                {
                    metric: (
                        v,
                        reference,
                        -band,
                        band,
                        unit,
                        "pass" if abs(v - reference) <= band * reference else "fail",
                    )
                },
                check=check,
                time=START + DAY * i,
                **more,
            ),
            time=START + DAY * i,
        )
        for i, v in enumerate(values)
    ]
