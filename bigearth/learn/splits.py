"""Which patches of the file a run uses."""

import hashlib

import numpy as np

from bigearth import nomenclature
from bigearth.errors import InputError
from bigearth.learn.config import TrainConfig
from bigearth.learn.labels import labels_of
from bigearth.store import Store

SPLITS = ("train", "val", "test")
PARTS = (0.6, 0.2)  # of training and validation in the split "60/20/20"; test is the rest


def drawn(store: Store) -> dict:
    """A split of 60, 20 and 20 % of all patches that are in a split of the file: those left out
    there (snow, cloud) stay left out.

    Patches go by the SHA-256 of their names: any file of the same patches gives the same split.
    The paper's test split was 20 % (its Table 3); it does not say which patches.

    Returns:
        split -> ascending positions, int64.
    """
    used = np.concatenate([store.indices(split) for split in SPLITS])
    digests = [hashlib.sha256(store.names[i].encode()).hexdigest() for i in used]
    order = used[np.argsort(digests)]
    edges = np.round(np.cumsum(PARTS) * len(order)).astype(int)
    return {split: np.sort(part) for split, part in zip(SPLITS, np.split(order, edges))}


def samples_of(store: Store, kind: str, classes: int) -> dict:
    """The patches of each split that have a label in the nomenclature of the run: some have none
    among the 19 classes.

    Args:
        kind: "stored", or "60/20/20" as `drawn` draws it.
        classes: of the run, 43 or 19.

    Returns:
        split -> ascending positions, int64.

    Raises:
        InputError: the file has fewer classes.
    """
    if classes > len(store.labels):
        raise InputError(
            f"{store.path}: has the {len(store.labels)} classes of {store.source}; expected "
            f"{classes}; give --classes {len(store.labels)}"
        )
    stored = {split: store.indices(split) for split in SPLITS}
    found = stored if kind == "stored" else drawn(store)
    if classes == len(nomenclature.LABELS):
        return found
    labels = labels_of(store.classes, classes).any(1)
    return {split: positions[labels[positions]] for split, positions in found.items()}


def repeated(positions: np.ndarray, labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Positions with those of rare classes more often: repeat factor sampling (Gupta et al. 2019).

    A patch comes max(1, sqrt(share / f)) times in the mean, where f is the frequency of its rarest
    class; the fraction is drawn.

    Args:
        positions: (M,) ascending.
        labels: (M, C) multi-hot, of the same patches.
        share: classes that are less frequent are rare; 0: no patch comes twice.
        seed: of the draws: the same on every rank.

    Returns:
        (at least M,) ascending, every position at least once.
    """
    frequency = np.asarray(labels, bool).mean(0)
    factor = np.sqrt(np.maximum(share / np.where(frequency > 0, frequency, 1), 1))
    wanted = np.where(np.asarray(labels, bool), factor, 1.0).max(1)
    chance = np.random.default_rng(seed).random(len(positions))
    return np.repeat(positions, np.floor(wanted + chance).astype(int))


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
