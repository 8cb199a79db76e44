"""How long figures, report and history take from many stored results: `python -m
benchmarks.plot_speed`.

The results are made up, in the shapes that training and ReFrame write, once as test cases of
nightly sessions in a results database and once as result records: two systems, 1 to 24 nodes of
four devices, repeated to the number asked for. The three commands run one after another, each in a
process of its own, as a user starts them. It prints a table and keeps nothing.
"""

import json
import math
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import program, record
from bigearth.errors import InputError
from bigearth.nomenclature import CLASSES
from plots import database

SYSTEMS = {"first:gpus": 1.0, "second:gpus": 3.0}  # name -> how much slower
NODES = (1, 2, 4, 8, 12, 16, 24)
DEVICES = 4
POINTS = [
    (system, nodes, bands)
    for system in SYSTEMS
    for nodes in NODES
    for bands in ("multispectral", "rgb")
]
START = 1_700_000_000.0  # Unix s, November 2023
LAYOUT = """
CREATE TABLE sessions(uuid TEXT PRIMARY KEY, session_start_unix REAL, session_end_unix REAL, json_blob TEXT, report_file TEXT);
CREATE TABLE testcases(name TEXT, system TEXT, partition TEXT, environ TEXT, job_completion_time_unix REAL, session_uuid TEXT, uuid TEXT);
CREATE TABLE metadata(schema_version TEXT);
"""  # ReFrame's


@dataclass(frozen=True)
class Config:
    """Options of the benchmark."""

    results: int = program.option(10_000, "how many results are stored")
    epochs: int = program.option(30, "epochs of a training record")
    seed: int = program.option(1, "of the made-up noise")


def measured(system: str, nodes: int, rng) -> dict:
    """Metrics of one made-up training."""
    epoch = (
        100
        * SYSTEMS[system]
        / nodes
        * (1 + 0.02 * math.log2(nodes))
        * (1 + 0.01 * rng.standard_normal())
    )
    rate = 40_000 / epoch
    f1 = 0.7 + 0.01 * rng.standard_normal()
    values = {
        "time_per_epoch": epoch,
        "throughput": rate,
        "throughput_per_device": rate / nodes / DEVICES,
        "f1_micro": f1,
    }
    return {**values, "precision_micro": f1 + 0.03, "recall_micro": f1 - 0.03}


def rank_rows(nodes: int, step: float, rng) -> list:
    """Rows of `ranks` as training writes them."""
    rows = []
    for rank, p50 in enumerate((step * (1 + 0.01 * rng.standard_normal(nodes * DEVICES))).tolist()):
        times = {
            "p10": p50 * 0.9,
            "p50": p50,
            "p90": p50 * 1.1,
            "p99": p50 * 1.4,
            "min": p50 * 0.8,
            "max": p50 * 2,
            "mean": p50 * 1.02,
        }
        phases = {
            "data": 1.0,
            "first step": 9.0,
            "train": 30 * p50,
            "wait for data": p50,
            "validate": 2.0,
            "test": 3.0,
        }
        host = {
            "rank": rank,
            "local_rank": rank % DEVICES,
            "hostname": f"node{rank // DEVICES:02d}",
            "device": "V100",
        }
        rows.append({**host, "step_time": times, "first_step": 9.0, "phases": phases})
    return rows


def write_records(folder: Path, config: Config) -> None:
    """Writes result records, a folder each."""
    rng = np.random.default_rng(config.seed)
    for i in range(config.results):
        system, nodes, bands = POINTS[i % len(POINTS)]
        values = measured(system, nodes, rng)
        ranks = rank_rows(nodes, values["time_per_epoch"] / 100, rng)
        noise = (1 + 0.01 * rng.standard_normal((config.epochs + len(CLASSES), 6))).tolist()
        names = ("time", "throughput", "train_loss", "val_loss", "val_f1_micro", "val_f1_macro")
        base = (values["time_per_epoch"], values["throughput"], 0.3, 0.35, 0.6, 0.4)
        epochs = [
            {
                "epoch": e + 1,
                "learning_rate": 0.1,
                **{n: b * x for n, b, x in zip(names, base, row)},
            }
            for e, row in enumerate(noise[: config.epochs])
        ]
        classes = [
            {
                "label": c.label,
                "support": c.count // 5,
                "precision": 0.6 * x[0],
                "recall": 0.5 * x[1],
                "f1": 0.55 * x[2],
            }
            for c, x in zip(CLASSES, noise[config.epochs :])
        ]
        when = time.strftime(
            "%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(START + 86400 * (i // len(POINTS)))
        )
        provenance = {
            "system": system,
            "start_time": when,
            "nodelist": [],
            "dataset_digest": "sha256:0",
            "packages": {},
        }
        content = {
            "schema": record.SCHEMA,
            "id": f"{i:032x}",
            "workload": "train",
            "config": {"bands": bands, "seed": i},
            "ranks": ranks,
        }
        content["metrics"] = {name: record.metric(name, value) for name, value in values.items()}
        content.update(
            tables={"epochs": epochs, "per_class": classes}, files={}, provenance=provenance
        )
        path = folder / f"{i:05d}" / "result.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(content, indent=1))


def test_case(system: str, nodes: int, bands: str, when: float, rng) -> dict:
    """One test case of a run report, as the suite's checks leave them."""
    values = measured(system, nodes, rng)
    site, partition = system.split(":")
    expected = {"time_per_epoch": 100 * SYSTEMS[system] / nodes}
    kept = ("rank", "hostname", "phases")
    ranks = [
        {**{k: row[k] for k in kept}, "step_time": row["step_time"]["p50"]}
        for row in rank_rows(nodes, values["time_per_epoch"] / 100, rng)
    ]
    return {
        **{
            "name": f"accuracy %nodes={nodes} %input={bands}",
            "check": "accuracy",
            "point": f"nodes={nodes} input={bands}",
        },
        **{
            "system": site,
            "partition": partition,
            "environ": "native",
            "result": "pass",
            "fail_phase": None,
            "fail_reason": None,
        },
        **{
            "job_completion_time_unix": when,
            "job_nodelist": [f"node{n:02d}" for n in range(nodes)],
            "num_tasks": nodes * DEVICES,
        },
        "perfvalues": {
            f"{system}:{name}": [
                value,
                expected.get(name, 0),
                -0.2,
                0.2,
                record.METRICS[name][0],
                "pass",
            ]
            for name, value in values.items()
        },
        "cells": {name: {"origin": "predicted", "source": "made up"} for name in values},
        "evidence": {
            "image": "sha256:1",
            "commit": "0" * 40,
            "dataset": "sha256:0",
            "nodes": nodes,
            "patches": 100,
            "ranks": ranks,
        },
    }


def write_database(folder: Path, config: Config) -> None:
    """Writes a results database: a session a night and system, a test case a point."""
    rng = np.random.default_rng(config.seed)
    folder.mkdir()
    with closing(sqlite3.connect(folder / "results.db")) as connection, connection:
        connection.executescript(LAYOUT)
        connection.execute("INSERT INTO metadata VALUES (?)", (database.SCHEMA_VERSION,))
        left, night = config.results, 0
        while left > 0:
            for system in SYSTEMS:
                when, name = START + 86400 * night, str(uuid.UUID(int=int(rng.integers(2**62))))
                cases = [test_case(*point, when, rng) for point in POINTS if point[0] == system][
                    :left
                ]
                info = {
                    "data_version": f"{database.DATA_VERSION}.2",
                    "uuid": name,
                    "time_start_unix": when,
                    "time_end_unix": when,
                }
                report = {
                    "session_info": info,
                    "runs": [{"num_cases": len(cases), "testcases": cases}],
                }
                connection.execute(
                    "INSERT INTO sessions VALUES (?, ?, ?, ?, '')",
                    (name, when, when, json.dumps(report)),
                )
                left -= len(cases)
            night += 1


KINDS = {  # name -> (what writes it into a folder, the commands that can read it)
    "test cases in a results database": (write_database, ("figures", "report", "history")),
    "result records": (write_records, ("figures", "report")),
}


def timed(command: str, results: Path, out: Path) -> tuple:
    """Runs `python -m plots COMMAND`; returns (seconds, CPU seconds).

    Raises:
        InputError: it did not do its work.
    """
    arguments = [
        sys.executable,
        "-m",
        "plots",
        command,
        "--results",
        str(results),
        "--out",
        str(out),
    ]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(arguments, cwd=record.ROOT, capture_output=True, text=True)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if not out.exists():
        raise InputError(
            f"python -m plots {command}: left nothing; its last words: "
            f"{done.stderr.strip().splitlines()[-1:]}; run it by hand"
        )
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def size(path: Path) -> float:
    """Megabytes of a file or of all files in a folder."""
    return (
        sum(
            f.stat().st_size for f in ([path] if path.is_file() else path.rglob("*")) if f.is_file()
        )
        / 1e6
    )


def run(config: Config) -> None:
    """Makes the results, runs the commands, prints the table."""
    if config.results < 1 or config.epochs < 1:
        raise InputError(
            f"--results is {config.results} and --epochs {config.epochs}, expected at "
            "least 1 of each; correct them"
        )
    print(
        f"{config.results} results, {os.cpu_count()} cores\n\n| stored as | command | s | CPU s "
        "| MB written |\n|:--|:--|--:|--:|--:|"
    )
    for kind, (write, commands) in KINDS.items():
        with tempfile.TemporaryDirectory() as folder:
            results = Path(folder) / "results"
            write(results, config)
            for command in commands:
                out = Path(folder) / (f"{command}.html" if command == "report" else command)
                seconds, cpu = timed(command, results, out)
                print(
                    f"| {kind}, {size(results):.0f} MB | {command} | {seconds:.1f} | {cpu:.1f} | "
                    f"{size(out):.1f} |",
                    flush=True,
                )


if __name__ == "__main__":
    program.main(
        Config,
        run,
        "benchmarks.plot_speed",
        "Measures figures, report and history from many stored results.",
    )
