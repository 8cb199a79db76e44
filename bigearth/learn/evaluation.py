"""Scoring of a split over all ranks."""

import itertools
from dataclasses import dataclass
from typing import Optional

import numpy as np
import tensorflow as tf

from bigearth.errors import together
from bigearth.learn import metrics, thresholds
from bigearth.learn.collective import Single
from bigearth.learn.input.reader import Reader
from bigearth.learn.labels import labels_of
from bigearth.learn.signals import StopRequest


@dataclass
class Evaluation:
    """Scores of a split: `loss` and `counts` of all ranks' samples, and `rows`: this rank's
    (positions, truth, probabilities)."""

    loss: float
    counts: metrics.Counts
    rows: tuple


def evaluate(
    reader: Reader,
    score_step,
    batch_size: int,
    classes: int,
    collective: Single,
    request: StopRequest,
    cut=thresholds.DEFAULT,
) -> Optional[Evaluation]:
    """Scores every sample of a split once, over all ranks; a class is predicted where its
    probability is at least `cut`.

    Returns:
        None if some rank was told to stop meanwhile.
    """
    counts = metrics.Counts(classes)
    rows = []
    loss_sum = 0.0
    with together(collective.gather):
        batches = iter(reader.dataset(0))
        for batch in itertools.islice(_reading(batches, reader), reader.steps):
            if request.received:
                break
            n = int(batch["position"].shape[0])
            # every batch has one shape: one trace, and a sample's score does not depend on how many
            # ranks share the split
            padded = {
                key: tf.pad(x, [[0, batch_size - n]] + [[0, 0]] * (len(x.shape) - 1))
                for key, x in batch.items()
            }
            loss, probability = (x.numpy()[:n] for x in score_step(padded))
            truth = labels_of(batch["classes"].numpy(), classes)
            counts.update(truth, probability >= cut)
            loss_sum += float(np.sum(loss, dtype=np.float64))
            rows.append((batch["position"].numpy(), truth, probability))
    loss_sum, samples, stops = collective.sum(
        np.array([loss_sum, sum(len(r[0]) for r in rows), request.received], np.float64)
    )
    if stops:
        return None
    counts = metrics.Counts.from_array(collective.sum(counts.as_array()), classes)
    return Evaluation(
        float(loss_sum / samples), counts, tuple(np.concatenate(parts) for parts in zip(*rows))
    )


def _reading(batches, reader):
    """The batches, and the reader's own InputError instead of what TensorFlow makes of it."""
    try:
        yield from batches
    except tf.errors.OpError:
        raise reader.failure or RuntimeError("the input pipeline failed") from None


def join(ranks: list):
    """All ranks' (positions, truth, probabilities) in the order of the positions, each sample
    exactly once."""
    positions, truth, probability = (np.concatenate(parts) for parts in zip(*ranks))
    order = np.argsort(positions)
    if len(np.unique(positions)) != len(positions):
        raise RuntimeError("a patch was scored twice")
    return positions[order], truth[order], probability[order]
