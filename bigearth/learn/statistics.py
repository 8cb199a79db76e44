"""BatchNorm's moving statistics, which each rank gathers from its own batches."""

import numpy as np

from bigearth.learn.collective import Single


def get(network) -> np.ndarray:
    """All of them in one vector, float32."""
    return np.concatenate([v.numpy().ravel() for v in network.statistics])


def put(network, values: np.ndarray) -> None:
    """Puts back what `get` gave."""
    ends = np.cumsum([int(np.prod(v.shape)) for v in network.statistics])
    for variable, part in zip(network.statistics, np.split(values, ends[:-1])):
        variable.assign(part.reshape(variable.shape))


def average(network, collective: Single) -> None:
    """Gives all ranks the mean over ranks."""
    put(network, collective.sum(get(network)) / np.float32(collective.size))
