"""Whether the programs can run at all, in a container image or without one: tried on the login node
before anything is submitted."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

from bigearth.errors import InputError, one_line

CHECK = Path(__file__).resolve().parents[1] / "containers" / "check.sh"
# what the workloads import natively; the light half of the suite has none of them
NEEDED = ("tensorflow", "horovod", "h5py", "mpi4py", "osgeo")


def check(image: str, system: dict) -> None:
    """Tries the image here; each job tries it again where it runs.

    Args:
        image: a .sif file, or a name of containers/.
        system: the site's entry of its ReFrame configuration.

    Raises:
        InputError: the image does not fit, or no partition runs images.
    """
    able = [partition for partition in system["partitions"] if partition.get("container_platforms")]
    if not able:
        raise InputError(
            f"--image {one_line(image)}: no partition of {system['name']} states "
            "`container_platforms`; add Apptainer or Singularity there, or leave --image out"
        )
    local = any(partition["scheduler"] == "local" for partition in able)
    if local or shutil.which("apptainer") or shutil.which("singularity"):
        done = subprocess.run([CHECK, image], capture_output=True, text=True, errors="replace")
        if done.returncode != 0:
            said = (done.stderr.strip() or "check.sh failed").splitlines()[-1]
            raise InputError(said.replace("error: ", "", 1))


def check_native(environments: list) -> None:
    """Whether the workloads' libraries are here, where jobs use this very Python.

    Args:
        environments: of the site's ReFrame configuration. One with a Python or modules of its own
            is known to its jobs only.

    Raises:
        InputError: libraries are missing: this is the light half of the suite.
    """
    mine = [
        one
        for one in environments
        if not one.get("modules") and one.get("extras", {}).get("python") == sys.executable
    ]
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if mine and missing:
        raise InputError(
            f"this Python environment has no {', no '.join(missing)}: it can launch the checks, "
            "not run them; add --image NAME (cpu, v100, latest, k80, or a .sif file; see "
            "docs/containers.md), or set up the workloads here with `make setup`"
        )
