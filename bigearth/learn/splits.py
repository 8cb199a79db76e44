"""Which patches of the file a run uses."""

import numpy as np

from bigearth import nomenclature
from bigearth.errors import InputError
from bigearth.learn.config import TrainConfig
from bigearth.learn.labels import labels_of
from bigearth.store import Store

SPLITS = ("train", "val", "test")


def samples_of(store: Store, split: str, classes: int) -> np.ndarray:
    """Positions of the patches of a split that have a label in the nomenclature of the run: some
    have none among the 19 classes.

    Raises:
        InputError: the file has fewer classes.
    """
    if classes > len(store.labels):
        raise InputError(
            f"{store.path}: has the {len(store.labels)} classes of {store.source}; expected "
            f"{classes}; give --classes {len(store.labels)}"
        )
    positions = store.indices(split)
    if classes == len(nomenclature.LABELS):
        return positions
    return positions[labels_of(store.classes[positions], classes).any(1)]


def check_splits(config: TrainConfig, path: str, samples: dict, world_size: int) -> None:
    """Refuses a file whose splits are too small for this run.

    Args:
        path: of the file.
        samples: split -> positions of the patches to be used.
        world_size: number of ranks.

    Raises:
        InputError: an empty split, more ranks than samples, or fewer training samples than one
            global batch.
    """
    for split in SPLITS:
        count = len(samples[split])
        if count == 0:
            raise InputError(
                f"{path}: no patch with a label of the {config.classes} classes is in the {split} "
                "split; expected at least one; prepare the "
                f"file with a list of {split} patches"
            )
        if count < world_size:
            raise InputError(
                f"{path}: the {split} split has {count} patches for {world_size} "
                f"ranks; start at most {count} ranks"
            )
        if split == "train" and config.epochs and config.batch_size * world_size > count:
            raise InputError(
                f"{path}: the train split has {count} patches, fewer than one global batch of "
                f"{world_size} ranks x "
                f"{config.batch_size}; lower --batch-size to at most {count // world_size}"
            )
