"""Is there something to learn in a file of patches that only a network learns? Prints F1 of simple
baselines, and of trained networks.

    python -m benchmarks.studies.learnability --data FILE --records ms/result.json,rgb/result.json

All are fitted on the training split and scored on the test split. The baselines:

- constant: always the same classes, those whose set has the best F1 micro on the training split
- linear: one logistic regression per class on the means of the bands over a patch, standardised;
  threshold 0.5
- linear + std: the same with the standard deviations of the bands as well

A network's row is read from the result record of `python -m benchmarks.train` on the same file.
"""

import dataclasses

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import precision_recall_fscore_support

from bigearth import bands, cli, constant, record, store
from bigearth.errors import InputError

BLOCK = 256  # patches read together: 85 MB


@dataclasses.dataclass(frozen=True)
class Config:
    data: str = cli.option(cli.REQUIRED, "HDF5 file of patches")
    records: str = cli.option(
        "", "result records of `python -m benchmarks.train` on that file, joined by commas"
    )


def band_statistics(patches: store.Store, indices: np.ndarray) -> np.ndarray:
    """Means, then standard deviations, of every band over each patch: (n, 24) float64, digital
    numbers."""
    pixels = patches.array("data_super")
    rows = []
    for start in range(0, len(indices), BLOCK):
        block = pixels[indices[start : start + BLOCK]].astype(np.float32)
        rows.append(np.concatenate([block.mean((1, 2)), block.std((1, 2))], axis=1))
    return np.concatenate(rows).astype(np.float64)


def constant_guess(train_labels: np.ndarray) -> np.ndarray:
    """(C,) uint8: the set of classes with the best F1 micro if always guessed; train_labels is (n,
    C)."""
    support = train_labels.sum(0, dtype=np.int64).tolist()
    _, guess = constant.best(support, len(train_labels))
    labels = np.zeros(len(support), np.uint8)
    labels[guess] = 1
    return labels


def linear(train: np.ndarray, train_labels: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Fits one logistic regression per class on standardised features and predicts: (m, C) uint8.

    Args:
        train: (n, F) features; train_labels: (n, C); test: (m, F).
    """
    mean, std = train.mean(0), train.std(0)
    predicted = np.empty((len(test), train_labels.shape[1]), np.uint8)
    for c, truth in enumerate(train_labels.T):
        if truth.min() == truth.max():
            predicted[:, c] = truth[0]
        else:
            model = LogisticRegression(C=10.0, max_iter=1000).fit((train - mean) / std, truth)
            predicted[:, c] = model.predict((test - mean) / std)
    return predicted


def _row(name: str, truth: np.ndarray, predicted: np.ndarray) -> tuple:
    precision, recall, micro, _ = precision_recall_fscore_support(
        truth, predicted, average="micro", zero_division=0
    )
    macro = precision_recall_fscore_support(truth, predicted, average="macro", zero_division=0)[2]
    return name, precision, recall, micro, macro


def baselines(patches: store.Store) -> list:
    """Rows (name, precision micro, recall micro, F1 micro, F1 macro) of the baselines on a file.

    Raises:
        InputError: the file has no training or no test patches.
    """
    train, test = patches.indices("train"), patches.indices("test")
    if not len(train) or not len(test):
        raise InputError(
            f"{patches.path}: {len(train)} training and {len(test)} test patches; "
            "expected some of both; give another file"
        )
    x, z = band_statistics(patches, train), band_statistics(patches, test)
    y, truth = patches.classes[train], patches.classes[test]
    rgb, every = list(bands.RGB), list(range(len(bands.BANDS)))
    rows = [_row("constant", truth, np.repeat(constant_guess(y)[None], len(test), 0))]
    for name, columns in (("RGB", rgb), ("12 bands", every)):
        both = columns + [len(every) + c for c in columns]
        rows.append(_row(f"linear, {name}", truth, linear(x[:, columns], y, z[:, columns])))
        rows.append(_row(f"linear + std, {name}", truth, linear(x[:, both], y, z[:, both])))
    return rows


def network(path: str, digest: str) -> tuple:
    """The row of a trained network, from its record.

    Raises:
        InputError: not the record of a training on the file with this digest.
    """
    content = record.read(path)
    if content.workload != "train":
        raise InputError(
            f"{path}: record of workload {content.workload!r}, expected 'train'; "
            "give the records of benchmarks.train"
        )
    if content.provenance.get("dataset_digest") != digest:
        raise InputError(
            f"{path}: trained on another file "
            f"({content.provenance.get('dataset_digest')}); expected {digest}"
        )
    chosen = content.config["bands"]
    name = {"rgb": "RGB", "multispectral": "12 bands"}.get(chosen, chosen)
    values = (content.value(m) for m in ("precision_micro", "recall_micro", "f1_micro", "f1_macro"))
    return (f"ResNet-50, {name}, {content.config['epochs']} epochs", *values)


def run(config: Config) -> None:
    patches = store.Store(config.data)
    networks = [network(path, patches.digest) for path in config.records.split(",") if path]
    rows = baselines(patches) + networks
    print("| model | precision | recall | F1 micro | F1 macro |\n|---|---|---|---|---|")
    for name, *values in rows:
        print(f"| {name} | " + " | ".join(f"{v:.3f}" for v in values) + " |")


if __name__ == "__main__":
    cli.main(
        Config,
        run,
        cli.Program(
            module="benchmarks.studies.learnability",
            description="F1 of simple baselines, beside that of trained networks.",
            example="--data patches.h5 --records results/train/result.json",
        ),
    )
