import math

import numpy as np
import pytest
import tensorflow as tf

from bigearth.learn import losses


def example(seed=0):
    random = np.random.default_rng(seed)
    labels = (random.random((6, 43)) < 0.1).astype(np.float32)
    labels[0] = random.random(43)  # mixed-up labels are fractions
    return labels, random.normal(0, 3, (6, 43)).astype(np.float32)


def by_loop(labels, logits, one):
    """The mean over samples and classes of one(y, p), with p the probability in double
    precision."""
    terms = [
        one(float(y), 1 / (1 + math.exp(-float(x))), c)
        for row, xs in zip(labels, logits)
        for c, (y, x) in enumerate(zip(row, xs))
    ]
    return sum(terms) / len(terms)


def test_binary_cross_entropy_by_a_loop():
    labels, logits = example()
    expected = by_loop(labels, logits, lambda y, p, c: -y * math.log(p) - (1 - y) * math.log(1 - p))
    assert float(losses.bce(labels, logits)) == pytest.approx(expected, rel=1e-5)


def test_weighted_by_a_loop():
    labels, logits = example()
    weights = np.linspace(0.5, 20, 43).astype(np.float32)
    expected = by_loop(
        labels,
        logits,
        lambda y, p, c: -float(weights[c]) * y * math.log(p) - (1 - y) * math.log(1 - p),
    )
    assert float(losses.weighted_bce(labels, logits, weights)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "positive, negative, margin", [(0, 4, 0.05), (1, 4, 0.05), (0, 2, 0.0), (2, 3, 0.2)]
)
def test_asymmetric_by_a_loop(positive, negative, margin):
    labels, logits = example()

    def one(y, p, c):
        shifted = max(p - margin, 0)
        return -y * (1 - p) ** positive * math.log(p) - (1 - y) * shifted**negative * math.log(
            1 - shifted
        )

    found = losses.asymmetric(labels, logits, positive, negative, margin)
    assert float(found) == pytest.approx(by_loop(labels, logits, one), rel=1e-4)


def test_asymmetric_without_asymmetry_is_binary_cross_entropy():
    labels, logits = example()
    assert float(losses.asymmetric(labels, logits, 0.0, 0.0, 0.0)) == pytest.approx(
        float(losses.bce(labels, logits)), rel=1e-5
    )


def test_weights_from_frequencies():
    classes = np.zeros((1000, 5), np.uint8)
    classes[:500, 0] = 1
    classes[:200, 1] = 1
    classes[:1, 2] = 1
    classes[:, 4] = 1
    np.testing.assert_allclose(losses.class_weights(classes), [1, 4, 20, 20, 0.05])
    np.testing.assert_allclose(losses.class_weights(classes, limit=1000), [1, 4, 999, 1000, 0.001])


@pytest.mark.parametrize("name", ("bce", "weighted", "asymmetric"))
def test_finite_with_finite_gradients_at_extreme_logits(name):
    loss = losses.make(name, np.eye(43, dtype=np.uint8))
    for dtype in (tf.float32, tf.float16, tf.bfloat16):
        logits = tf.cast(
            tf.constant([[-200.0, -20.0, 0.0, 20.0, 200.0] * 8 + [0.0] * 3] * 2), dtype
        )
        labels = tf.constant(np.stack([np.zeros(43), np.ones(43)]), tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(logits)
            value = loss(labels, logits)
        assert value.dtype == tf.float32 and np.isfinite(value)
        assert np.isfinite(tf.cast(tape.gradient(value, logits), tf.float32)).all()


@pytest.mark.parametrize("name", ("bce", "weighted", "asymmetric"))
def test_going_down_the_gradient_fits_the_labels(name):
    labels = (np.random.default_rng(0).random((8, 43)) < 0.2).astype(np.float32)
    logits = tf.Variable(tf.zeros((8, 43)))
    loss = losses.make(name, labels)
    for _ in range(200):
        with tf.GradientTape() as tape:
            value = loss(labels, logits)
        logits.assign_sub(100.0 * tape.gradient(value, logits))
    assert ((logits.numpy() > 0) == (labels > 0)).all()
