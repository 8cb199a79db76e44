"""Scoring of a split over all ranks."""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from bigearth.errors import together
from bigearth.learn import metrics, thresholds
from bigearth.learn.collective import Single
from bigearth.learn.input.reader import Reader
from bigearth.learn.labels import labels_of
from bigearth.learn.signals import Stopped, StopRequest


@dataclass
class Evaluation:
    """Scores of a split.

    Attributes:
        loss: mean over all ranks' samples and classes.
        counts: (3, C) int64 of all ranks' samples at the default threshold, see `metrics.count`.
        rows: this rank's (positions, truth, probabilities).
    """

    loss: float
    counts: np.ndarray
    rows: tuple


def evaluate(
    reader: Reader,
    score_step,
    *,
    batch_size: int,
    classes: int,
    collective: Single,
    request: StopRequest,
) -> Evaluation:
    """Scores every sample of a split once, over all ranks.

    Args:
        reader: of the split, in order.
        score_step: batch -> (loss of each sample, probabilities), see `steps.make_score_step`.
        batch_size: of the reader; short batches are padded to it.
        classes: 43 or 19.
        collective: this rank's connection to the others.
        request: whether this rank was asked to stop.

    Raises:
        InputError: on every rank: a sample cannot be read.
        Stopped: on every rank: some rank was asked to stop meanwhile.
    """
    rows = []
    loss_sum = 0.0
    with together(collective.gather):
        for batch in reader.batches():
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
            loss_sum += float(np.sum(loss, dtype=np.float64))
            truth = labels_of(batch["classes"].numpy(), classes)
            rows.append((batch["position"].numpy(), truth, probability))
    scored = sum(len(positions) for positions, *_ in rows)
    loss_sum, samples, stops = collective.sum(
        np.array([loss_sum, scored, request.received], np.float64)
    )
    if stops:
        raise Stopped
    positions, truth, probability = (np.concatenate(parts) for parts in zip(*rows))
    counts = collective.sum(metrics.count(truth, probability >= thresholds.DEFAULT))
    return Evaluation(
        loss=float(loss_sum / samples), counts=counts, rows=(positions, truth, probability)
    )


def join(ranks: list):
    """All ranks' (positions, truth, probabilities) in the order of the positions, each sample
    exactly once."""
    positions, truth, probability = (np.concatenate(parts) for parts in zip(*ranks))
    order = np.argsort(positions)
    if len(np.unique(positions)) != len(positions):
        raise RuntimeError("a patch was scored twice")
    return positions[order], truth[order], probability[order]
