"""Checks that stop a run, on every rank together, before it wastes machine time."""

import hashlib
import math
import socket

from bigearth.errors import InputError
from bigearth.learn.collective import Single
from bigearth.learn.config import TrainConfig


def check_loss(row: dict, own_loss: float, config: TrainConfig, collective: Single) -> None:
    """Stops every rank when the loss is not finite, or has exploded; call it on every rank with the
    same row.

    Args:
        row: of the step: {"step", "learning_rate", "loss" (averaged over ranks), "gradient_norm"
            (of the averaged gradient)}.
        own_loss: this rank's.
        config: a loss above its `loss_limit` has exploded.

    Raises:
        InputError: names the ranks whose own loss is bad.
    """
    limit, loss, norm = config.loss_limit, row["loss"], row["gradient_norm"]
    if math.isfinite(loss) and math.isfinite(norm) and loss <= limit:
        return
    ranks = collective.gather((socket.gethostname(), own_loss))
    bad = [
        f"rank {rank} on {host}: {own:.4g}"
        for rank, (host, own) in enumerate(ranks)
        if not own <= limit
    ]
    raise InputError(
        f"step {row['step']}: the loss is {loss:.4g} and the gradient's norm {norm:.4g} at "
        f"learning rate {row['learning_rate']:.4g} "
        f"({', '.join(bad) or 'every rank alone is within the limit'}); expected a finite loss of "
        f"at most {limit:g}; lower --learning-rate or lengthen --warmup-epochs, and resume from "
        "the last checkpoint"
    )


def digest(variables: list) -> str:
    """SHA-256 over the bytes of all variables, in order."""
    state = hashlib.sha256()
    for variable in variables:
        state.update(variable.numpy().tobytes())
    return state.hexdigest()


def check_equal_weights(variables: list, collective: Single, when: str) -> None:
    """Stops every rank if the variables are not the same, bit for bit, on all of them.

    Raises:
        InputError: names the ranks that differ from the majority.
    """
    if collective.size == 1:
        return
    ranks = collective.gather((socket.gethostname(), digest(variables)))
    digests = [d for _, d in ranks]
    common = max(digests, key=digests.count)
    bad = [f"rank {rank} on {host}" for rank, (host, d) in enumerate(ranks) if d != common]
    if bad:
        raise InputError(
            f"{when}: the weights of {', '.join(bad)} differ from the other ranks'; expected the "
            "same on all; check memory and network "
            "of those nodes, then resume from the last checkpoint"
        )
