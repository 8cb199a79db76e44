#!/usr/bin/env python3
"""Stands in for `python -m <program>` in tests of the suite: writes in a moment what the real
programs write, with a fault on demand.

The site under test names this file as its Python. $STAND_IN_FAULTS is a JSON object of faults; see
`Faults`.
"""

import argparse
import json
import os
import socket
import sys
import time
from pathlib import Path

SUPPORT = [90, 60, 40, 30] + [2] * 39
TEST_PATCHES = 100
RANK = int(os.environ.get("OMPI_COMM_WORLD_RANK", os.environ.get("SLURM_PROCID", 0)))
SIZE = int(os.environ.get("OMPI_COMM_WORLD_SIZE", os.environ.get("SLURM_NTASKS", 1)))
HOST = socket.gethostname()
HOSTS = int(os.environ.get("SLURM_JOB_NUM_NODES", 1))
FAULTS = json.loads(os.environ.get("STAND_IN_FAULTS", "{}"))


def metric(value, unit, better):
    return {"value": value, "unit": unit, "better": better}


def record(workload, config, metrics, ranks, tables):
    return {
        "schema": 1,
        "workload": workload,
        "config": config,
        "metrics": metrics,
        "ranks": ranks,
        "tables": tables,
        "files": {},
        "provenance": {
            "image_digest": FAULTS.get("image"),
            "dataset_digest": "sha256:data",
            "nodelist": [HOST],
            "git_commit": "c0ffee",
        },
    }


def host(rank):
    return HOST if HOSTS == 1 else f"{HOST}-{rank * HOSTS // SIZE}"


def synthesis(options):
    (Path(options.out)).mkdir()


def prepare(options):
    Path(options.out).write_text("patches")
    rows = [
        {
            "rank": r,
            "hostname": host(r),
            "patches": 2000 // SIZE,
            "stages": {"read": 1.0, "write": 0.5},
        }
        for r in range(SIZE)
    ]
    rows[0]["patches"] += 2000 % SIZE
    metrics = {
        "patch_throughput": metric(500.0, "patches/s", "higher"),
        "write_bandwidth": metric(0.2, "GB/s", "higher"),
        "imbalance": metric(1.01, "1", "lower"),
    }
    Path(options.record or "patches.result.json").write_text(
        json.dumps(record("prepare", {}, metrics, rows, {}))
    )


def synthesise(options):
    Path(options.out).write_text("patches")


def describe(options):
    if not Path(options.data).is_file():
        sys.exit(f"error: {options.data}: no such file; expected an HDF5 file of patches")
    splits = {
        name: {"patches": TEST_PATCHES, "support": SUPPORT} for name in ("train", "val", "test")
    }
    splits["none"] = {"patches": 2000 - 3 * TEST_PATCHES, "support": [0] * 43}
    Path(options.out).write_text(
        json.dumps(
            {
                "digest": "sha256:data",
                "interpolation": "bilinear",
                "patches": 2000,
                "splits": splits,
            }
        )
    )


def preflight(options):
    if RANK:
        return
    status = "FAIL" if "preflight" in FAULTS else "PASS"
    checks = [
        {
            "host": HOST,
            "check": "clock",
            "status": status,
            "found": "9 s",
            "expected": "0.5 s",
            "remedy": "start chrony",
        }
    ]
    rows = [{"rank": r, "hostname": host(r)} for r in range(SIZE)]
    Path(options.out, "result.json").write_text(
        json.dumps(record("preflight", {}, {}, rows, {"checks": checks}))
    )


def why_not_faster(rows):
    times = [row["step_time"]["p50"] for row in rows]
    ideal = sum(times) / len(times) / max(times)
    lost = f"lost: {1 - ideal:.1%} to rank {times.index(max(times))} on {HOST}"
    return f"{SIZE} ranks: {ideal:.2f} of ideal; {lost if ideal < 1 else 'no loss stands out'}"


def train(options):
    if FAULTS.get("lost_data") or not Path(options.data).is_file():
        sys.exit(f"error: {options.data}: no such file; expected an HDF5 file of patches")
    if FAULTS.get("dead_rank") == RANK:
        os._exit(9)
    time.sleep(FAULTS.get("sleep", 0))
    if RANK:
        return
    slow = FAULTS.get("slow_rank", 0) < SIZE  # a fault of a rank that is not there is none
    seconds = FAULTS.get("time_per_epoch", 10.0) if slow else 10.0
    losses = FAULTS.get("losses", [0.7, 0.5, 0.3])
    if "only_run" in FAULTS:  # of the session, counted in the references' folder
        counted = Path(os.environ["BIGEARTH_REFERENCES"], "runs")
        number = len(counted.read_text()) + 1 if counted.exists() else 1
        counted.write_text("x" * number)
        losses = losses if number == FAULTS["only_run"] else [0.7, 0.5, 0.3]
    rows = [
        {
            "rank": r,
            "local_rank": r,
            "hostname": host(r),
            "device": "cpu",
            "step_time": {
                "p50": FAULTS.get("slow_factor", 1.0) * 0.5 if FAULTS.get("slow_rank") == r else 0.5
            },
            "phases": {
                "data": 1.0,
                "compute": 8.0
                * (FAULTS.get("slow_factor", 1.0) if FAULTS.get("slow_rank") == r else 1.0),
            },
        }
        for r in range(SIZE)
    ]
    metrics = {
        "time_per_epoch": metric(seconds, "s", "lower"),
        "throughput": metric(TEST_PATCHES / seconds, "img/s", "higher"),
        "f1_micro": metric(FAULTS.get("f1", 0.75), "1", "higher"),
    }
    if "drop_metric" in FAULTS:
        metrics[FAULTS["drop_metric"]].update(value=None, reason="injected")
    support = FAULTS.get("support", SUPPORT)
    tables = {
        "epochs": [
            {"epoch": i + 1, "time": seconds, "throughput": TEST_PATCHES / seconds, "train_loss": x}
            for i, x in enumerate(losses)
        ],
        "per_class": [{"label": str(i), "support": n} for i, n in enumerate(support)],
    }
    tested = {"test_patches_scored": FAULTS.get("scored", TEST_PATCHES)}
    content = record("train", {"epochs": len(losses)}, metrics, rows, tables)
    content["provenance"].update(tested)
    content["efficiency"] = {"sentence": why_not_faster(rows)}
    Path(options.out, "result.json").write_text(json.dumps(content)[: FAULTS.get("cut_record")])
    Path(options.out, "tensorboard").mkdir(exist_ok=True)
    for name in ("steps.csv", "tensorboard/events"):
        Path(options.out, name).write_text("step,loss\n")


PROGRAMS = {
    "bigearth.synthetic.synthesis": synthesis,
    "benchmarks.prepare": prepare,
    "benchmarks.synthesise": synthesise,
    "benchmarks.describe": describe,
    "benchmarks.preflight": preflight,
    "benchmarks.train": train,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("-m", dest="module")
    for name in ("patches", "seed", "out", "archive", "record", "data", "config"):
        parser.add_argument(f"--{name}")
    given, _ = parser.parse_known_args()
    PROGRAMS[given.module](given)
