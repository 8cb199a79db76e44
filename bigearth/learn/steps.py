"""What runs on the device: the step of training and the step of scoring, each one compiled
function."""

import tensorflow as tf

from bigearth.learn import augment
from bigearth.learn.labels import labels_on_device


def make_train_step(config, preprocess, network, optim, scale, loss_of, collective):
    """The training step (batch, rate, epoch, flags), compiled unless the run is eager; see the
    function inside.

    Args:
        scale: an `optimizer.LossScale`, or None.
        loss_of: labels and logits to a scalar.
    """
    classes = int(config.classes)
    seed = config.seed
    penalised = {v.ref() for v in network.kernels}
    strengths = [config.l2 if v.ref() in penalised else 0.0 for v in network.trainable]

    def train_step(batch, rate, epoch, flags):
        """One step.

        Returns:
            (3,) the loss and the two flags averaged over ranks; this rank's own loss; the norm of
            the averaged gradient.
        """
        positions = batch["position"]
        images = preprocess(batch)
        truth = labels_on_device(batch["classes"], classes)
        if config.window < images.shape[1]:
            images = augment.random_window(
                images, config.window, augment.random_bits(positions, seed, epoch, 0)
            )
        if config.augment:
            images = augment.rotate_and_flip(images, augment.random_bits(positions, seed, epoch, 1))
        if config.mixup:
            images, truth = augment.mix_up(
                images, truth, augment.beta(positions, seed, epoch, config.mixup)
            )
        truth = truth * (1 - config.label_smoothing) + config.label_smoothing / 2
        keep = (
            augment.random_mask(positions, seed, epoch, network.features, 1 - config.dropout)
            if config.dropout
            else None
        )

        with tf.GradientTape() as tape:
            loss = loss_of(truth, network(images, training=True, keep=keep))
            scaled = scale.up(loss) if scale else loss
        gradients = collective.average(tape.gradient(scaled, network.trainable))
        if scale:
            gradients = scale.down(gradients)
        # The gradient of the L2 term, l2 times the sum of squared kernels: the same on all ranks,
        # so it need not be averaged.
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


def make_score_step(config, preprocess, network):
    """The scoring step of a batch, compiled unless the run is eager; see the function inside."""
    classes = int(config.classes)

    def score_step(batch):
        """The mean loss of each sample, (n,), and probabilities (n, classes), with the weights as
        they stand."""
        logits = network(preprocess(batch), training=False)
        truth = labels_on_device(batch["classes"], classes)
        return tf.reduce_mean(
            tf.nn.sigmoid_cross_entropy_with_logits(truth, logits), 1
        ), tf.sigmoid(logits)

    return score_step if config.eager else tf.function(score_step, autograph=False)


def compute_dtype(config) -> str:
    """The dtype that convolutions compute in; tf32 is a way to compute float32."""
    return "float32" if config.precision == "tf32" else config.precision
