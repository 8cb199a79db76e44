"""Every alarm of the suite is rung once: with the fault the suite fails or refuses, with the right message; without it, it passes.

The programs are stand-ins (reframe_tests/stand_in.py) that write in a moment what the real ones write; ReFrame, the checks, the
references, the launcher and, for the last tests, Slurm are the real ones.
"""

import datetime
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from reframe_tests import references

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / "tests" / "reframe_tests" / "stand_in_site.py"
CLUSTER = ROOT / "ci" / "virtual_cluster" / "cluster.sh"
TRAINING = {"time_per_epoch": (10.0, "s"), "throughput": (10.0, "img/s"), "f1_micro": (0.75, "1")}

pytestmark = pytest.mark.reframe


def reference_file(folder, partition, check="training", mutate=lambda cells, content: None):
    """References of the stand-in site in which one check has numbers."""
    content = references.empty("stand_in", {"v100": partition})
    for cells in content["partitions"]["v100"][check].values():
        for metric in set(cells) & set(TRAINING):
            value, unit = TRAINING[metric]
            cells[metric] = dict(
                value=value, lower=-0.1, upper=0.1, unit=unit, origin="measured", date=datetime.date.today(), runs=5, image=None,
                dataset="sha256:data", patches=2000, source="a test", band="ten per cent",
            )  # fmt: skip
    mutate(content["partitions"]["v100"][check]["nodes=1"], content)
    (folder / "stand_in.yaml").write_text(references.dump(content))


def suite(folder, *options, faults=None, **environment):
    """Runs the suite as a user does; returns its exit code and all it printed."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "BIGEARTH_REFERENCES": str(folder),
        "STAND_IN_FAULTS": json.dumps(faults or {}),
        **environment,
    }
    command = [sys.executable, "-m", "reframe_tests", "--site", str(SITE), "--results", str(folder / "results"), *options]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def training(tmp_path):
    """training(faults, *options, mutate=...) -> exit code and output of the training check on this machine."""

    def run(faults=None, *options, mutate=lambda cells, content: None):
        reference_file(tmp_path, (["compute", "multinode"], {"max_nodes": 1}), mutate=mutate)
        return suite(tmp_path, "-n", "^training", *options, faults=faults)

    return run


def test_without_a_fault_it_passes(training):
    code, output = training()
    assert code == 0, output
    assert "4 verdicts: 4 passed, 0 failed" in output


RUN_FAULTS = {
    "slow rank": ({"time_per_epoch": 14.0, "slow_rank": 1, "slow_factor": 1.5}, ["+40.0 %, regression", "slowest is rank 1 on"]),
    "NaN loss": ({"losses": [0.7, "nan", 0.3]}, ["the training loss is not finite"]),
    "loss that rises": ({"losses": [0.3, 0.5, 0.7]}, ["the training loss did not fall"]),
    "dead rank": ({"dead_rank": 1}, ["ended as FAILURE with exit code 9"]),
    "missing data file": ({"lost_data": True}, ["patches.h5: no such file"]),
    "accuracy drop": ({"f1": 0.66}, ["f1_micro", "-12.0 %, regression"]),
    "no better than guessing": ({"f1": 0.64}, ["always guessing the most frequent classes reaches 0.6355"]),
    "too good a number": ({"time_per_epoch": 2.0}, ["-80.0 %, too good to be true"]),
    "test samples left out": ({"scored": 99}, ["99 test patches were scored, the file holds 100"]),
    "record cut short": ({"cut_record": 300}, ["not a result record"]),
    "metric not measured": ({"drop_metric": "throughput"}, ["metric throughput was not measured: injected"]),
    "node not ready": ({"preflight": True}, ["clock: found 9 s", "NOT RUN: a check it depends on failed"]),
    "another image": ({"image": "sha256:other"}, ["refusing to compare: image was none (native)"]),
}


@pytest.mark.parametrize("name", RUN_FAULTS)
def test_fault_of_a_run_fails_it(training, name):
    faults, messages = RUN_FAULTS[name]
    code, output = training(faults)
    assert code == 1, output
    assert all(message in output for message in messages), output


def test_comparison_of_unlike_runs_can_be_forced(training):
    code, output = training({"image": "sha256:other"}, "-S", "training.force_compare=1")
    assert code == 0, output


def test_job_over_its_time_limit_fails(training):
    code, output = training({"sleep": 60}, "-S", "training.time_limit=2s", mutate=lambda cells, content: cells.update(unknown(cells)))
    assert code == 1 and "TIMEOUT" in output.upper().replace("TIMED OUT", "TIMEOUT"), output


def unknown(cells):
    return {metric: {"value": None, "unit": cell["unit"], "origin": "unknown"} for metric, cell in cells.items()}


OLD = datetime.date.today() - datetime.timedelta(days=400)
REFERENCE_FAULTS = {
    "wrong key": (lambda cells, _: cells.update(time_per_epok=cells.pop("time_per_epoch")), "time_per_epok: orphan"),
    "stale by age": (lambda cells, _: cells["f1_micro"].update(date=OLD), "stale: measured 400 days ago"),
    "stale by image": (lambda _, content: content.update(image="sha256:new"), "the site now uses sha256:new"),
    "another schema": (lambda _, content: content.update(schema=2), "reference schema is 2, expected 1"),
}


@pytest.mark.parametrize("name", REFERENCE_FAULTS)
def test_fault_of_the_references_stops_the_suite_before_it_starts(training, name):
    mutate, message = REFERENCE_FAULTS[name]
    code, output = training(mutate=mutate)
    assert code == 2 and message in output and "Running" not in output, output


def test_plain_reframe_refuses_faulty_references_too(tmp_path):
    reference_file(tmp_path, (["compute", "multinode"], {"max_nodes": 1}), mutate=REFERENCE_FAULTS["wrong key"][0])
    environment = {"PYTHONPATH": str(ROOT), "BIGEARTH_REFERENCES": str(tmp_path), "BIGEARTH_RESULTS": str(tmp_path / "results")}
    reframe = Path(sys.executable).with_name("reframe")
    command = [reframe, "-C", str(SITE), "--system=stand_in", "-c", "reframe_tests", "-R", "-n", "^training", "-r"]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "time_per_epok: orphan" in done.stdout, done.stdout


def test_name_that_matches_nothing_is_not_a_pass(tmp_path):
    reference_file(tmp_path, (["compute", "multinode"], {"max_nodes": 1}))
    code, output = suite(tmp_path, "-n", "traning")
    assert code == 2 and "no check was run" in output


def test_metric_without_a_reference_is_recorded_and_counted(training):
    code, output = training(mutate=lambda cells, content: cells.update(unknown(cells)))
    assert code == 0 and output.count("no reference: recorded, not judged") == 2
    assert "2 without a reference" in output
    assert "0.6555 [0.6555 .. any]  pass  (computed: the best constant guess and a margin)" in output


# ---- on a real Slurm ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """A virtual cluster of 2 + 2 nodes; its environment."""
    folder = tmp_path_factory.mktemp("cluster")
    environment = {"VIRTUAL_CLUSTER": str(folder), "VIRTUAL_NODES": "2", "VIRTUAL_PORT": "27000"}
    subprocess.run([CLUSTER, "start"], env={**os.environ, **environment}, check=True, timeout=300)
    yield {"SLURM_CONF": str(folder / "etc" / "slurm.conf")}
    subprocess.run([CLUSTER, "stop"], env={**os.environ, **environment}, check=True, timeout=120)


@pytest.fixture
def scaling(slurm, tmp_path):
    """scaling(faults, meanwhile) -> exit code and output of the scaling check on two nodes; `meanwhile` is called as its job runs."""

    def run(faults=None, meanwhile=None):
        reference_file(tmp_path, (["compute", "multinode"], {"max_nodes": 2}), "scaling")
        command = [sys.executable, "-c", "pass"]
        environment = {**os.environ, **slurm}
        if meanwhile:
            waiter = "import subprocess as s, sys, time\n" + meanwhile
            command = [sys.executable, "-c", waiter]
        with subprocess.Popen(command, env=environment) as disturber:
            result = suite(tmp_path, "-n", "^scaling", "-E", "nodes==2", "--exec-policy=serial", faults=faults, **slurm)
            disturber.kill()
        return result

    return run


@pytest.mark.cluster
def test_two_nodes_pass_without_a_fault(scaling):
    code, output = scaling()
    assert code == 0, output
    assert "scaling nodes=2 @v100" in output


@pytest.mark.cluster
def test_slow_node_is_named(scaling):
    code, output = scaling({"time_per_epoch": 14.0, "slow_rank": 1, "slow_factor": 1.5})
    assert code == 1 and "regression" in output and "slowest is rank 1 on jw" in output, output


NODE_DOWN = """
while True:
    found = s.run(["squeue", "-h", "-t", "R", "-o", "%j %N"], capture_output=True, text=True).stdout
    nodes = [line.split()[1] for line in found.splitlines() if "scaling" in line and "-" in line.split()[1]]
    if nodes:
        time.sleep(1)
        s.run(["scontrol", "update", "NodeName=jw02", "State=DOWN", "Reason=test"])
        break
    time.sleep(0.2)
"""


@pytest.mark.cluster
def test_node_that_goes_down_fails_the_job(scaling, slurm):
    try:
        code, output = scaling({"sleep": 8}, NODE_DOWN)
    finally:
        subprocess.run(["scontrol", "update", "NodeName=jw02", "State=RESUME"], env={**os.environ, **slurm}, check=True)
        time.sleep(1)
    assert code == 1 and ("NODE_FAIL" in output or "ended as" in output), output
