"""What the tests of bigearth.learn share: small complete HDF5 files of random patches."""

import h5py
import numpy as np
import pytest

from bigearth import store


def write_store(path, splits, seed=0, interpolation="bilinear"):
    """A complete file of random pixels and labels with the given split codes; returns it opened."""
    random = np.random.default_rng(seed)
    count = len(splits)
    store.create(
        path,
        [f"patch_{i:06d}" for i in range(count)],
        np.asarray(splits, np.uint8),
        interpolation,
        "random numbers",
    )
    with h5py.File(path, "r+") as file:
        for key, array in store.ARRAYS.items():
            if array.bands:
                file[key][...] = random.integers(0, 10_000, (count,) + array.shape, np.uint16)
        classes = random.random((count, 43)) < 0.07
        classes[np.arange(count), random.integers(0, 43, count)] = True
        file["classes"][...] = classes
    store.finish(path)
    return store.Store(path)


@pytest.fixture(scope="session")
def patches(tmp_path_factory):
    """An open file of 150 patches: 97 in train, 30 in val, 20 in test, 3 in no split, mixed."""
    splits = np.repeat([0, 1, 2, 3], [97, 30, 20, 3])
    return write_store(
        tmp_path_factory.mktemp("store") / "patches.h5",
        np.random.default_rng(1).permutation(splits),
    )
