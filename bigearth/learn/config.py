"""The options of `python -m benchmarks.train`, and beside this file one recipe a file (`--config
benchmarks/configs/local.py`)."""

import math
from dataclasses import dataclass
from typing import Literal, Optional

from bigearth.cli import REQUIRED, option
from bigearth.errors import InputError


@dataclass(frozen=True)
class TrainConfig:
    """One training run. The defaults are the paper's settings where it gives one."""

    data: str = option(REQUIRED, "HDF5 file of patches, made by `python -m benchmarks.prepare`")
    output: str = option(
        "results/train", "folder for the record, tables, samples, logs and checkpoints"
    )
    seed: int = option(0, "of initial weights, shuffling, augmentation and dropout")

    # inputs
    bands: Literal["multispectral", "rgb"] = option(
        "multispectral", "all 12 bands, or red, green and blue"
    )
    upsample: Literal["stored", "dsen2", "bilinear"] = option(
        "stored",
        "20 m and 60 m bands at 10 m: data_super as stored, the same but only if DSen2 "
        "made it, or bilinear on the device",
    )
    classes: Literal["43", "19"] = option(
        "43",
        "CORINE level 3, or the 19-class nomenclature (patches with no such class are left out)",
    )
    window: int = option(
        120,
        "side in pixels of the random window that is trained on; evaluation "
        "always sees the whole patch",
    )
    stage: Optional[str] = option(
        None, "folder on the node's own disk to copy the node's part of the data to before training"
    )

    # augmentation
    augment: bool = option(True, "random rotation by 90 degrees and flip of every training patch")
    mixup: float = option(
        0.0, "mix pairs of patches, weights from Beta(x, x) for this x, one a patch; 0 is off"
    )
    label_smoothing: float = option(0.0, "labels y become y (1 - x) + x / 2")

    # network and loss
    network: Literal["resnet50", "resnet14", "resnet5"] = option(
        "resnet50",
        "resnet14 (one block a stage, a quarter of the channels) is for studies, resnet5 (one "
        "stage of it) for rehearsals of jobs",
    )
    batch_norm: Literal["local", "synchronised", "frozen"] = option(
        "local", "batch statistics of each rank, of all ranks, or none"
    )
    zero_gamma: bool = option(False, "the last BatchNorm of every block starts at gamma 0")
    prior_bias: bool = option(
        False,
        "the last layer starts by predicting every class with its frequency in the train split",
    )
    dropout: float = option(0.5, "rate before the last dense layer")
    loss: Literal["bce", "weighted", "asymmetric"] = option(
        "bce", "binary cross-entropy, class-weighted, or asymmetric"
    )
    l2: float = option(5e-5, "the loss has l2 times the sum of squared convolution kernels added")
    precision: Literal["float32", "tf32", "bfloat16", "float16"] = option(
        "float32",
        "what convolutions compute in; tf32: float32 on a GPU's tensor cores; variables "
        "stay float32",
    )
    tune_thresholds: bool = option(
        False,
        "score the test split at the thresholds, one a class, "
        "that are best on the validation split",
    )

    # optimizer and schedule
    epochs: int = option(100, "passes over the training split; 0 only evaluates")
    steps_per_epoch: Optional[int] = option(
        None, "end each epoch after this many steps (whole epochs if not given)"
    )
    batch_size: int = option(64, "samples per rank and step")
    optimizer: Literal["sgd", "lars", "lamb", "adamw"] = option("sgd", "sgd has Nesterov momentum")
    learning_rate: float = option(0.1, "for a global batch of 256")
    scaling: Literal["linear", "sqrt", "none"] = option(
        "linear", "how the rate grows with the global batch"
    )
    momentum: float = option(0.9, "of sgd and lars")
    momentum_correction: bool = option(
        True, "rescale the momentum of sgd and lars when the rate changes"
    )
    weight_decay: float = option(
        0.0, "decay of kernels in the optimizer; BatchNorm and biases are left out"
    )
    clip_norm: float = option(0.0, "shrink the gradient to this norm if it is longer; 0 is off")
    schedule: Literal["step", "polynomial", "cosine"] = option("step", "decay after the warm-up")
    warmup_epochs: float = option(5.0, "the rate grows linearly from zero over these, step by step")
    decay_epochs: str = option(
        "30,60,80", "step schedule: the rate falls to a tenth at each of these epochs"
    )
    loss_limit: float = option(10.0, "stop when the loss averaged over ranks is above this")

    # long runs
    checkpoint_epochs: int = option(
        0,
        "save a checkpoint after every so many epochs, and when a "
        "signal ends the job; 0: only at a signal",
    )
    checkpoint_keep: int = option(3, "keep this many of the last checkpoints")
    resume: bool = option(
        False, "go on from the last checkpoint in the output folder, if there is one"
    )

    # machine
    eager: bool = option(
        False,
        "run operations one by one instead of compiling the steps: starts at once and then is slow",
    )
    threads: int = option(
        0, "CPU threads per rank for one operation; 0 lets TensorFlow take all cores"
    )
    collective: Literal["auto", "horovod", "single"] = option(
        "auto", "auto takes Horovod if more than one rank was launched"
    )
    groups: int = option(4, "gradients are reduced in this many groups, last layers first")
    compression: Literal["none", "fp16", "bf16"] = option(
        "none", "format in which gradients cross the network"
    )
    fusion_mb: int = option(64, "size of the buffers in which Horovod sends small tensors together")
    timeline: Optional[str] = option(
        None, "write a trace of the collectives, for chrome://tracing, to this file"
    )
    mlperf: bool = option(False, "write MLPerf-style events to mlperf.log")
    samples: int = option(12, "test patches whose picture and scores are kept in samples.npz")

    def boundaries(self) -> list:
        """The epochs at which the step schedule falls, as numbers."""
        return [float(part) for part in self.decay_epochs.split(",") if part.strip()]

    def check(self) -> None:
        """Refuses values that no run can have.

        Raises:
            InputError: names the option.
        """
        for name, (low, high) in LIMITS.items():
            value = getattr(self, name)
            if value is not None and not (low <= value <= high and math.isfinite(value)):
                expected = f"{low} to {high}" if high < INFINITE else f"at least {low}"
                raise InputError(
                    f"command line: {_flag(name)} is {value}; expected {expected}; "
                    "correct the option or the config file"
                )
        try:
            ascending = self.boundaries() == sorted(self.boundaries())
        except ValueError:
            ascending = False
        if not ascending:
            raise InputError(
                f"command line: --decay-epochs is {self.decay_epochs!r}; expected ascending "
                "numbers such as 30,60,80; correct the option"
            )


INFINITE = float("inf")
LIMITS = {  # numeric option -> smallest and largest value
    "seed": (0, 2**31 - 1),
    "window": (32, 120),
    "mixup": (0, 100),
    "label_smoothing": (0, 0.99),
    "dropout": (0, 0.99),
    "l2": (0, INFINITE),
    "epochs": (0, INFINITE),
    "steps_per_epoch": (1, INFINITE),
    "batch_size": (1, INFINITE),
    "learning_rate": (0, INFINITE),
    "momentum": (0, 0.9999),
    "weight_decay": (0, INFINITE),
    "clip_norm": (0, INFINITE),
    "warmup_epochs": (0, INFINITE),
    "loss_limit": (0, INFINITE),
    "checkpoint_epochs": (0, INFINITE),
    "checkpoint_keep": (1, INFINITE),
    "threads": (0, 4096),
    "groups": (1, 1000),
    "fusion_mb": (0, 4096),
    "samples": (1, INFINITE),
}


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
