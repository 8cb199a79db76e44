"""The options of `python -m benchmarks.train`; its recipes are in benchmarks/configs."""

from dataclasses import dataclass
from typing import Literal, Optional

from bigearth.bands import NAMES
from bigearth.cli import REQUIRED, option
from bigearth.errors import InputError

FILES, INPUTS, AUGMENTATION = "files", "inputs", "augmentation"
NETWORK, OPTIMIZER = "network and loss", "optimizer and schedule"
LONG_RUNS, MACHINE = "long runs", "machine"


@dataclass(frozen=True)
class TrainConfig:
    """One training run. The defaults are the paper's settings where it gives one."""

    data: str = option(
        REQUIRED,
        "HDF5 file of patches, made by `python -m benchmarks.prepare`",
        group=FILES,
        repeats=True,
        resumes=True,
    )
    out: str = option(
        "results/train",
        "folder for the record, tables, samples, logs and checkpoints",
        group=FILES,
        repeats=True,
        resumes=True,
    )
    seed: int = option(
        0,
        "of initial weights, shuffling, augmentation and dropout",
        least=0,
        most=2**31 - 1,
        group=FILES,
        repeats=True,
    )
    samples: int = option(
        12,
        "test patches whose picture and scores are kept in samples.npz",
        least=1,
        group=FILES,
        repeats=True,
        resumes=True,
    )
    mlperf: bool = option(
        False, "write MLPerf-style events to mlperf.log", group=FILES, repeats=True, resumes=True
    )
    timeline: Optional[str] = option(
        None,
        "write a trace of the collectives, for chrome://tracing, to this file",
        group=FILES,
        repeats=True,
        resumes=True,
    )

    bands: Literal[("multispectral", "rgb", *NAMES)] = option(
        "multispectral", "all 12 bands; red, green and blue; or a single one", group=INPUTS
    )
    upsample: Literal["stored", "dsen2", "bilinear"] = option(
        "stored",
        "20 m and 60 m bands at 10 m: data_super as stored, the same but only if DSen2 "
        "made it, or bilinear on the device",
        group=INPUTS,
    )
    classes: Literal["43", "19"] = option(
        "43",
        "CORINE level 3, or the 19-class nomenclature (patches with no such class are left out)",
        group=INPUTS,
    )
    split: Literal["stored", "60/20/20"] = option(
        "stored",
        "as in the file, or 60, 20 and 20 % of its patches for training, validation and test, "
        "drawn by their names",
        group=INPUTS,
    )
    resample: float = option(
        0.0,
        "train patches with a class rarer than this share of the train split come more often "
        "(repeat factor sampling); 0 is off",
        least=0,
        most=1,
        group=INPUTS,
    )
    window: int = option(
        120,
        "side in pixels of the random window that is trained on; evaluation always sees the "
        "whole patch",
        least=32,
        most=120,
        group=INPUTS,
    )
    stage: Optional[str] = option(
        None,
        "folder on the node's own disk to copy the node's part of the data to before training",
        group=INPUTS,
        resumes=True,
    )

    augment: bool = option(
        True, "random rotation by 90 degrees and flip of every training patch", group=AUGMENTATION
    )
    mixup: float = option(
        0.0,
        "mix pairs of patches; each patch has a weight from Beta(x, x) for this x; 0 is off",
        least=0,
        most=100,
        group=AUGMENTATION,
    )
    label_smoothing: float = option(
        0.0, "labels y become y (1 - x) + x / 2", least=0, most=0.99, group=AUGMENTATION
    )

    network: Literal["resnet50", "resnet14", "resnet5"] = option(
        "resnet50",
        "resnet14 (one block per stage, a quarter of the channels) is for studies, resnet5 (one "
        "stage of it) for rehearsals of jobs",
        group=NETWORK,
    )
    batch_norm: Literal["local", "synchronised", "frozen"] = option(
        "local", "batch statistics of each rank, of all ranks, or none", group=NETWORK
    )
    zero_gamma: bool = option(
        False, "the last BatchNorm of every block starts at gamma 0", group=NETWORK
    )
    prior_bias: bool = option(
        False,
        "the last layer starts by predicting every class with its frequency in the train split",
        group=NETWORK,
    )
    dropout: float = option(
        0.5, "rate before the last dense layer", least=0, most=0.99, group=NETWORK
    )
    loss: Literal["bce", "weighted", "asymmetric"] = option(
        "bce", "binary cross-entropy, class-weighted, or asymmetric", group=NETWORK
    )
    l2: float = option(
        5e-5,
        "the loss has l2 times the sum of squared convolution kernels added",
        least=0,
        group=NETWORK,
    )
    precision: Literal["float32", "tf32", "bfloat16", "float16"] = option(
        "float32",
        "what convolutions compute in; tf32: float32 on a GPU's tensor cores; variables "
        "stay float32",
        group=NETWORK,
    )
    tune_thresholds: bool = option(
        False,
        "score the test split at per-class thresholds that are best on the validation split",
        group=NETWORK,
        resumes=True,
    )

    epochs: int = option(
        100, "passes over the training split; 0 only evaluates", least=0, group=OPTIMIZER
    )
    steps_per_epoch: Optional[int] = option(
        None,
        "end each epoch after this many steps (whole epochs if not given)",
        least=1,
        group=OPTIMIZER,
    )
    batch_size: int = option(
        64, "samples per rank and step", least=1, group=OPTIMIZER, resumes=True
    )
    optimizer: Literal["sgd", "lars", "adamw"] = option(
        "sgd", "sgd has Nesterov momentum", group=OPTIMIZER
    )
    learning_rate: float = option(0.1, "for a global batch of 256", least=0, group=OPTIMIZER)
    scaling: Literal["linear", "sqrt", "none"] = option(
        "linear", "how the rate grows with the global batch", group=OPTIMIZER
    )
    momentum: float = option(0.9, "of sgd and lars", least=0, most=0.9999, group=OPTIMIZER)
    weight_decay: float = option(
        0.0,
        "decay of kernels in the optimizer; BatchNorm and biases are left out",
        least=0,
        group=OPTIMIZER,
    )
    schedule: Literal["step", "polynomial", "cosine"] = option(
        "step", "decay after the warm-up", group=OPTIMIZER
    )
    warmup_epochs: float = option(
        5.0, "the rate grows linearly from zero over these, step by step", least=0, group=OPTIMIZER
    )
    decay_epochs: str = option(
        "30,60,80",
        "step schedule: the rate falls to a tenth at each of these epochs",
        group=OPTIMIZER,
    )
    loss_limit: float = option(
        10.0,
        "stop when the loss averaged over ranks is above this",
        least=0,
        group=OPTIMIZER,
        resumes=True,
    )

    interval: Optional[float] = option(
        None,
        "a timing run: end training when the 95 % interval of the mean step time is within this "
        "share of it (0.01 is +-1 %), after 30 to 1,000 steps; whole epochs if not given",
        least=1e-4,
        most=0.5,
        group=OPTIMIZER,
    )

    checkpoint_epochs: int = option(
        0,
        "save a checkpoint after every so many epochs, and when a signal ends the job; 0: only "
        "at a signal",
        least=0,
        group=LONG_RUNS,
        repeats=True,
        resumes=True,
    )
    checkpoint_keep: int = option(
        3,
        "keep this many of the last checkpoints",
        least=1,
        group=LONG_RUNS,
        repeats=True,
        resumes=True,
    )
    resume: bool = option(
        False,
        "go on from the last checkpoint in the output folder, if there is one",
        group=LONG_RUNS,
        repeats=True,
        resumes=True,
    )

    eager: bool = option(
        False,
        "run operations one by one instead of compiling the steps: starts at once and then is slow",
        group=MACHINE,
        resumes=True,
    )
    threads: int = option(
        0,
        "CPU threads per rank for one operation; 0 lets TensorFlow take all cores",
        least=0,
        most=4096,
        group=MACHINE,
        resumes=True,
    )
    groups: int = option(
        4,
        "gradients are reduced in this many groups, last layers first",
        least=1,
        most=1000,
        group=MACHINE,
        resumes=True,
    )
    compression: Literal["none", "fp16"] = option(
        "none", "format in which gradients cross the network", group=MACHINE, resumes=True
    )

    def boundaries(self) -> list:
        """The epochs at which the step schedule falls, as numbers."""
        return [float(part) for part in self.decay_epochs.split(",") if part.strip()]

    def check(self) -> None:
        """Refuses what no limit of one option can: boundaries that are not ascending numbers.

        Raises:
            InputError: names the option.
        """
        try:
            ascending = self.boundaries() == sorted(self.boundaries())
        except ValueError:
            ascending = False
        if not ascending:
            raise InputError(
                f"command line: --decay-epochs is {self.decay_epochs!r}; expected ascending "
                "numbers such as 30,60,80; correct the option"
            )
