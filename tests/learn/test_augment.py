import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from bigearth.learn import augment


def bits(positions, seed=0, epoch=0, stream=0):
    return augment.random_bits(
        tf.constant(positions, tf.int64), seed, tf.constant(epoch, tf.int64), stream
    ).numpy()


def test_bits_depend_on_the_sample_not_on_its_batch():
    whole = bits(np.arange(100))
    np.testing.assert_array_equal(whole[[7, 93, 12]], bits([7, 93, 12]))
    assert whole.min() >= 0 and whole.max() < 2**31
    for other in (
        bits(np.arange(100), seed=1),
        bits(np.arange(100), epoch=1),
        bits(np.arange(100), stream=1),
    ):
        assert np.mean(other == whole) < 0.05


def test_bits_are_uniform_in_every_bit_and_uncorrelated_between_neighbours():
    values = bits(np.arange(20_000))
    share = ((values[:, None] >> np.arange(31)) & 1).mean(0)
    assert np.all(np.abs(share - 0.5) < 5 * 0.5 / np.sqrt(20_000))
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 0.03
    assert abs(np.corrcoef(values, bits(np.arange(20_000), epoch=1))[0, 1]) < 0.03


def test_eight_symmetries_each_once():
    patch = np.arange(2 * 4 * 4, dtype=np.float32).reshape(1, 4, 4, 2)
    got = augment.rotate_and_flip(
        tf.constant(np.repeat(patch, 8, 0)), tf.range(8, dtype=tf.int64)
    ).numpy()
    expected = [
        np.rot90(side, k, (0, 1)) for side in (patch[0], patch[0][:, ::-1]) for k in range(4)
    ]
    assert {g.tobytes() for g in got} == {np.ascontiguousarray(e).tobytes() for e in expected}
    np.testing.assert_array_equal(got[0], patch[0])


def test_window_is_a_part_of_the_patch_and_reaches_every_place():
    row, column = np.meshgrid(np.arange(6), np.arange(6), indexing="ij")
    patches = np.repeat(np.stack([row, column], -1)[None].astype(np.float32), 400, 0)
    got = augment.random_window(tf.constant(patches), 4, tf.constant(bits(np.arange(400)))).numpy()
    assert got.shape == (400, 4, 4, 2)
    corners = {tuple(w[0, 0].astype(int)) for w in got}
    assert corners == {(r, c) for r in range(3) for c in range(3)}
    for window in got:
        r, c = window[0, 0].astype(int)
        np.testing.assert_array_equal(window, patches[0, r : r + 4, c : c + 4])


def test_dropout_mask_has_its_rate_and_belongs_to_the_sample():
    def mask(positions):
        return augment.random_mask(
            tf.constant(positions, tf.int64), 3, tf.constant(2, tf.int64), 2048, 0.5
        ).numpy()

    whole = mask(np.arange(50))
    assert abs(whole.mean() - 0.5) < 0.01
    np.testing.assert_array_equal(whole[[4, 40]], mask([4, 40]))
    assert np.all(np.abs(np.corrcoef(whole) - np.eye(50)) < 0.12)


@pytest.mark.parametrize("alpha", [0.1, 0.2, 1.0, 4.0, 100.0])
def test_mix_up_weights_are_the_quantiles_of_the_beta_distribution(alpha):
    positions = np.arange(4000)
    weights = augment.beta(tf.constant(positions, tf.int64), 0, tf.constant(0, tf.int64), alpha)
    weights = weights.numpy().astype(np.float64)
    probability = bits(positions, stream=3) / 2**31
    inside = (probability > 1e-3) & (probability < 1 - 1e-3)
    expected = stats.beta.ppf(probability, alpha, alpha)
    np.testing.assert_allclose(weights[inside], expected[inside], atol=3e-4)
    assert weights.min() >= 0 and weights.max() <= 1 and inside.sum() > 3950


def test_mix_up_mixes_pictures_and_labels_alike():
    images = tf.constant(np.random.default_rng(0).normal(size=(3, 2, 2, 1)).astype(np.float32))
    truth = tf.eye(3)
    mixed, labels = augment.mix_up(images, truth, tf.constant([1.0, 0.25, 0.5]))
    np.testing.assert_allclose(labels.numpy(), [[1, 0, 0], [0, 0.25, 0.75], [0.5, 0, 0.5]])
    np.testing.assert_allclose(
        mixed.numpy()[1], 0.25 * images.numpy()[1] + 0.75 * images.numpy()[2], rtol=1e-6
    )
