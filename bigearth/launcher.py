"""What the launcher (mpirun, srun, horovodrun) says of this process. Needs no MPI."""

import os
import re
from typing import Optional

RANKS = ("OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID", "HOROVOD_RANK")
# set for every rank by Open MPI, by Hydra and other PMI launchers, by horovodrun, and by srun; in
# this order, since mpirun may itself be started by srun
SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "HOROVOD_SIZE", "SLURM_STEP_NUM_TASKS")


def rank() -> int:
    """This process's rank; 0 without a launcher."""
    return next((n for n in map(_number, RANKS) if n is not None), 0)


def size() -> Optional[tuple]:
    """(variable, number of ranks that were started); None if no launcher is known."""
    for name in SIZES:
        number = _number(name)
        # a shell inside a Slurm step has the step's size, too, but is no rank
        if number is not None and (name[0] != "S" or "SLURM_PROCID" in os.environ):
            return name, number
    return None


def _number(name: str) -> Optional[int]:
    text = os.environ.get(name, "")
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else None
