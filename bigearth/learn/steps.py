"""What runs on the device: the step of training and the step of scoring, each one compiled
function."""

from typing import Callable, Optional

import tensorflow as tf

from bigearth.learn import augment
from bigearth.learn.collective import Single
from bigearth.learn.config import TrainConfig
from bigearth.learn.inputs import Preprocess
from bigearth.learn.labels import labels_on_device
from bigearth.learn.optimizer import LossScale, Optimizer
from bigearth.learn.resnet import ResNet


def augmented(config: TrainConfig, positions, images, truth, epoch) -> tuple:
    """Random window, rotation and flip, mix-up and smoothing of a batch, as far as the run has
    them.

    Args:
        positions: (n,) int64 of the samples in the file.
        images: (n, H, W, bands) float32; truth: (n, C) float32.
        epoch: int64 scalar.

    Returns:
        images and truth.
    """
    seed = config.seed
    if config.window < images.shape[1]:
        places = augment.random_bits(positions, seed, epoch, stream=0)
        images = augment.random_window(images, config.window, places)
    if config.augment:
        turns = augment.random_bits(positions, seed, epoch, stream=1)
        images = augment.rotate_and_flip(images, turns)
    if config.mixup:
        weights = augment.beta(positions, seed, epoch, alpha=config.mixup)
        images, truth = augment.mix_up(images, truth, weights)
    return images, truth * (1 - config.label_smoothing) + config.label_smoothing / 2


def make_train_step(
    *,
    config: TrainConfig,
    preprocess: Preprocess,
    network: ResNet,
    optim: Optimizer,
    scale: Optional[LossScale],
    loss_of: Callable,
    collective: Single,
) -> Callable:
    """The training step (batch, rate, epoch, flags), compiled unless the run is eager; see the
    function inside.

    Args:
        loss_of: labels and logits to a scalar.
    """
    penalised = {v.ref() for v in network.kernels}
    strengths = [config.l2 if v.ref() in penalised else 0.0 for v in network.trainable]

    def train_step(batch, rate, epoch, flags):
        """One step.

        Returns:
            (1 + flags,) the loss and the flags averaged over ranks; this rank's own loss; the norm
            of the averaged gradient.
        """
        positions, truth = (
            batch["position"],
            labels_on_device(batch["classes"], int(config.classes)),
        )
        images, truth = augmented(config, positions, preprocess(batch), truth=truth, epoch=epoch)
        keep = None
        if config.dropout:
            shape = {"width": network.features, "rate": 1 - config.dropout}
            keep = augment.random_mask(positions, config.seed, epoch, **shape)
        with tf.GradientTape() as tape:
            loss = loss_of(truth, network(images, training=True, keep=keep))
            scaled = scale.up(loss) if scale else loss
        gradients = collective.average(tape.gradient(scaled, network.trainable))
        if scale:
            gradients = scale.down(gradients)
        # the gradient of the L2 term: the same on all ranks, so it need not be averaged
        gradients = [
            g + 2 * l2 * v if l2 else g for g, v, l2 in zip(gradients, network.trainable, strengths)
        ]
        averages = collective.mean(tf.concat([loss[None], flags], 0))
        norm = tf.linalg.global_norm(gradients)
        # a gradient that is not finite ends the run, before these weights are kept anywhere
        # (guards.check_loss)
        if not scale:
            optim.apply(gradients, rate)
            return averages, loss, norm
        # in float16 some are not, until the scale fits: such a step is left out
        finite = tf.math.is_finite(norm)
        scale.update(finite)
        tf.cond(finite, lambda: optim.apply(gradients, rate), lambda: tf.constant(0, tf.int64))
        return averages, loss, tf.where(finite, norm, 0.0)

    # the steps have no Python control flow on tensors
    return train_step if config.eager else tf.function(train_step, autograph=False)


def make_score_step(config: TrainConfig, preprocess: Preprocess, network: ResNet) -> Callable:
    """The scoring step of a batch, compiled unless the run is eager; see the function inside."""

    def score_step(batch):
        """The mean loss of each sample, (n,), and probabilities (n, classes), with the weights as
        they stand."""
        logits = network(preprocess(batch), training=False)
        truth = labels_on_device(batch["classes"], int(config.classes))
        return tf.reduce_mean(
            tf.nn.sigmoid_cross_entropy_with_logits(truth, logits), 1
        ), tf.sigmoid(logits)

    return score_step if config.eager else tf.function(score_step, autograph=False)


def compute_dtype(config: TrainConfig) -> str:
    """The dtype that convolutions compute in; tf32 is a way to compute float32."""
    return "float32" if config.precision == "tf32" else config.precision
