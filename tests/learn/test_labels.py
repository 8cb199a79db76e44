"""bigearth/learn/labels.py: the same labels on the host and on the device."""

import numpy as np

from bigearth import nomenclature
from bigearth.learn import labels


def test_labels_on_the_device_are_those_of_the_nomenclature():
    truth = (np.random.default_rng(0).random((50, 43)) < 0.1).astype(np.uint8)
    np.testing.assert_array_equal(
        labels.labels_on_device(truth, 19).numpy(), nomenclature.to_19(truth)
    )
    np.testing.assert_array_equal(labels.labels_on_device(truth, 43).numpy(), truth)
