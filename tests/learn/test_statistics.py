"""bigearth/learn/statistics.py: BatchNorm's statistics of all ranks' samples."""

import numpy as np
import pytest

from bigearth.learn import resnet, statistics
from bigearth.learn.collective import Single


class Beside(Single):
    """One of two ranks; the other's vector is added to what is summed."""

    size = 2

    def __init__(self, other):
        self._other = other.astype(np.float64)

    def sum(self, array):
        return array + np.stack([self._other, self._other**2])


def test_the_variance_of_parts_together_is_that_of_all_samples():
    """NumPy's mean and variance over the samples of four ranks that see different regions."""
    random = np.random.default_rng(0)
    samples = random.normal(random.normal(0, 2, (4, 1, 6)), random.uniform(1, 3, 6), (4, 500, 6))
    first, second = samples[..., :4], samples[..., 4:]  # two layers, of 4 and of 2 channels
    every = np.concatenate(
        [part(1) for layer in (first, second) for part in (layer.mean, layer.var)], axis=1
    )
    found = statistics.combine(np.stack([every.mean(0), (every**2).mean(0)]), [4, 4, 2, 2])
    whole = [layer.reshape(2000, -1) for layer in (first, second)]
    expected = np.concatenate([part(0) for layer in whole for part in (layer.mean, layer.var)])
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.fixture(scope="module")
def network():
    return resnet.ResNet("resnet5")


def test_variables_are_mean_and_variance_of_one_layer_after_the_other(network):
    kinds = [v.name.split("/")[-1].split(":")[0] for v in network.statistics]
    assert kinds == ["moving_mean", "moving_variance"] * (len(kinds) // 2)


def test_two_ranks_get_the_statistics_of_both_and_one_rank_keeps_its_own(network):
    random = np.random.default_rng(1)
    mine, other = random.uniform(1, 2, (2, len(statistics.get(network)))).astype(np.float32)
    statistics.put(network, mine)
    statistics.average(network, Single())
    np.testing.assert_array_equal(statistics.get(network), mine)
    statistics.average(network, Beside(other))
    both = statistics.get(network)
    expected = statistics.of_other_ranks(network, np.stack([mine, other]))
    np.testing.assert_allclose(both, expected, rtol=1e-6)
    size = network.statistics[0].shape[0]  # the stem's means, then its variances
    between = ((mine - other)[:size] / 2) ** 2
    variances = slice(size, 2 * size)
    np.testing.assert_allclose(both[variances], (mine + other)[variances] / 2 + between, rtol=1e-5)
