"""The suite with the real programs on a real Slurm: every check at every node count, and a training
cut into several jobs."""

import datetime
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from reframe_tests import catalogue, partitions, references, sites
from reframe_tests.checks import ceilings
from reframe_tests.checks.preflight import NODES
from reframe_tests.results import sessions
from tests.reframe_tests.run_suite import ROOT, suite

CLUSTER = ROOT / "ci" / "virtual_cluster" / "cluster.sh"

pytestmark = [pytest.mark.cluster, pytest.mark.reframe]


def accounting(slurm, *options) -> list:
    """Jobs of the last two hours as sacct has them: lines of name, state, number of nodes."""
    command = ["sacct", "-nPX", "-S", "now-2hours", "--format=JobName%80,State,NNodes", *options]
    done = subprocess.run(
        command, env={**os.environ, **slurm}, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


# what runs on each partition, as ReFrame's -n takes it; the short sweep still runs every check, on
# one, two and all nodes, and every input
SWEEPS = {
    "whole": {"v100": ".", "k80": "."},
    "smoke": {
        "v100": "^(prepare|training)|devices=|nodes=1\\b|nodes=(2|24)($|\\W.*multispectral)",
        "k80": "nodes=2($|\\W.*multispectral)",
    },
}


@pytest.mark.parametrize("name", SWEEPS)
def test_sweep_of_every_check_over_both_partitions(slurm, tmp_path, name):
    shutil.copy(references.path_of("virtual"), tmp_path)
    for partition, names in SWEEPS[name].items():
        options = ["--tag", "acceptance", f"--system=virtual:{partition}", "-n", names]
        code, output = suite(tmp_path, *options, site="virtual", timeout=2400, **slurm)
        assert code == 0, output[-5000:]
    cases = {
        (case.system.split(":")[1], case.check, case.point): case
        for case in sessions.load([tmp_path / "results" / "results.db"], [])
    }
    for partition, names in SWEEPS[name].items():
        described = partitions.of_configuration(sites.system_of("virtual")["partitions"])[partition]
        for check_name, check in catalogue.checks().items():
            if hasattr(ceilings, check_name):  # not of the acceptance: they have a tag of their own
                continue
            points = catalogue.points_on(check, described)
            assert len(points) == len(check.points)
            for point, parameters in zip(points, check.points):
                if re.search(names, f"{check_name}%{point}"):
                    found = cases[partition, check_name, point].evidence["nodes"]
                    assert found == parameters["nodes"]
        jobs = accounting(slurm, "-r", partition)
        for nodes in (n for n in NODES if re.search(names, f"scaling%nodes={n}")):
            assert any("rfm_scaling" in j and j.endswith(f"|COMPLETED|{nodes}") for j in jobs)


WAITING = """
import resource, time
from mpi4py import MPI

def naps():
    return resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw

MPI.COMM_WORLD.Barrier()
if MPI.COMM_WORLD.rank == 0:
    time.sleep(5)
before = naps()
MPI.COMM_WORLD.Barrier()
print(naps() - before)
"""


def test_ranks_that_wait_sleep(slurm):
    environment = {
        **os.environ,
        **slurm,
        **dict(sites.system_of("virtual")["partitions"][1]["env_vars"]),
    }
    command = ["srun", "-N3", "--mpi=pmix", sys.executable, "-c", WAITING]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    first, *waiting = sorted(map(int, done.stdout.split()))
    assert len(waiting) == 2 and min(waiting) > 100


@pytest.fixture
def accuracy(slurm, tmp_path):
    """accuracy(folder, training_time, meanwhile) -> (output of the suite, record and standard error
    of a training of 30 epochs)."""

    def run(name, training_time, meanwhile="pass"):
        folder = tmp_path / name
        folder.mkdir()
        content = references.empty("chain")
        if training_time:
            cell = dict(
                value=training_time, lower=-1.0, upper=0.0, unit="s", origin="predicted", date=datetime.date.today(), runs=1,
                source="a test", band="none",
            )  # fmt: skip
            point = {"nodes=1 input=multispectral": {"training_time": cell}}
            content["partitions"] = {"v100": {"accuracy": point}}
        (folder / "chain.yaml").write_text(references.dump(content))
        with subprocess.Popen(
            [sys.executable, "-c", meanwhile, str(folder)], env={**os.environ, **slurm}
        ) as disturber:
            chosen = [
                "-n",
                "^accuracy",
                "-E",
                "nodes==1 and input=='multispectral'",
                "-S",
                "epochs=30",
            ]
            code, output = suite(
                folder,
                *chosen,
                site=Path(__file__).with_name("chain_site.py"),
                timeout=600,
                **slurm,
            )
            disturber.kill()
        assert code == 0, output
        (kept,) = (folder / "results" / "output").glob("chain/v100/native/accuracy_????????")
        return (
            output,
            json.loads((kept / "result.json").read_text()),
            (kept / "rfm_job.err").read_text(),
        )

    return run


QUEUE_LIMIT = """
import glob, subprocess, sys, time
while not any("epoch 5/" in open(f).read() for f in glob.glob(sys.argv[1] + "/results/stage/*/*/*/accuracy_link_*/rfm_job.err")):
    time.sleep(0.2)

subprocess.run("scancel --signal=USR1 $(squeue -h -t R -o '%i %j' | grep accuracy_link | cut -d' ' -f1)", shell=True)
"""


def test_chain_of_jobs_equals_one_long_job(accuracy, slurm):
    """The queue's limit is an hour and the reference says more; Slurm's warning is sent by hand, as
    nobody waits that long."""
    output, long, _ = accuracy("long", None)
    assert "accuracy_link" not in output
    output, chained, said = accuracy("chained", 2000.0, QUEUE_LIMIT)
    assert "accuracy_link" in output and "resuming from" in said
    # exit code 75: to be continued
    assert any("accuracy_link" in line and "|FAILED|" in line for line in accounting(slurm))
    losses = [
        [row["train_loss"] for row in record["tables"]["epochs"]] for record in (long, chained)
    ]
    assert len(losses[0]) == 30 and losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert long["metrics"]["f1_micro"]["value"] == pytest.approx(
        chained["metrics"]["f1_micro"]["value"], rel=1e-5
    )


SRUN = ["run", "srun", "-N2", "sh", "-c", "touch $VIRTUAL_CLUSTER/task_$SLURM_PROCID; sleep 3600"]


@pytest.mark.parametrize(
    "send, number", [(os.killpg, signal.SIGINT), (os.kill, signal.SIGTERM)], ids=["Ctrl-C", "kill"]
)
@pytest.mark.parametrize(
    "command, begun", [(["start"], "run/mariadbd.pid"), (SRUN, "tmp/jr02"), (SRUN, "task_1")]
)
def test_interrupted_cluster_leaves_no_process(tmp_path, send, number, command, begun):
    environment = {
        **os.environ,
        "VIRTUAL_CLUSTER": str(tmp_path),
        "VIRTUAL_PORT": "37000",
        "VIRTUAL_NODES": "2",
    }
    # a shell that starts the tests in the background has its programs ignore SIGINT
    heard = ["env", "--default-signal=INT"]
    with subprocess.Popen(
        [*heard, CLUSTER, *command], env=environment, start_new_session=True
    ) as process:
        while not (tmp_path / begun).exists():
            assert process.poll() is None
            time.sleep(0.1)
        send(process.pid, number)
        assert process.wait(timeout=600) == 128 + number
    left = [
        path
        for path in Path("/proc").glob("[0-9]*")
        if str(tmp_path).encode() in environment_of(path)
    ]
    assert not left, [(path / "cmdline").read_text() for path in left]


def environment_of(process: Path) -> bytes:
    try:
        # holds the path of slurm.conf, or of the whole cluster
        return (process / "environ").read_bytes()
    except OSError:
        return b""


def test_new_site_from_what_this_slurm_says(slurm, tmp_path):
    shutil.copytree(
        ROOT / "reframe_tests",
        tmp_path / "reframe_tests",
        ignore=shutil.ignore_patterns("__pycache__"),
    )

    def python(*arguments):
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=tmp_path,
            env={**os.environ, **slurm, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "to do" not in python(
        "reframe_tests.site_add", "--name", "mine", "--hostnames", "nobody"
    )
    python("reframe_tests.lint", "--site", "mine")
    assert "0 failure(s)" in python(
        "reframe_tests", "--site", "mine", "--dry-run", "-n", "^scaling"
    )
    (script, *_) = (tmp_path / "results" / "reframe" / "stage" / "mine" / "k80" / "native").glob(
        "scaling_*/rfm_job.sh"
    )
    done = subprocess.run(
        ["sbatch", "--test-only", script],
        env={**os.environ, **slurm},
        capture_output=True,
        text=True,
    )
    # Slurm would take the job: its partition, nodes, cores and devices are there
    assert done.returncode == 0, done.stderr
