"""Runs the suite as a user does, at a site of a test's own."""

import datetime
import json
import os
import subprocess
import sys
from pathlib import Path

from reframe_tests import references

ROOT = Path(__file__).resolve().parents[2]
SITE = Path(__file__).with_name("stand_in_site.py")
TRAINING = {"time_per_epoch": (10.0, "s"), "throughput": (10.0, "img/s"), "f1_micro": (0.75, "1")}


def reference_file(
    folder, check="training", points=("nodes=1",), mutate=lambda cells, content: None
):
    """Writes references of the stand-in site in which one check has numbers.

    Args:
        points: of the check that have numbers.
        mutate: changes the cells of the check's point of one node, or the whole content.
    """
    content = references.empty("stand_in")
    for point in points:
        for metric, (value, unit) in TRAINING.items():
            if metric == "f1_micro" and check != "training":
                continue
            cell = dict(
                value=value, lower=-0.1, upper=0.1, unit=unit, origin="measured", date=datetime.date.today(), runs=5, image=None,
                dataset="sha256:data", patches=2000, source="a test", band="ten per cent",
            )  # fmt: skip
            cells = content["partitions"].setdefault("v100", {}).setdefault(check, {})
            cells.setdefault(point, {})[metric] = cell
    mutate(content["partitions"]["v100"][check]["nodes=1"], content)
    (folder / "stand_in.yaml").write_text(references.dump(content))


def suite(folder, *options, site=SITE, faults=None, timeout=300, **environment):
    """Runs the suite; returns its exit code and all it printed.

    Args:
        folder: of the references and the results.
        faults: of the stand-in programs; see stand_in.py.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "BIGEARTH_REFERENCES": str(folder),
        "STAND_IN_FAULTS": json.dumps(faults or {}),
        **environment,
    }
    command = [
        sys.executable,
        "-m",
        "reframe_tests",
        "--site",
        str(site),
        "--results",
        str(folder / "results"),
        *options,
    ]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout
    )
    return done.returncode, done.stdout + done.stderr
