"""What tests of several packages share: real MPI ranks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

from bigearth.cli import TENSORFLOW_ENVIRONMENT

os.environ.update({**TENSORFLOW_ENVIRONMENT, **os.environ})

settings.register_profile("no deadline", deadline=None)  # a busy machine is no fault of the code
settings.load_profile("no deadline")

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def mpirun():
    """mpirun(ranks, *python_arguments, timeout=300) -> CompletedProcess: real ranks of this Python,
    in the root of the project."""

    def run(ranks, *arguments, timeout=300, **environment):
        settings = {
            "OMPI_ALLOW_RUN_AS_ROOT": "1",
            "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
            "OMPI_MCA_mpi_yield_when_idle": "1",
            "OMPI_MCA_rmaps_base_oversubscribe": "1",
            "PYTHONPATH": str(ROOT),
        }
        return subprocess.run(
            ["mpirun", "-np", str(ranks), sys.executable, *map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, **settings, **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    return run


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    """A virtual cluster of 24 + 24 nodes: the environment in which Slurm's commands reach it."""
    cluster, folder = (
        ROOT / "ci" / "virtual_cluster" / "cluster.sh",
        tmp_path_factory.mktemp("cluster"),
    )
    environment = {**os.environ, "VIRTUAL_CLUSTER": str(folder), "VIRTUAL_PORT": "27000"}
    try:
        subprocess.run([cluster, "start"], env=environment, check=True, timeout=600)
        yield {"SLURM_CONF": str(folder / "etc" / "slurm.conf")}
    finally:
        subprocess.run([cluster, "stop"], env=environment, check=True, timeout=120)
