"""Ranks agree before they work: one run, one command, one code, one set of data."""

import dataclasses
import hashlib
import os
import socket
from typing import Callable, Optional

from bigearth import launcher, provenance
from bigearth.errors import InputError, one_line

# set where a site lets ranks share a GPU on purpose, through CUDA's Multi-Process Service
SHARED_GPUS = "CUDA_MPS_PIPE_DIRECTORY"


def check(size: int, allgather: Callable, config, **facts) -> None:
    """Refuses a run whose ranks do not belong together; every rank calls it before it works.

    Compared are the number of ranks that the launcher started with the number that can talk to each
    other, and over the ranks the options, the code's commit and whatever `facts` names.

    Args:
        size: number of ranks that can talk to each other, e.g. `comm.size` or `hvd.size()`.
        allgather: collective that takes an object and returns all ranks' (e.g. `comm.allgather`).
        config: the program's options, a dataclass; it must be the same on every rank.
        facts: name -> value that must be the same on every rank, e.g. `data=store.digest`;
            underscores in names are shown as blanks.

    Raises:
        InputError: the same on every rank that can be reached.
    """
    launched = launcher.size()
    if launched and launched[1] != size:
        raise InputError(
            f"{launched[0]} says {launched[1]} ranks were started, but {size} can talk to each "
            "other; expected a launcher of the MPI that this Python uses; start with its own "
            "mpirun, or with srun and the right --mpi"
        )
    options = repr(sorted(dataclasses.asdict(config).items()))
    mine = {
        "options": hashlib.sha256(options.encode(errors="surrogateescape")).hexdigest()[:12],
        "code": provenance.commit(),
        **{name.replace("_", " "): value for name, value in facts.items()},
    }
    everyone = allgather((socket.gethostname(), mine))
    host, first = everyone[0]
    for rank, (other, found) in enumerate(everyone):
        for name in first:
            if found.get(name) != first[name]:
                raise InputError(
                    f"rank {rank} on {one_line(other, 60)} has another {name} than rank 0 on "
                    f"{one_line(host, 60)}: {one_line(found.get(name), 60)} instead of "
                    f"{one_line(first[name], 60)}; expected the same on all ranks; start all of "
                    "them with one command on one file system"
                )


def check_devices(allgather: Callable, count: int, own: Optional[str]) -> None:
    """Refuses more ranks than GPUs on a node, unless the environment of some rank asks for sharing
    (`SHARED_GPUS`); every rank calls it. Ranks without a GPU are not looked at.

    Args:
        allgather: as of `check`.
        count: GPUs that this rank sees.
        own: the own name of the GPU that this rank uses, or None if it is not known.

    Raises:
        InputError: the same on every rank.
    """
    rows = allgather((socket.gethostname(), count, own, bool(os.environ.get(SHARED_GPUS))))
    if any(shared for _, _, _, shared in rows):
        return
    for host in sorted({host for host, seen, _, _ in rows if seen}):
        here = [(seen, name) for other, seen, name, _ in rows if other == host]
        gpus = _used([seen for seen, _ in here], [name for _, name in here])
        if gpus is not None and gpus < len(here):
            raise InputError(
                f"{one_line(host, 60)}: {len(here)} ranks use {gpus} GPU{'s' * (gpus > 1)}; "
                "expected a GPU for every rank; start fewer ranks per node, or share GPUs on "
                f"purpose through CUDA's Multi-Process Service ({SHARED_GPUS} set)"
            )


def _used(seen: list, names: list) -> Optional[int]:
    """GPUs that the ranks of a node use together; None if that cannot be known."""
    if None not in names:
        return len(set(names))
    # where a rank sees one GPU, the launcher may have given each rank its own
    return max(seen) if max(seen) > 1 else None
