"""A rank that is a fork of the Python with TensorFlow loaded is, for its launcher, like any
other."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PRELOADED = ROOT / "ci" / "virtual_cluster" / "preloaded.py"
PROGRAM = """
import os, signal, socket, sys, time
print(os.getpid(), "tensorflow" in sys.modules, sys.argv[1:], os.environ["COLOUR"], socket.gethostname(), os.getcwd(), flush=True)
if "wait" in sys.argv:
    signal.signal(signal.SIGUSR1, lambda *_: sys.exit(75))
    print("waiting", flush=True)
    time.sleep(60)
if "abort" in sys.argv:
    os.abort()
sys.exit("a mistake")
"""

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root may give a process another host name"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a program benchmarks/train.py in it and a server beside it."""
    folder = tmp_path_factory.mktemp("preloaded")
    for name in ("run", "etc", "here/benchmarks"):
        (folder / name).mkdir(parents=True)
    (folder / "here" / "benchmarks" / "train.py").write_text(PROGRAM)
    socket = folder / "run" / "python.sock"
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": ""}
    with subprocess.Popen(
        [sys.executable, PRELOADED, "serve", socket], env=environment, cwd=folder
    ) as server:
        while not socket.exists():
            assert server.poll() is None
            time.sleep(0.1)
        yield folder
        server.kill()


def start(folder, *options, config="etc/slurm.conf"):
    """Starts the program as a node named n042 would."""
    environment = {
        **os.environ,
        "COLOUR": "red",
        "PYTHONPATH": "",
        "SLURM_CONF": str(folder / config),
    }
    node = ["unshare", "--uts", "sh", "-c", 'hostname n042; exec "$@"', "sh"]
    command = [*node, sys.executable, str(PRELOADED), "-m", "benchmarks.train", *options]
    return subprocess.Popen(
        command,
        cwd=folder / "here",
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )


@pytest.mark.parametrize(
    "config, loaded", [("etc/slurm.conf", True), ("elsewhere/etc/slurm.conf", False)]
)
def test_program_has_its_callers_world_with_a_server_and_without(folder, config, loaded):
    with start(folder, "--x", "1", config=config) as program:
        out, err = program.communicate(timeout=60)
    assert out.split(" ", 1)[1] == f"{loaded} ['--x', '1'] red n042 {folder}/here\n"
    assert program.returncode == 1 and err == "a mistake\n"


def waiting(folder):
    """A program that waits, and its process id."""
    program = start(folder, "wait")
    pid = int(program.stdout.readline().split()[0])
    assert program.stdout.readline() == "waiting\n"
    return program, pid


def test_signals_reach_the_program(folder):
    program, _ = waiting(folder)
    with program:
        program.send_signal(signal.SIGUSR1)
        assert program.wait(timeout=20) == 75


def test_program_dies_with_its_caller(folder):
    program, pid = waiting(folder)
    with program:
        program.kill()
    deadline = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_death_by_a_signal_is_told_as_one(folder):
    with start(folder, "abort") as program:
        program.communicate(timeout=20)
    assert program.returncode == -signal.SIGABRT
