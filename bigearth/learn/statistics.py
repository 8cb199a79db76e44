"""BatchNorm's moving statistics, which each rank gathers from its own batches."""

import numpy as np

from bigearth.learn.collective import Single


def get(network) -> np.ndarray:
    """All of them in one vector, float32: means and variances of one layer after the other."""
    return np.concatenate([v.numpy().ravel() for v in network.statistics])


def put(network, values: np.ndarray) -> None:
    """Puts back what `get` gave."""
    ends = np.cumsum(_sizes(network))
    for variable, part in zip(network.statistics, np.split(values, ends[:-1])):
        variable.assign(part.reshape(variable.shape))


def average(network, collective: Single) -> None:
    """Gives all ranks the statistics of all ranks' samples."""
    own = get(network).astype(np.float64)
    sums = collective.sum(np.stack([own, own**2]))
    put(network, combine(sums / collective.size, _sizes(network)))


def of_other_ranks(network, every: np.ndarray) -> np.ndarray:
    """The statistics of all samples of a run on another number of ranks.

    Args:
        every: (ranks, S) float32, each of its ranks' own.

    Returns:
        (S,) float32.
    """
    values = every.astype(np.float64)
    return combine(np.stack([values.mean(0), (values**2).mean(0)]), _sizes(network))


def combine(moments: np.ndarray, sizes: list) -> np.ndarray:
    """The statistics of all samples from those of equal parts of them.

    The variance of all is the mean of the parts' variances plus the variance of the parts' means
    (the law of total variance): where ranks see different regions, that is not little.

    Args:
        moments: (2, S) float64: the mean over parts of their statistics, and of the squares of
            these.
        sizes: how many of the S are of each variable: moving mean, moving variance of one layer
            after the other.

    Returns:
        (S,) float32.
    """
    mean, square = moments
    between = np.maximum(square - mean**2, 0.0)
    ends = np.cumsum(sizes)[:-1]
    parts, spreads = np.split(mean, ends), np.split(between, ends)
    for layer in range(0, len(sizes), 2):
        parts[layer + 1] = parts[layer + 1] + spreads[layer]
    return np.concatenate(parts).astype(np.float32)


def _sizes(network) -> list:
    return [int(np.prod(v.shape)) for v in network.statistics]
