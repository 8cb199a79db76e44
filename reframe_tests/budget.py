"""What a run would cost, before anything is submitted. Pure functions of the chosen checks."""

import math
from typing import Optional

PATCH_BYTES = 345_600 + 115_200 + 43_200 + 1_600  # of one patch in the HDF5 file, all its arrays
PATCHES = 2000  # the smallest number at which the scores are steady enough to be judged
BATCH_SIZE = 64  # per rank, the paper's
STEPS = 10  # per epoch on the largest number of nodes: fewer cannot be timed
TRAIN_SHARE = 0.45  # of all synthetic patches, those of the train split, rounded down
DEFAULT_S = 2 * 3600  # of a job whose partition states no limit
FULL = ("accuracy",)  # checks whose jobs may ask for all that the queue allows


def cases(described: list, names: tuple = ()) -> list:
    """(partition, check) of every test case that ReFrame's --describe names.

    Args:
        names: partitions that were asked for; all if empty.
    """
    return [
        (where.partition(":")[2], check)
        for check in described
        for where in check["valid_systems"]
        if not names or where.partition(":")[2] in names
    ]


def at_most(chosen: list, partitions: dict, runs: int = 1) -> dict:
    """What the chosen cases cost if each takes all the time that its job asks for.

    That is the partition's `time_limit`, and for a full training the queue's; a job whose
    references say how long it takes asks for less.

    Args:
        chosen: (partition, check) as `cases` returns them.
        partitions: name -> Partition.
        runs: how often everything is run.

    Returns:
        jobs and node_hours.
    """
    hours = 0.0
    for name, check in chosen:
        about = partitions[name]
        if about.scheduler != "local":
            whole = check.get("check") in FULL
            seconds = about.longest if whole else about.usual
            hours += check.get("nodes", 1) * (seconds or DEFAULT_S) / 3600
    return {"jobs": runs * len(chosen), "node_hours": runs * hours}


def patches_for(ranks: int, batch_size: int = 0) -> int:
    """How many synthetic patches give enough steps per epoch, whole splits included.

    Args:
        ranks: of the largest job; batch_size: per rank, 0 for the paper's.
    """
    return max(PATCHES, math.ceil(STEPS * ranks * (batch_size or BATCH_SIZE) / TRAIN_SHARE))


def largest(chosen: list, partitions: dict) -> int:
    """Ranks of the largest training among the chosen cases."""
    sizes = [
        check.get("nodes", 1) * partitions[name].ranks_per_node
        for name, check in chosen
        if check.get("program") == "benchmarks.train" and check.get("check") != "training"
    ]
    return max(sizes, default=0)


def sentence(cost: dict, patches: Optional[int]) -> str:
    """A budget in words."""
    text = f"{cost['jobs']} job(s), {cost['node_hours']:.1f} node-hours at most"
    if patches:
        text += f", {patches:,} synthetic patches ({patches * PATCH_BYTES / 1e9:.1f} GB)"
    return text
