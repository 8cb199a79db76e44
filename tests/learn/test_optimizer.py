"""Every optimizer against a NumPy loop written from its paper, step by step, with a changing
rate."""

import numpy as np
import pytest
import tensorflow as tf

from bigearth.learn import optimizer

RATES = [0.01, 0.02, 0.03, 0.003, 0.003]
DECAY = 0.05


def norm(x):
    return np.sqrt(np.sum(np.square(x, dtype=np.float64)))


def numpy_sgd(w, grads, rates, decay, momentum=0.9, nesterov=True, trust=None):
    velocity, previous = np.zeros_like(w), rates[0]
    for g, rate in zip(grads, rates):
        g = np.asarray(g, np.float64)
        scale = trust(w, g) if trust else 1.0
        step = rate * scale * (g + decay * w)
        velocity = momentum * velocity * (rate / previous) + step
        w = w - (momentum * velocity + step if nesterov else velocity)
        previous = rate
    return w


def numpy_adam(w, grads, rates, decay):
    m = v = np.zeros_like(w)
    for t, (g, rate) in enumerate(zip(grads, rates), 1):
        g = np.asarray(g, np.float64)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        update = (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8) + decay * w
        w = w - rate * update
    return w


def lars_trust(w, g):
    return 0.001 * norm(w) / (norm(g) + DECAY * norm(w))


REFERENCES = {
    "sgd": (
        lambda w, g: numpy_sgd(w, g, RATES, DECAY),
        lambda w, g: numpy_sgd(w, g, RATES, 0.0),
    ),
    "lars": (
        lambda w, g: numpy_sgd(w, g, RATES, DECAY, nesterov=False, trust=lars_trust),
        lambda w, g: numpy_sgd(w, g, RATES, 0.0, nesterov=False),
    ),
    "adamw": (
        lambda w, g: numpy_adam(w, g, RATES, DECAY),
        lambda w, g: numpy_adam(w, g, RATES, 0.0),
    ),
}


def run(kind, starts, grads, rates=RATES, decay=DECAY):
    variables = [tf.Variable(s, dtype=tf.float32) for s in starts]
    optim = optimizer.create(kind, variables, decay, 0.9)
    apply = tf.function(lambda g, rate: optim.apply(g, rate))
    for step, rate in enumerate(rates):
        apply([tf.constant(g[step], tf.float32) for g in grads], tf.constant(rate, tf.float32))
    return [v.numpy() for v in variables]


@pytest.mark.parametrize("kind", list(REFERENCES))
def test_equals_the_numpy_loop(kind):
    random = np.random.default_rng(0)
    kernel, bias = random.normal(size=(3, 3, 4, 5)), random.normal(size=5)
    grads = [random.normal(size=(len(RATES), *w.shape)) for w in (kernel, bias)]
    got = run(kind, (kernel, bias), grads)
    for value, start, gradients, reference in zip(got, (kernel, bias), grads, REFERENCES[kind]):
        np.testing.assert_allclose(value, reference(start, gradients), rtol=2e-5, atol=2e-6)


def test_sgd_at_one_rate_is_that_of_keras():
    random = np.random.default_rng(1)
    start, grads = random.normal(size=(4, 3)), random.normal(size=(5, 4, 3))
    (got,) = run("sgd", [start], [grads], [0.02] * 5, decay=0.0)
    keras = tf.keras.optimizers.SGD(0.02, momentum=0.9, nesterov=True)
    variable = tf.Variable(start, dtype=tf.float32)
    for g in grads:
        keras.apply_gradients([(tf.constant(g, tf.float32), variable)])
    np.testing.assert_allclose(got, variable.numpy(), rtol=1e-5, atol=1e-6)


def test_momentum_follows_a_fall_of_the_rate():
    """After the rate falls to a thousandth the weights hardly move."""
    grads, zero = np.ones((4, 1, 1)), np.zeros((1, 1))
    rates = [1.0, 1.0, 1e-3, 1e-3]
    end = run("sgd", [zero], [grads], rates, 0.0)[0].item()
    at_fall = run("sgd", [zero], [grads[:2]], rates[:2], 0.0)[0].item()
    assert abs(end - at_fall) < 0.01 < abs(at_fall)


def test_lars_leaves_a_zero_kernel_and_a_zero_gradient_alone():
    zero = np.zeros((2, 2))
    (got,) = run("lars", [zero], [np.ones((1, 2, 2))], [0.1], 0.0)
    # no norm to be relative to: the plain rate
    np.testing.assert_allclose(got, -0.1 * np.ones((2, 2)), rtol=1e-6)
    (got,) = run("lars", [np.ones((2, 2))], [np.zeros((1, 2, 2))], [0.1], 0.0)
    np.testing.assert_array_equal(got, np.ones((2, 2), np.float32))


def test_loss_scale_halves_on_overflow_and_doubles_after_patience():
    scale = optimizer.LossScale(initial=8.0)
    assert (
        scale.up(tf.constant(2.0)).numpy() == 16 and scale.down([tf.constant(16.0)])[0].numpy() == 2
    )
    scale.update(tf.constant(False))
    assert scale.state[0].numpy() == 4
    for _ in range(scale.PATIENCE):
        assert scale.state[0].numpy() == 4
        scale.update(tf.constant(True))
    assert scale.state[0].numpy() == 8
