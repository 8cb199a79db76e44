"""The learning rate of every step: linear scaling with the global batch, per-step warm-up, then a
decay."""

import math
from typing import Sequence


class Schedule:
    """The learning rate as a function of the step.

    Args:
        peak: the rate that warm-up ends at.
        steps_per_epoch, epochs: the length of the run.
        kind: "step" (times 0.1 at each of `boundaries`), "polynomial" (to zero, power 2) or
            "cosine" (to zero).
        warmup_epochs: the rate grows linearly over these, by the same amount each step; may be a
            fraction of an epoch.
        boundaries: epochs of the step decay (paper: 30, 60, 80).
    """

    def __init__(
        self,
        peak: float,
        steps_per_epoch: int,
        epochs: float,
        kind: str = "step",
        warmup_epochs: float = 5,
        boundaries: Sequence[float] = (30, 60, 80),
    ):
        self.peak = peak
        self._steps = steps_per_epoch * epochs
        self._warmup = warmup_epochs * steps_per_epoch
        self._boundaries = [b * steps_per_epoch for b in boundaries]
        self._kind = kind

    def __call__(self, step: int) -> float:
        """The rate of a step, counted from 0 over the whole run."""
        if step < self._warmup:
            return self.peak * (step + 1) / math.ceil(self._warmup)
        if self._kind == "step":
            return self.peak * 0.1 ** sum(step >= b for b in self._boundaries)
        progress = min((step - self._warmup) / max(self._steps - self._warmup, 1), 1.0)
        if self._kind == "polynomial":
            return self.peak * (1 - progress) ** 2
        return self.peak * 0.5 * (1 + math.cos(math.pi * progress))


def peak_rate(base: float, global_batch_size: int, scaling: str = "linear") -> float:
    """The rate for a global batch from the one for 256 samples: 0.1 k n / 256 in the paper (section
    3.5; Goyal et al. 2017).

    Args:
        base: the rate at a global batch of 256.
        global_batch_size: k ranks x n samples.
        scaling: "linear", "sqrt" or "none".
    """
    ratio = global_batch_size / 256
    return base * {"linear": ratio, "sqrt": math.sqrt(ratio), "none": 1.0}[scaling]
