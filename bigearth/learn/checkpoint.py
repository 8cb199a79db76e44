"""Checkpoints: everything that training goes on from, in one file that is complete or not there.

What is random in training is a function of the seed, the epoch, the step and a sample's position,
so the state is only: the variables of network and optimizer, where in the run it was taken, and
what has been measured so far. Each rank's own BatchNorm moving statistics are kept: a run that
resumes on as many ranks gives the same numbers as one that was never stopped.

On another number of ranks the variables are the same and the moving statistics those of all ranks.
If the global batch is the same, so are the samples of every step still to come. With another global
batch the epoch goes on after as many samples as were seen (rounded down to whole steps); as its
order is another one, some samples come twice and others not in that one epoch.
"""

import contextlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import numpy as np

from bigearth.errors import InputError, one_line
from bigearth.files import read_arrays, save_arrays

FORMAT = 2
MOST_BYTES = 1 << 36  # of a checkpoint
REMEDY = "delete it to go on from the one before"


@dataclass
class State:
    """A moment of a run.

    Attributes:
        config: the options of the run, as a dict.
        digest: content digest of the data file.
        epoch: the epoch to go on with, from 0.
        samples: how many samples of that epoch are done, over all ranks.
        global_batch: of the run that saved it.
        seconds: time that the done part of the epoch took.
        tables: what has been measured so far: name -> rows.
        best_score: best validation F1 micro so far; -1 before the first.
        variables: values of network and optimizer, in their order.
        statistics: (ranks, S) float32, every rank's BatchNorm moving statistics.
        best: values of the network's variables at the best validation score, or None.
    """

    config: dict
    digest: str
    epoch: int
    samples: int
    global_batch: int
    seconds: float
    tables: dict
    best_score: float
    variables: list
    statistics: np.ndarray
    best: Optional[list] = None


def save(folder, state: State, keep: int) -> Path:
    """Writes a checkpoint under a temporary name, renames it, and removes all but the last `keep`.

    Raises:
        InputError: the disk is full or not writable; the checkpoints before it are untouched.
    """
    path = Path(folder) / f"checkpoint-{state.epoch:04d}-{state.samples:08d}.npz"
    about = {
        "format": FORMAT,
        **{
            k: getattr(state, k)
            for k in (
                "config",
                "digest",
                "epoch",
                "samples",
                "global_batch",
                "seconds",
                "tables",
                "best_score",
            )
        },
    }
    arrays = {f"variable_{i:04d}": value for i, value in enumerate(state.variables)}
    arrays.update({f"best_{i:04d}": value for i, value in enumerate(state.best or [])})
    save_arrays(
        path,
        "save the checkpoint",
        {"about": np.array(json.dumps(about)), "statistics": state.statistics, **arrays},
    )
    for old in found(folder)[:-keep]:
        with contextlib.suppress(OSError):  # one too many does no harm
            old.unlink()
    return path


def found(folder) -> list:
    """The complete checkpoints in a folder, oldest first."""
    return sorted(
        p
        for p in Path(folder).glob("checkpoint-*.npz")
        if re.fullmatch(r"checkpoint-\d+-\d+\.npz", p.name)
    )


def load(path) -> State:
    """Reads a checkpoint.

    Raises:
        InputError: not a checkpoint, damaged, or of another version.
    """
    arrays = read_arrays(path, what="checkpoint", most=MOST_BYTES, remedy=REMEDY)
    try:
        about = json.loads(str(arrays.pop("about")))
        if about.pop("format") != FORMAT:
            raise ValueError("another format")
        state = State(
            **about,
            statistics=arrays.pop("statistics"),
            variables=_numbered(arrays, "variable"),
            best=_numbered(arrays, "best") or None,
        )
        if arrays:
            raise ValueError(f"unknown array {min(arrays)}")
        return state
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{path}: not a readable checkpoint ({one_line(error, 80)}); {REMEDY}"
        ) from error


def _numbered(arrays: dict, kind: str) -> list:
    """Takes out `<kind>_0000`, `<kind>_0001`, ... up to the first number that is not there."""
    found = []
    while (name := f"{kind}_{len(found):04d}") in arrays:
        found.append(arrays.pop(name))
    return found


def check(
    path,
    state: State,
    *,
    config: dict,
    resumes: tuple,
    digest: str,
    shapes: list,
    network: int,
    statistics: int,
) -> None:
    """Refuses a checkpoint of another run.

    Args:
        path: of the checkpoint, for the message.
        config, digest: of this run.
        resumes: names of the options that may differ.
        shapes: of this run's variables, in their order.
        network: how many of these, from the first on, are the network's.
        statistics: how many BatchNorm moving statistics it has.

    Raises:
        InputError: other data, another recipe or another network.
    """
    if state.digest != digest:
        raise InputError(
            f"{path}: was trained on data {state.digest}, but {config['data']} is {digest}; "
            "expected the same data; give that file or "
            "another --out"
        )
    other = [
        f"{key} {state.config.get(key)!r}, now {value!r}"
        for key, value in config.items()
        if key not in resumes and state.config.get(key) != value
    ]
    if other:
        raise InputError(
            f"{path}: is of another recipe ({'; '.join(other)}); expected the options that the run "
            "began with; give those or another --out"
        )
    expected = [tuple(shape) for shape in shapes]
    if (
        [value.shape for value in state.variables] != expected
        or state.best is not None
        and [value.shape for value in state.best] != expected[:network]
        or state.statistics.shape[1:] != (statistics,)
    ):
        raise InputError(
            f"{path}: is of another network; expected variables of the same shapes; "
            "give another --out"
        )
