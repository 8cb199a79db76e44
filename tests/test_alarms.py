"""Every alarm of the suite is rung once: with the fault the suite fails or refuses, with the right
message; without it, it passes.

The programs are stand-ins (reframe_tests/stand_in.py) that write in a moment what the real ones
write; ReFrame, the checks, the references, the launcher and, for the last tests, Slurm are the real
ones.
"""

import datetime
import json
import os
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from reframe_tests.results import sessions
from tests.reframe_tests.run_suite import ROOT, SITE, reference_file, suite

pytestmark = pytest.mark.reframe


@pytest.fixture
def training(tmp_path):
    """training(faults, *options, mutate=...) -> exit code and output of the training check on this
    machine."""

    def run(faults=None, *options, mutate=lambda cells, content: None):
        reference_file(tmp_path, mutate=mutate)
        return suite(tmp_path, "-n", "^training", *options, faults=faults)

    return run


def test_without_a_fault_it_passes(training):
    code, output = training()
    assert code == 0, output
    assert "4 verdicts: 4 passed, 0 failed" in output


RUN_FAULTS = {
    "slow rank": (
        {"time_per_epoch": 14.0, "slow_rank": 1, "slow_factor": 1.5},
        ["+40.0 %, regression", "slowest is rank 1 on"],
    ),
    "NaN loss": ({"losses": [0.7, "nan", 0.3]}, ["the training loss is not finite"]),
    "loss that rises": ({"losses": [0.3, 0.5, 0.7]}, ["the training loss did not fall"]),
    "dead rank": ({"dead_rank": 1}, ["ended as FAILURE with exit code 9"]),
    "missing data file": ({"lost_data": True}, ["patches.h5: no such file"]),
    "accuracy drop": ({"f1": 0.66}, ["f1_micro", "-12.0 %, regression"]),
    "no better than guessing": (
        {"f1": 0.64},
        ["always guessing the most frequent classes reaches 0.6355"],
    ),
    "too good a number": ({"time_per_epoch": 2.0}, ["-80.0 %, too good to be true"]),
    "test samples left out": ({"scored": 99}, ["99 test patches were scored, the file holds 100"]),
    "record cut short": ({"cut_record": 300}, ["not a result record"]),
    "metric not measured": (
        {"drop_metric": "throughput"},
        ["metric throughput was not measured: injected"],
    ),
    "node not ready": (
        {"preflight": True},
        ["clock: found 9 s", "NOT RUN: a check it depends on failed"],
    ),
    "another image": ({"image": "sha256:other"}, ["refusing to compare: image was none (native)"]),
}


@pytest.mark.parametrize("name", RUN_FAULTS)
def test_fault_of_a_run_fails_it(training, name):
    faults, messages = RUN_FAULTS[name]
    code, output = training(faults)
    assert code == 1, output
    assert all(message in output for message in messages), output


def test_the_last_line_is_for_scripts(training):
    _, output = training()
    assert output.splitlines()[-1].startswith("bigearth-bench: state=")
    code, output = training({"time_per_epoch": 14.0}, "--json")
    last = json.loads(output.splitlines()[-1])
    assert code == 1 and last["state"] == "failed" and last["counts"]["failed"] == 2


def test_comparison_of_unlike_runs_can_be_forced(training):
    code, output = training({"image": "sha256:other"}, "-S", "training.force_compare=1")
    assert code == 0, output


def test_job_over_its_time_limit_fails(training):
    code, output = training(
        {"sleep": 60},
        "-S",
        "training.time_limit=2s",
        mutate=lambda cells, content: cells.update(unknown(cells)),
    )
    assert code == 1 and "TIMEOUT" in output.upper().replace("TIMED OUT", "TIMEOUT"), output


def unknown(cells):
    return {
        metric: {"value": None, "unit": cell["unit"], "origin": "unknown"}
        for metric, cell in cells.items()
    }


OLD = datetime.date.today() - datetime.timedelta(days=400)
REFERENCE_FAULTS = {
    "wrong key": (
        lambda cells, _: cells.update(time_per_epok=cells.pop("time_per_epoch")),
        "time_per_epok: orphan",
    ),
    "stale by age": (
        lambda cells, _: cells["f1_micro"].update(date=OLD),
        "days ago, at most 365 allowed",
    ),
    "stale by image": (
        lambda _, content: content.update(image="sha256:new"),
        "the site now uses sha256:new",
    ),
    "another schema": (
        lambda _, content: content.update(schema=2),
        "reference schema is 2, expected 1",
    ),
}


@pytest.mark.parametrize("name", REFERENCE_FAULTS)
def test_fault_of_the_references_stops_the_suite_before_it_starts(training, name):
    mutate, message = REFERENCE_FAULTS[name]
    code, output = training(mutate=mutate)
    assert code == 2 and message in output and "Running" not in output, output


def test_plain_reframe_refuses_faulty_references_too(tmp_path):
    reference_file(tmp_path, mutate=REFERENCE_FAULTS["wrong key"][0])
    environment = {
        "PYTHONPATH": str(ROOT),
        "BIGEARTH_REFERENCES": str(tmp_path),
        "BIGEARTH_RESULTS": str(tmp_path / "results"),
    }
    reframe = Path(sys.executable).with_name("reframe")
    command = [
        reframe,
        "-C",
        str(SITE),
        "--system=stand_in",
        "-c",
        "reframe_tests",
        "-R",
        "-n",
        "^training",
        "-r",
    ]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1 and "time_per_epok: orphan" in done.stdout, done.stdout


def test_name_that_matches_nothing_is_not_a_pass(tmp_path):
    reference_file(tmp_path)
    code, output = suite(tmp_path, "-n", "traning")
    assert code == 2 and "no check was run" in output


def test_metric_without_a_reference_is_recorded_and_counted(training):
    code, output = training(mutate=lambda cells, content: cells.update(unknown(cells)))
    assert code == 0 and output.count("  not judged\n") == 2
    assert "2 not judged (no reference)" in output
    assert (
        "0.6555 [0.6555 .. any]  passed  (computed: the best constant guess and a margin)"
    ) in output


def test_one_failure_of_many_runs_is_a_failure(training, tmp_path):
    """The second of three runs fails, the third passes again."""
    code, output = training({"only_run": 2, "losses": [0.3, 0.5, 0.7]}, "--reruns=2")
    assert code == 1 and "the training loss did not fall" in output, output


def test_failed_part_of_a_session_is_run_again(training):
    code, output = training({"dead_rank": 1})
    assert code == 1, output
    code, output = training({}, "--restore-session", "--failed")
    assert code == 0 and "Ran 1/1 test case(s)" in output, output


def test_failure_names_node_files_and_the_command_that_repeats_it(training, tmp_path):
    code, output = training({"dead_rank": 1})
    (said,) = [line for line in output.splitlines() if "; again: " in line]
    assert code == 1 and f" on {socket.gethostname()}; files: {tmp_path}/results/stage/" in said
    assert "; messages: rfm_job.err;" in said
    words = shlex.split(said.split("; again: ")[1])
    assert words[:2] == ["bigearth-bench", "run"] and words[-2] == "-n"
    code, output = training({}, *words[-2:])
    assert code == 0 and output.count("training nodes=1") >= 3, output


# ---- on a real Slurm
# ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def scaling(slurm, tmp_path):
    """scaling(faults, meanwhile, *options) -> exit code, output and what sacct says of the last job
    of the check on one, then two nodes.

    `meanwhile` is Python that runs beside the suite, when the job on two nodes runs; it knows the
    job's id.
    """

    def run(faults=None, meanwhile="", *options):
        # references would compute a time limit of their own
        mutate = (lambda _, content: forget(content)) if options else (lambda cells, content: None)
        reference_file(tmp_path, "scaling", ("nodes=1", "nodes=2"), mutate)
        environment = {**os.environ, **slurm}
        with subprocess.Popen(
            [sys.executable, "-c", WHEN_IT_RUNS + meanwhile], env=environment
        ) as disturber:
            code, output = suite(
                tmp_path, "-n", "^scaling", "-E", "nodes==2", *options, faults=faults, **slurm
            )
            disturber.kill()
        (report,) = (tmp_path / "results" / "reports").glob("run-*.json")
        cases = sessions.of_report(report)
        job = [case.jobid for case in cases if case.check == "scaling" and case.jobid][-1]
        command = ["sacct", "-nPX", "-j", str(job), "--format=State,ExitCode"]
        return (
            code,
            output,
            subprocess.run(
                command, env=environment, capture_output=True, text=True, check=True
            ).stdout,
        )

    return run


def forget(content):
    for cells in content["partitions"]["v100"]["scaling"].values():
        cells.update(unknown(cells))


WHEN_IT_RUNS = """
import subprocess as s, time
def running():
    lines = s.run(["squeue", "-h", "-t", "R", "-o", "%i %j %D"], capture_output=True, text=True).stdout.splitlines()
    return [line.split() for line in lines if "scaling" in line and line.split()[2] == "2"]
while not running():
    time.sleep(0.2)
(job, *_), *_ = running()
time.sleep(1)
"""

ON_SLURM = {  # fault, what happens meanwhile, options; what the suite says, what sacct says
    "slow node": (
        ({"time_per_epoch": 14.0, "slow_rank": 1, "slow_factor": 1.5}, ""),
        (["+40.0 %, regression", "slowest is rank 1 on jw"], "COMPLETED|0:0"),
    ),
    "NaN loss": (
        ({"losses": [0.7, "nan", 0.3]}, ""),
        (["the training loss is not finite"], "COMPLETED|0:0"),
    ),
    "dead rank": (({"dead_rank": 1}, ""), (["ended as FAILED with exit code 9"], "FAILED|9:0")),
    "missing data file": (({"lost_data": True}, ""), (["patches.h5: no such file"], "FAILED|1:0")),
    "too good a number": (
        ({"time_per_epoch": 2.0}, ""),
        (["-80.0 %, too good to be true"], "COMPLETED|0:0"),
    ),
    "node down": (
        (
            {"sleep": 8},
            's.run(["scontrol", "update", "NodeName=jw02", "State=DOWN", "Reason=test"])',
        ),
        (["ended as NODE_FAIL"], "NODE_FAIL|"),
    ),
    "cancelled job": (
        ({"sleep": 8}, 's.run(["scancel", job])'),
        (["ended as CANCELLED"], "CANCELLED by "),
    ),
    "job over its time limit": (
        ({"sleep": 300}, "", "-S", "scaling.time_limit=10s"),
        (["TIMEOUT"], "TIMEOUT|"),
    ),
}


@pytest.mark.cluster
def test_two_nodes_pass_without_a_fault(scaling):
    code, output, job = scaling()
    assert code == 0 and "COMPLETED|0:0" in job, output
    assert "scaling nodes=2 @v100" in output


@pytest.mark.cluster
@pytest.mark.parametrize("name", ON_SLURM)
def test_fault_of_a_job_fails_it(scaling, slurm, name):
    fault, (messages, accounted) = ON_SLURM[name]
    try:
        code, output, job = scaling(*fault)
    finally:
        subprocess.run(
            ["scontrol", "update", "NodeName=jw02", "State=RESUME"],
            env={**os.environ, **slurm},
            capture_output=True,
        )
        time.sleep(1)
    assert code == 1 and all(message in output for message in messages), output
    assert accounted in job
