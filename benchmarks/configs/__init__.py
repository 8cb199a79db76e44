"""The options of `python -m benchmarks.train`, and beside this file one recipe a file (`--config benchmarks/configs/local.py`)."""

from dataclasses import dataclass
from typing import Literal, Optional

from benchmarks.program import REQUIRED, option


@dataclass(frozen=True)
class TrainConfig:
    """One training run. The defaults are the paper's settings where it gives one."""

    data: str = option(REQUIRED, "HDF5 file of patches, made by `python -m benchmarks.prepare`")
    output: str = option("results/train", "folder for result.json, metrics.csv, steps.csv and samples.npz")
    seed: int = option(0, "of initial weights, shuffling, augmentation and dropout")

    # inputs
    bands: Literal["multispectral", "rgb"] = option("multispectral", "all 12 bands, or red, green and blue")
    upsample: Literal["stored", "dsen2", "bilinear"] = option(
        "stored", "20 m and 60 m bands at 10 m: data_super as stored, the same but only if DSen2 made it, or bilinear on the device"
    )
    window: int = option(120, "side in pixels of the random window that is trained on; evaluation always sees the whole patch")
    augment: bool = option(True, "random rotation by 90 degrees and flip of every training patch")

    # network and loss
    network: Literal["resnet50", "toy"] = option("resnet50", "toy: one block a stage and an eighth of the channels, to rehearse jobs with")
    batch_norm: Literal["local", "synchronised", "frozen"] = option("local", "batch statistics of each rank, of all ranks, or none")
    dropout: float = option(0.5, "rate before the last dense layer")
    l2: float = option(5e-5, "the loss has l2 times the sum of squared convolution kernels added")
    precision: Literal["float32", "bfloat16", "float16"] = option("float32", "compute dtype of convolutions; variables stay float32")

    # optimizer and schedule
    epochs: int = option(100, "passes over the training split; 0 only evaluates")
    steps_per_epoch: Optional[int] = option(None, "end each epoch after this many steps (whole epochs if not given)")
    batch_size: int = option(64, "samples per rank and step")
    learning_rate: float = option(0.1, "for a global batch of 256; it is scaled with the global batch")
    momentum: float = option(0.9, "Nesterov momentum")
    schedule: Literal["step", "polynomial", "cosine"] = option("step", "decay after the warm-up")
    warmup_epochs: float = option(5.0, "the rate grows linearly from zero over these, step by step")
    decay_epochs: str = option("30,60,80", "step schedule: the rate falls to a tenth at each of these epochs")

    # machine
    threads: int = option(0, "CPU threads per rank for one operation; 0 lets TensorFlow take all cores")
    collective: Literal["auto", "horovod", "single"] = option("auto", "auto takes Horovod if more than one rank was launched")
    groups: int = option(4, "gradients are reduced in this many groups, last layers first")
    samples: int = option(12, "test patches whose picture and scores are kept in samples.npz")
