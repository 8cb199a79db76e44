"""Whether data and work fit each other, before a job is submitted. Pure functions."""

from typing import Optional


def misfit(
    name: str, patches: dict, ranks: int, batch_size: int, steps: Optional[int] = None
) -> str:
    """Why a training cannot run on a file, in one sentence; empty if it can.

    Args:
        name: of the test case.
        patches: split -> how many patches the file holds.
        ranks: of the job.
        batch_size: per rank; 0 if the recipe chooses it, which is then not judged here.
        steps: that each epoch must have; None for a pass over the whole split.
    """
    for split in ("val", "test"):
        if 0 < patches.get(split, 0) < ranks:
            return (
                f"{name}: the {split} split has {patches[split]} patches for {ranks} ranks; give a "
                "larger file with --data, or run on fewer nodes"
            )
    held, needed = patches.get("train", 0), (steps or 1) * batch_size * ranks
    if held >= needed:
        return ""
    work = f"{steps} steps of" if steps else "one step of"
    return (
        f"{name}: {work} {ranks} ranks with {batch_size} patches each need {needed:,} patches for "
        f"training, the file has {held:,}; give a larger file with --data, or run on fewer nodes"
    )
