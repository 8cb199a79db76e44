"""What the preflight finds out about a node: its launcher, devices, room, data file, clock, and
whether sums over ranks are right.

Nothing is judged here (preflight_judgement.py). Every function says what it saw on the rank that
called it.
"""

import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from bigearth import machine
from bigearth.errors import InputError

# elements of the test all-reduce: 8 MB, enough to leave the transports' short-message path
REDUCED = 2**20
SAMPLED = 32  # patches of the data file whose checksum is computed again, evenly spread


@dataclass(frozen=True)
class Launcher:
    """What started this process, as its environment says: how many processes, and in which
    family's language (PMI)."""

    name: str
    size: int
    speaks: tuple  # MPI families that understand it; empty: none can


def launcher(environ: dict) -> Launcher:
    """The launcher from its environment variables; none is a launcher of one process."""

    def number(*names):
        return next((int(environ[n]) for n in names if environ.get(n, "").isdigit()), None)

    if number("OMPI_COMM_WORLD_SIZE"):
        return Launcher("mpirun of Open MPI", number("OMPI_COMM_WORLD_SIZE"), ("Open MPI",))
    if number("MV2_COMM_WORLD_SIZE"):
        return Launcher("mpirun of MVAPICH", number("MV2_COMM_WORLD_SIZE"), ("MPICH",))
    tasks = number("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS")
    if "PMIX_RANK" in environ:
        return Launcher(
            "srun with PMIx" if tasks else "a launcher with PMIx",
            tasks or number("PMI_SIZE") or 1,
            ("Open MPI", "MPICH"),
        )
    if number("PMI_SIZE"):
        name = "srun with PMI-2" if tasks else "mpirun of MPICH or Intel MPI"
        return Launcher(name, number("PMI_SIZE"), ("MPICH",))
    if tasks and tasks > 1:
        return Launcher("Slurm without PMI (no srun, or srun --mpi=none)", tasks, ())
    return Launcher("none", 1, ("Open MPI", "MPICH"))


def family(library_version: str) -> str:
    """The family of an MPI library, from the text of MPI_Get_library_version: within one, launcher
    and library understand each other."""
    if "Open MPI" in library_version:
        return "Open MPI"
    if any(name in library_version for name in ("MPICH", "MVAPICH", "Intel(R) MPI", "CRAY")):
        return "MPICH"
    return library_version.split("\n")[0] or "unknown"


def probe_devices(tf, cards: list) -> dict:
    """The GPUs this rank sees, what its TensorFlow was built for, and the driver; all empty on a
    machine without GPUs.

    Args:
        cards: (UUID, PCI address) of each, in CUDA's order; empty if CUDA does not say.
    """
    visible = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(gpu) for gpu in visible]
    chosen = [c for c in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if c]
    chosen = [uuid for uuid, _ in cards] or chosen  # a number may be another device in every rank
    build = tf.sysconfig.get_build_info()
    return {
        "ids": chosen if len(chosen) == len(visible) else list(range(len(visible))),
        "capabilities": [tuple(d.get("compute_capability", ())) for d in details],
        "names": [d.get("device_name", "GPU") for d in details],
        "installed": len(list(Path("/proc/driver/nvidia/gpus").glob("*"))),
        "kernels": list(build.get("cuda_compute_capabilities", [])),
        "cuda": build.get("cuda_version"),
        "driver": machine.driver().value,
        "infiniband": sorted(p.name for p in Path("/sys/class/infiniband").glob("*")),
    }


def probe_all_reduce(communicator, ranks) -> dict:
    """Sums whose results are known, through MPI and (with more than one rank) through Horovod: name
    -> right or not."""
    import numpy as np

    index = np.arange(REDUCED, dtype=np.int64)
    total = np.empty_like(index)
    communicator.Allreduce(index + communicator.rank, total)
    size = communicator.size
    right = {"MPI": bool((total == size * index + size * (size - 1) // 2).all())}
    if ranks.size > 1:
        small = (index % 1024).astype(np.float32)  # integers that float32 sums exactly
        result = ranks.sum(small + np.float32(ranks.rank))
        right[f"Horovod ({ranks.backend})"] = bool(
            (result == size * small + size * (size - 1) // 2).all()
        )
    return right


def network_used(log: str) -> Optional[str]:
    """The network that NCCL chose, from its NCCL_DEBUG=INFO log: "IB", "Socket", a plugin's name,
    or None if it says nothing."""
    chosen = re.findall(r"Using network (\S+)", log) or re.findall(r"NET/(\w+)\s*: Using", log)
    return chosen[-1] if chosen else None


def probe_room(scratch: str) -> dict:
    """Free space (GB) on scratch and /dev/shm, the memory (GB) this process may use, and the node's
    own cores."""
    return {
        "scratch": free_gb(scratch),
        "shm": free_gb("/dev/shm"),
        "memory": machine.memory() / 1e9,
        "node_cores": machine.node_cores(),
    }


def free_gb(folder: str) -> Optional[float]:
    """Free space in GB, or None if the folder cannot be written to."""
    return shutil.disk_usage(folder).free / 1e9 if os.access(folder, os.W_OK) else None


def probe_data(path: str) -> dict:
    """The data file as this node sees it: its digest, or what is wrong with it."""
    import numpy as np

    from bigearth import store

    try:
        data = store.Store(path)
        if store.content_digest(data.array("checksum"), data.interpolation) != data.digest:
            return {
                "wrong": f"{path}: the patches' checksums do not give the file's digest "
                f"{data.digest}"
            }
        sample = np.unique(np.linspace(0, data.size - 1, min(SAMPLED, data.size)).astype(int))
        for i in sample[~data.intact(sample)]:
            return {"wrong": f"{path}: patch {data.names[i]} does not have its checksum"}
    except InputError as error:
        return {"wrong": str(error)}
    return {"digest": data.digest, "patches": int(data.size)}


def clock_offset(communicator, other: int) -> float:
    """How far rank `other`'s clock is ahead of rank 0's (s), by the exchange with the shortest way
    there and back; called by both."""
    samples = []
    for _ in range(5):
        if communicator.rank == 0:
            sent = time.time()
            theirs = communicator.sendrecv(None, other, source=other)
            samples.append((time.time() - sent, theirs - (sent + time.time()) / 2))
        else:
            communicator.recv(source=0)
            communicator.send(time.time(), 0)
    return min(samples)[1] if samples else 0.0
