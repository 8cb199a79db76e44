"""Ranks agree before they work: one run, one command, one code, one set of data."""

import dataclasses
import hashlib
import socket
from typing import Callable

from bigearth import launcher, provenance
from bigearth.errors import InputError, one_line


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
