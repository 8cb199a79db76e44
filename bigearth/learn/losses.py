"""Multi-label losses on logits: the paper's binary cross-entropy, and two answers to its open point
of class imbalance.

Each is the mean over samples and classes, in float32 also where the network computes in half
precision.
"""

import numpy as np
import tensorflow as tf


def bce(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Binary cross-entropy (paper, section 3.4). labels (n, C) in 0..1 (mix-up and smoothing make
    fractions), logits (n, C)."""
    labels, logits = tf.cast(labels, tf.float32), tf.cast(logits, tf.float32)
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits))


def class_weights(classes: np.ndarray, limit: float = 20.0) -> np.ndarray:
    """Weights of the positive term of each class from the training split: absent over present,
    within `limit` of 1 either way.

    The rarest CORINE class is in 1 of 1,800 patches: without a limit its few positives would be the
    whole gradient.

    Args:
        classes: (N, C) multi-hot labels of the training split.
        limit: the largest weight, also that of a class that is never present, and the inverse of
            the smallest.

    Returns:
        (C,) float32.
    """
    present = np.asarray(classes, bool).sum(axis=0)
    return np.clip((len(classes) - present) / np.maximum(present, 1), 1 / limit, limit).astype(
        np.float32
    )


def weighted_bce(labels: tf.Tensor, logits: tf.Tensor, weights: np.ndarray) -> tf.Tensor:
    """Binary cross-entropy with the positive term of class c multiplied by weights[c]."""
    labels, logits = tf.cast(labels, tf.float32), tf.cast(logits, tf.float32)
    # not tf.nn.weighted_cross_entropy_with_logits: at a logit of exactly 0 its gradient for
    # positives is 0
    return tf.reduce_mean(
        weights * labels * tf.nn.softplus(-logits) + (1.0 - labels) * tf.nn.softplus(logits)
    )


def asymmetric(
    labels: tf.Tensor,
    logits: tf.Tensor,
    gamma_positive: float = 0.0,
    gamma_negative: float = 4.0,
    margin: float = 0.05,
) -> tf.Tensor:
    """Asymmetric loss (Ridnik et al., ICCV 2021, equations 4 to 7): easy negatives count little,
    those under the margin nothing.

    With p the probability and p_m = max(p - margin, 0):
    -y (1 - p)^gamma_positive log(p) - (1 - y) p_m^gamma_negative log(1 - p_m). The gammas are 0 or
    at least 1.
    """
    labels, logits = tf.cast(labels, tf.float32), tf.cast(logits, tf.float32)
    p = tf.sigmoid(logits)
    shifted = tf.maximum(p - margin, 0.0)
    positive = labels * _power(1.0 - p, gamma_positive) * tf.nn.softplus(-logits)
    negative = (
        (1.0 - labels)
        * _power(shifted, gamma_negative)
        * -tf.math.log(tf.maximum(1.0 - shifted, 1e-8))
    )
    return tf.reduce_mean(positive + negative)


def _power(base: tf.Tensor, exponent: float):
    return tf.pow(base, exponent) if exponent else 1.0  # the gradient of 0 ** 0 is not a number


def make(name: str, classes: np.ndarray):
    """The loss (labels, logits) -> scalar float32 of that name.

    Args:
        name: "bce", "weighted" or "asymmetric".
        classes: (N, C) labels of the training split.
    """
    if name == "weighted":
        weights = class_weights(classes)
        return lambda labels, logits: weighted_bce(labels, logits, weights)
    return {"bce": bce, "asymmetric": asymmetric}[name]
