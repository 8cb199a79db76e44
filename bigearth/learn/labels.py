"""Labels in the nomenclature of a run: the file's 43 classes, or the 19 that they are merged
into."""

import numpy as np
import tensorflow as tf

from bigearth import nomenclature


def label_names(classes: int) -> tuple:
    """The names of the 43 or 19 classes."""
    return nomenclature.LABELS if classes == len(nomenclature.LABELS) else nomenclature.LABELS_19


def labels_of(truth: np.ndarray, classes: int) -> np.ndarray:
    """Labels in the nomenclature of the run: (n, 43) -> (n, classes)."""
    return truth if classes == truth.shape[-1] else nomenclature.to_19(truth)


def labels_on_device(truth, classes: int):
    """The same inside a tf.function, as float32."""
    truth = tf.cast(truth, tf.float32)
    if classes == truth.shape[-1]:
        return truth
    sources = nomenclature.to_19(np.eye(truth.shape[-1], dtype=np.float32))
    return tf.minimum(tf.matmul(truth, sources), 1.0)
