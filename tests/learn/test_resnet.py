import numpy as np
import pytest
import tensorflow as tf

from bigearth.learn import resnet
from bigearth.learn.collective import Single
from bigearth.learn.optimizer import is_decayed


@pytest.fixture(scope="module")
def network():
    return resnet.ResNet(bands=12, zero_gamma=True, seed=1)


def count(variables):
    return sum(int(np.prod(v.shape)) for v in variables)


def test_parameter_count(network):
    """ResNet-50 has 25,557,032 parameters with 3 channels and 1,000 outputs (torchvision's
    resnet50)."""
    body = 25_557_032 - (2048 * 1000 + 1000)
    head = 2048 * 43 + 43
    assert count(network.trainable) == body + (12 - 3) * 7 * 7 * 64 + head == 23_624_363
    rgb = resnet.ResNet(bands=3)
    assert count(rgb.trainable) == body + head == 23_596_139
    # a mean and a variance for each channel that is normalised
    assert count(network.statistics) == 2 * 26_560


def test_variables_are_bare_in_mixed_precision():
    """Horovod on TensorFlow 2.11 cannot trace the casting variables of Keras 2."""
    mixed = resnet.ResNet("resnet5", precision="bfloat16")
    assert {type(v) for v in mixed.variables + mixed.trainable + mixed.statistics} == {
        type(tf.Variable(0.0))
    }


def test_what_is_decayed_and_scaled_by_trust(network):
    """53 convolution kernels and the last dense kernel; no gamma, no beta, no bias."""
    covered = [v.name for v in network.trainable if is_decayed(v)]
    others = [v.name for v in network.trainable if not is_decayed(v)]
    assert len(network.kernels) == 53 and len(covered) == 54
    assert all("kernel" in name for name in covered)
    assert sorted({name.split("/")[-1].split(":")[0] for name in others}) == [
        "beta",
        "bias",
        "gamma",
    ]
    assert len(others) == 2 * 53 + 1
    assert [k.name for k in network.kernels] == covered[:-1]


def test_convolutions_are_those_of_keras_own_resnet50(network):
    def convolutions(model):
        layers = (layer for layer in model.layers if isinstance(layer, tf.keras.layers.Conv2D))
        return sorted((layer.kernel_size, tuple(layer.kernel.shape)) for layer in layers)

    keras = tf.keras.applications.ResNet50(weights=None, input_shape=(120, 120, 12), classes=43)
    assert convolutions(network._body) == convolutions(keras)
    assert network._body.output.shape[-1] == 2048


@pytest.mark.parametrize("side", [15, 16])
@pytest.mark.parametrize("name", ["stage2_block1_1_conv", "stage2_block1_shortcut_conv"])
def test_a_block_halves_the_resolution_in_its_first_convolutions(side, name):
    """The picked pixels and a dense convolution are the 1x1 convolution of stride 2, forward and
    backward (He et al., ResNet v1)."""
    body = resnet.ResNet("resnet14", bands=3)._body
    pools = [layer for layer in body.layers if isinstance(layer, tf.keras.layers.AveragePooling2D)]
    assert len(pools) == 3
    convolution = body.get_layer(name)
    block = tf.keras.Model(pools[0].input, convolution.output)
    x = tf.constant(
        np.random.default_rng(0)
        .normal(size=(2, side, side, block.input.shape[-1]))
        .astype(np.float32)
    )
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        ours = block(x)
        strided = tf.nn.conv2d(x, convolution.kernel, 2, "SAME")
    np.testing.assert_allclose(ours, strided, atol=1e-5)
    sources = [x, *resnet.raw([convolution.kernel])]
    for a, b in zip(tape.gradient(ours, sources), tape.gradient(strided, sources)):
        np.testing.assert_allclose(a, b, atol=1e-3, rtol=1e-4)


def test_the_small_network_has_the_same_form():
    small = resnet.ResNet("resnet14", outputs=19)
    assert len(small.kernels) == 1 + 4 * 4 and small.features == 512
    assert small(
        tf.zeros((2, 32, 32, 12)), training=True, keep=tf.ones((2, 512), tf.bool)
    ).shape == (2, 19)


def test_zero_gamma_is_in_the_last_normalisation_of_each_block_alone(network):
    zero = [v.name for v in network.trainable if "gamma" in v.name and not v.numpy().any()]
    assert len(zero) == 3 + 4 + 6 + 3 and all("_3_bn" in name for name in zero)


def test_weights_follow_the_seed_and_no_two_kernels_are_alike(network):
    kernels = [k.numpy() for k in network.kernels]
    again = resnet.ResNet(bands=12, seed=1)
    for a, b in zip(kernels, again.kernels):
        np.testing.assert_array_equal(a, b.numpy())
    assert not np.allclose(kernels[5], resnet.ResNet(bands=12, seed=2).kernels[5].numpy())
    twins = [k for k in kernels if k.shape == (3, 3, 512, 512)]
    assert (
        len(twins) == 3
        and not np.allclose(twins[0], twins[1])
        and not np.allclose(twins[1], twins[2])
    )
    fan_out = 3 * 3 * 512
    assert twins[0].std() == pytest.approx(np.sqrt(2 / fan_out), rel=0.02)


def test_prior_and_dropout_act_on_the_head(network):
    frequency = np.linspace(0.01, 0.6, 43)
    network.set_prior(frequency)
    images = tf.zeros((2, 32, 32, 12))
    np.testing.assert_allclose(
        tf.sigmoid(network(images, training=False)).numpy()[0], frequency, atol=0.02
    )
    nothing = network(images, training=True, keep=tf.zeros((2, network.features), tf.bool))
    np.testing.assert_allclose(tf.sigmoid(nothing).numpy()[1], frequency, atol=1e-5)


def test_synchronised_normalisation_on_one_rank_is_the_definition():
    images = np.random.default_rng(0).normal(3, 2, (8, 4, 4, 5)).astype(np.float32)
    layer = resnet.SynchronisedBatchNormalization(Single(), momentum=0.9, epsilon=resnet.EPSILON)
    mean, variance = images.mean((0, 1, 2)), images.var((0, 1, 2))
    expected = (images - mean) / np.sqrt(variance + resnet.EPSILON)
    np.testing.assert_allclose(
        layer(tf.constant(images), training=True).numpy(), expected, atol=1e-5
    )
    moving_mean, moving_variance = (v.numpy() for v in layer.non_trainable_variables)
    np.testing.assert_allclose(moving_mean, 0.1 * mean, rtol=1e-4)
    np.testing.assert_allclose(moving_variance, 0.9 + 0.1 * variance, rtol=1e-4)
    settled = (images - moving_mean) / np.sqrt(moving_variance + resnet.EPSILON)
    np.testing.assert_allclose(
        layer(tf.constant(images), training=False).numpy(), settled, atol=1e-5
    )
