"""A stranger's site: an ordinary user with a clone and a fresh environment, on a real Slurm whose
nodes are what they say (`VIRTUAL_HARDWARE=own`), from `site add` to a red night. The tests run the
last commit, as a clone does."""

import contextlib
import json
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest

from tests.reframe_tests.run_suite import ROOT

CLUSTER = ROOT / "ci" / "virtual_cluster" / "cluster.sh"
IMAGE = ROOT / "containers" / "cpu.sif"
USER = "bigearth-guest"
# the nodes share this machine: Open MPI must not take one of its bridges for their network
OPEN_MPI = {
    "OMPI_MCA_mpi_yield_when_idle": "1",
    "OMPI_MCA_pml": "ob1",
    "OMPI_MCA_btl": "self,vader,tcp",
    "OMPI_MCA_btl_tcp_if_include": "lo",
    "OMP_NUM_THREADS": "1",
}

OPEN_TO_ALL = all(folder.stat().st_mode & 0o001 for folder in (ROOT, *ROOT.parents))

pytestmark = [
    pytest.mark.reframe,
    pytest.mark.skipif(os.getuid() != 0, reason="only root can make another user"),
    pytest.mark.skipif(not OPEN_TO_ALL, reason="another user cannot read this checkout"),
]


class Stranger:
    """A user of this machine with a clone of the suite, and of nothing else of ours."""

    def __init__(self, home: Path, slurm_conf: Path):
        self.home, self.clone = home, home / "bigearth-bench"
        self.bin = self.clone / ".venv" / "bin"
        kept = {name: os.environ[name] for name in os.environ if name.startswith("PIP_")}
        path = f"{self.bin}:/usr/local/bin:/usr/bin:/bin"
        self.environment = {**kept, **OPEN_MPI, "HOME": str(home), "PATH": path, "USER": USER}
        self.environment["SLURM_CONF"] = str(slurm_conf)

    def run(self, *words, code=0, timeout=1500, **environment) -> str:
        """Runs a command in the clone; what it printed."""
        who = pwd.getpwnam(USER)
        done = subprocess.run(
            list(map(str, words)),
            cwd=self.clone,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
            user=who.pw_uid,
            group=who.pw_gid,
            extra_groups=[],
        )
        printed = done.stdout + done.stderr
        print(printed)
        assert done.returncode == code, printed[-5000:]
        return printed

    def suite(self, *words, site="stranger", **more) -> str:
        """Runs checks: in the image where it is built, else with this checkout's own Python."""
        image = ["--image", IMAGE] if IMAGE.exists() else []
        return self.run("bigearth-bench", "run", "--site", site, *image, *words, **more)

    def write(self, name: str, text: str) -> Path:
        path = self.clone / name
        path.write_text(text)
        return path


@pytest.fixture(scope="module")
def stranger():
    """After `pip install -e .`, beside a Slurm of 2 + 2 nodes."""
    folder = Path(tempfile.mkdtemp(prefix="stranger-"))  # pytest's own are for its user only
    folder.chmod(0o755)
    variables = {"NODES": "2", "PORT": "29000", "HARDWARE": "own", "CLUSTER": str(folder / "slurm")}
    cluster = {**os.environ, **{f"VIRTUAL_{name}": value for name, value in variables.items()}}
    subprocess.run(["useradd", "--create-home", "--home-dir", folder / "home", USER], check=True)
    try:
        subprocess.run([CLUSTER, "start"], env=cluster, check=True, timeout=600)
        found = Stranger(folder / "home", folder / "slurm" / "etc" / "slurm.conf")
        subprocess.run(["git", "clone", "--quiet", ROOT, found.clone], check=True)
        subprocess.run(["chown", "-R", f"{USER}:", found.clone], check=True)
        found.run("/usr/bin/python3", "-m", "venv", ".venv")
        found.run("pip", "install", "--quiet", "-e", ".", "-c", "constraints.txt")
        found.run("bigearth-bench", "site", "add", "--name", "stranger")
        settings = found.clone / "reframe_tests" / "settings" / "stranger.py"
        settings.write_text(adapted(settings.read_text()))
        yield found
    finally:
        subprocess.run([CLUSTER, "stop"], env=cluster, check=True, timeout=120)
        subprocess.run(["userdel", USER], check=True)
        shutil.rmtree(folder)


def adapted(settings: str) -> str:
    """What the site's engineer changes: work for slow processors, one job at a time, and, where no
    image was built, the Python that has the workloads."""
    work = '"batch_size": 4,\n            "patches": 400,\n            "max_nodes": 2'
    text = settings.replace('"max_nodes": 2', work).replace('"max_jobs": 8', '"max_jobs": 1')
    assert text.count('"patches": 400') == 2 and text.count('"max_jobs": 1') == 2
    python = str(ROOT / ".venv" / "bin" / "python")
    changed = f'{text}\nsite_configuration["environments"][0]["extras"]["python"] = "{python}"\n'
    return text if IMAGE.exists() else changed


@pytest.mark.site
def test_one_node_of_the_nightly_run(stranger):
    """Data, preflight, a timed training and the preparation of data, real and judged."""
    chosen = ["-n", "^(preflight|scaling|prepare)", "-E", "nodes==1"]
    small = ["-S", "epochs=2", "-S", "hdf5_file.patches=60", "-S", "synthetic_archive.patches=60"]
    printed = stranger.suite("--tag=nightly", "--system=stranger:cpu_test", *chosen, *small)
    assert (
        "preflight nodes=1 @cpu_test" in printed and "failed=0 could_not_be_measured=0" in printed
    )
    for metric in ("time_per_epoch", "patch_throughput"):
        assert any(metric in line and "not judged" in line for line in printed.splitlines())


CENTRE = """
site_configuration = {{
    "systems": [
        {{
            "name": "hal",
            "hostnames": ["login9"],
            "partitions": [
                {{
                    "name": "gpu",
                    "scheduler": "slurm",
                    "launcher": "srun",
                    "access": ["-p", "gpu"],
                    "environs": ["centre-python"],
                    "features": ["nvgpu"],
                    "devices": [{{"type": "gpu", "arch": "sm_80", "num_devices": 4}}],
                }}
            ],
        }},
        {{
            "name": "dave",
            "hostnames": [".*"],
            "partitions": [
                {{"name": "front", "scheduler": "local", "launcher": "local",
                  "environs": ["centre-python"]}},
                {{
                    "name": "mc",
                    "scheduler": "squeue",
                    "launcher": "srun",
                    "access": ["-p", "cpu.test"],
                    "environs": ["centre-python"],
                    "features": ["cpu", "remote"],
                    "processor": {{"num_cpus": 1, "num_sockets": 1, "num_cpus_per_core": 1}},
                    "extras": {{"launcher_options": ["--mpi=pmix"]}},
                    "time_limit": "10m",
                    "container_platforms": {platforms},
                }},
            ],
        }},
    ],
}}
"""
ENVIRONMENTS = """
site_configuration = {{"environments": [{{"name": "centre-python", "extras": {extras}}}]}}
"""


@pytest.mark.site
def test_configuration_of_the_centres_own(stranger):
    """Several systems, split over files, with none of our features."""
    platforms, extras = [{"type": "Apptainer"}], {}
    if not IMAGE.exists():
        platforms, extras = [], {"python": str(ROOT / ".venv" / "bin" / "python")}
    centre = stranger.write("centre.py", CENTRE.format(platforms=platforms))
    environments = stranger.write("environments.py", ENVIRONMENTS.format(extras=extras))
    site, chosen = f"{centre}:{environments}", ["-n", "^preflight", "-E", "nodes==1"]
    printed = stranger.suite(*chosen, "-S", "hdf5_file.patches=60", site=site)
    assert "preflight nodes=1 @mc" in printed and "passed=1" in printed


def ranks(node: str) -> list:
    """Processes of a job step's program on a node."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().split(b"\0")
            variables = (path / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if f"SLURMD_NODENAME={node}".encode() in variables and b"benchmarks.prepare" in words:
            found += [int(path.name)] if words[0].endswith(b"python") else []
    return found


def send(number: int, processes: list) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)


@contextlib.contextmanager
def disturbed(disturb):
    """Calls `disturb` again and again meanwhile."""
    over = threading.Event()

    def work():
        while not over.is_set():
            disturb()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def slow_node():
    """Takes nine tenths of its processor time from the ranks of jw02."""
    found = ranks("jw02")
    send(signal.SIGSTOP, found)
    time.sleep(0.45)
    send(signal.SIGCONT, found)
    time.sleep(0.05)


def rows(printed: str) -> list:
    (line,) = [line for line in printed.splitlines() if line.startswith('{"headline"')]
    return json.loads(line)["rows"]


@pytest.mark.site
def test_nightly_run(stranger):
    printed = stranger.suite("--tag=nightly", "--system=stranger:batch", "-S", "epochs=2")
    for case in ("preflight nodes=2", "scaling nodes=1", "scaling nodes=2", "training", "prepare"):
        assert case in printed
    assert "failed=0 could_not_be_measured=0" in printed


@pytest.mark.site
def test_slow_node_and_failure_of_a_soak_are_red(stranger):
    """After as many quick repeats as `calibrate` wants."""
    prepare = ["-n", "^prepare", "--system=stranger:batch", "-S", "after_preflight=0"]
    stranger.suite(*prepare, "--reruns=11")
    stranger.run("bigearth-bench", "calibrate", "--site", "stranger")
    stranger.run("git", "apply", "results/reframe/calibrate-stranger.diff")
    good = rows(stranger.suite(*prepare, "--json"))
    assert {row["state"] for row in good if row["metric"]} == {"passed"}

    with disturbed(slow_node):
        printed = stranger.suite(*prepare, "--distribute=idle", "--json", code=1)
    failed = [
        line
        for line in printed.splitlines()
        if line.lstrip().startswith("prepare") and ": job " in line
    ]
    assert failed and all(" on jw02;" in line for line in failed), printed

    victims = []

    def kill_one():
        time.sleep(0.05)
        found = [] if victims else ranks("jw01") + ranks("jw02")
        send(signal.SIGKILL, found)
        victims.extend(found)

    with disturbed(kill_one):
        printed = stranger.suite(*prepare, "--reruns=2", code=1)
    assert victims and "could_not_be_measured=1 " in printed
    stranger.run(
        "python", "-m", "plots", "report", "--results", "results/reframe", "--out", "signed.html"
    )
