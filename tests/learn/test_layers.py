"""The network on paper against the network itself, and against counts made by hand."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from bigearth.learn import layers


@pytest.mark.parametrize("name", layers.NETWORKS)
def test_gradients_are_those_of_the_network(name):
    from bigearth.learn import resnet

    sizes = [4 * int(np.prod(v.shape)) for v in resnet.ResNet(name, bands=12).trainable]
    assert layers.gradient_bytes(name) == sizes


def test_forward_operations_of_resnet50():
    """Counted layer by layer in Keras' own ResNet-50."""
    keras = tf.keras.applications.ResNet50(weights=None, input_shape=(120, 120, 12), classes=43)
    forward = sum(
        2 * int(np.prod(layer.kernel.shape) * np.prod(layer.output.shape[1:3]))
        for layer in keras.layers
        if isinstance(layer, tf.keras.layers.Conv2D)
    )
    assert sum(layer.flops for layer in layers.convolutions()) == forward


def test_operations_of_a_step_by_hand():
    """resnet5 on 8 x 8 pixels of 2 bands: the stem sees 4 x 4, its pooling leaves 2 x 2."""
    stem = 2 * 7 * 7 * 2 * 16 * 4 * 4
    rest = 2 * 2 * 2 * (16 * 16 + 9 * 16 * 16 + 16 * 64 + 16 * 64)
    dense = 2 * 64 * 43
    # the gradient of the images is nobody's input: the stem works twice, the others three times
    assert layers.step_flops(1, "resnet5", channels=2, size=8) == 2 * stem + 3 * (rest + dense)
    assert layers.step_flops(64) == 64 * layers.step_flops(1)


def test_the_first_layer_needs_no_gradient_of_its_input():
    """3.6 % of the step: what a count of three times the forward pass has too much."""
    forward = sum(layer.flops for layer in layers.convolutions()) + 2 * 2048 * 43
    assert 3 * forward / layers.step_flops(1) == pytest.approx(1.036, abs=0.0005)


@given(
    st.lists(st.tuples(st.integers(1, 1000), st.sampled_from("ab")), min_size=1, max_size=40),
    st.integers(1, 8),
)
def test_groups_take_every_gradient_once(gradients, groups):
    sizes, kinds = zip(*gradients)
    parts = layers.split_by_bytes(list(sizes), list(kinds), groups)
    assert sorted(p for part in parts for p in part) == list(range(len(sizes)))
    for part in parts:
        assert part and len({kinds[p] for p in part}) == 1


def test_groups_of_the_network_are_of_about_equal_bytes():
    groups = layers.gradient_groups(4)
    assert sum(groups) == sum(layers.gradient_bytes()) == 4 * 23_624_363
    assert len(groups) == 4 and max(groups) < 1.3 * min(groups)


def test_most_expensive_shapes():
    rows = layers.most_expensive(3)
    assert [row["share"] for row in rows] == sorted((r["share"] for r in rows), reverse=True)
    assert sum(row["share"] for row in layers.most_expensive(99)) == pytest.approx(1)
    assert sum(row["times"] for row in layers.most_expensive(99)) == len(layers.convolutions())
