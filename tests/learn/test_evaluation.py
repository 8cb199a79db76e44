"""bigearth/learn/evaluation.py: every sample once, over any number of ranks, the same scores."""

import numpy as np
import pytest
import tensorflow as tf

from bigearth.learn.collective import Single
from bigearth.learn.evaluation import evaluate, join
from bigearth.learn.input.reader import Reader
from bigearth.learn.signals import Stopped, StopRequest

BATCH = 8


def score(batch):
    """Loss and probabilities that follow from a sample's pixels alone."""
    level = tf.reduce_mean(tf.cast(batch["data_60m"], tf.float32), [1, 2, 3]) / 10_000
    return level, tf.tile(level[:, None], [1, 43])


class Beside(Single):
    """The first of two ranks; what the second has summed is added."""

    def __init__(self, other):
        self._other = iter(other.summed)

    def sum(self, array):
        return array + next(self._other)


class Recorded(Single):
    """The second of two ranks; what it sums is kept for the first."""

    def __init__(self):
        self.summed = []

    def sum(self, array):
        self.summed.append(array.copy())
        return array


def reader(patches, rank=0, size=1):
    return Reader(patches, patches.indices("test"), ("data_60m",), BATCH, rank, size, shuffle=False)


def score_all(reader, collective, request):
    return evaluate(
        reader, score, batch_size=BATCH, classes=43, collective=collective, request=request
    )


def test_loss_counts_and_rows_are_those_of_every_sample_once(patches):
    positions = patches.indices("test")
    level = (
        np.array([patches.array("data_60m")[p].mean(dtype=np.float64) for p in positions]) / 10_000
    )
    found = score_all(reader(patches), Single(), StopRequest())
    assert found.loss == pytest.approx(level.mean(), rel=1e-5)
    at, truth, probability = join([found.rows])
    np.testing.assert_array_equal(at, positions)
    np.testing.assert_array_equal(truth, patches.classes[positions])
    predicted = probability >= 0.5
    assert 0 < predicted.sum() < predicted.size
    expected = [predicted & (truth == 1), predicted & (truth == 0), ~predicted & (truth == 1)]
    np.testing.assert_array_equal(found.counts, [part.sum(0) for part in expected])


def test_two_ranks_give_the_scores_of_one(patches):
    one = score_all(reader(patches), Single(), StopRequest())
    other = Recorded()
    second = score_all(reader(patches, 1, 2), other, StopRequest())
    first = score_all(reader(patches, 0, 2), Beside(other), StopRequest())
    assert first.loss == pytest.approx(one.loss, rel=1e-12)
    np.testing.assert_array_equal(first.counts, one.counts)
    for joined, whole in zip(join([first.rows, second.rows]), join([one.rows])):
        np.testing.assert_array_equal(joined, whole)


def test_a_rank_that_is_told_to_stop_ends_it(patches):
    request = StopRequest()
    request.received = True
    with pytest.raises(Stopped):
        score_all(reader(patches), Single(), request)


def test_a_sample_that_comes_twice_is_an_error(patches):
    rows = score_all(reader(patches), Single(), StopRequest()).rows
    with pytest.raises(RuntimeError, match="scored twice"):
        join([rows, rows])
