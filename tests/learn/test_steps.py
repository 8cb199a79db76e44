"""bigearth/learn/steps.py: what one step does to the weights."""

import numpy as np
import pytest
import tensorflow as tf

from bigearth.learn import losses, optimizer, resnet, steps
from bigearth.learn.collective import Single
from bigearth.learn.config import TrainConfig
from bigearth.learn.input.reader import Reader
from bigearth.learn.inputs import Preprocess

OPTIONS = dict(data="x.h5", network="resnet5", window=32, batch_size=8, mixup=0.2, l2=1e-4)


def one_step(patches, loss_of=losses.bce, scale=None, **options):
    """(weights before, weights after, what the step returned) of one training step."""
    config = TrainConfig(**{**OPTIONS, **options})
    preprocess = Preprocess()
    network = resnet.ResNet(config.network, dropout=config.dropout)
    optim = optimizer.create("sgd", network.trainable, 0.0, 0.9)
    step = steps.make_train_step(
        config=config,
        preprocess=preprocess,
        network=network,
        optim=optim,
        scale=scale,
        loss_of=loss_of,
        collective=Single(),
    )
    batch = next(
        iter(
            Reader(patches, patches.indices("train"), preprocess.keys, config.batch_size).dataset(0)
        )
    )
    before = [v.numpy() for v in network.trainable]
    averages, loss, norm = step(
        batch, tf.constant(0.1), tf.constant(0, tf.int64), tf.constant([0.0, 1.0])
    )
    return (
        before,
        [v.numpy() for v in network.trainable],
        (averages.numpy(), float(loss), float(norm)),
    )


def test_a_step_moves_the_weights_and_returns_loss_flags_and_norm(patches):
    before, after, (averages, loss, norm) = one_step(patches)
    assert any(not np.array_equal(a, b) for a, b in zip(before, after))
    assert averages == pytest.approx([loss, 0.0, 1.0]) and 0 < loss < 2 and norm > 0


def infinite(truth, logits):
    return tf.reduce_mean(logits) * float("inf")


def test_a_gradient_that_is_not_finite_is_told(patches):
    _, _, (_, loss, norm) = one_step(patches, infinite)
    assert not np.isfinite(loss) and not np.isfinite(norm)


def test_with_a_loss_scale_a_gradient_that_is_not_finite_does_not_reach_the_weights(patches):
    scale = optimizer.LossScale(initial=8.0)
    before, after, (_, _, norm) = one_step(patches, infinite, scale)
    assert norm == 0 and scale.state[0].numpy() == 4.0
    for a, b in zip(before, after):
        np.testing.assert_array_equal(a, b)


def test_a_loss_scale_changes_nothing_else(patches):
    (_, plain, told), (_, scaled, also) = (
        one_step(patches),
        one_step(patches, scale=optimizer.LossScale(initial=8.0)),
    )
    assert also[1:] == pytest.approx(told[1:], rel=1e-5)
    for a, b in zip(plain, scaled):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("scaled", [False, True])
def test_l2_pulls_at_the_convolution_kernels_alone(patches, scaled):
    """The gradient of l2 times the sum of squares is 2 l2 w: after one step of Nesterov, the
    weights differ by the rate times 1.9 of it."""
    before, plain, _ = one_step(patches, l2=0.0)
    scale = optimizer.LossScale(initial=8.0) if scaled else None
    _, pulled, (averages, loss, _) = one_step(patches, scale=scale, l2=0.05)
    assert averages[0] == pytest.approx(loss)
    for w, a, b in zip(before, plain, pulled):
        expected = 0.1 * 1.9 * 2 * 0.05 * w if w.ndim == 4 else 0.0 * w
        np.testing.assert_allclose(a - b, expected, atol=2e-5)


def test_eager_steps_are_the_compiled_ones(patches):
    (_, compiled, told), (_, eager, also) = one_step(patches), one_step(patches, eager=True)
    assert also[1] == pytest.approx(told[1], rel=1e-5)
    for a, b in zip(compiled, eager):
        np.testing.assert_allclose(a, b, atol=1e-4)
