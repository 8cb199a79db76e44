"""DSen2 with the published weights on real pixels: the six BigEarthNet patches, each as a scene of
its own."""

import os

os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")  # as benchmarks.prepare: a rank is a core

import numpy as np
import pytest

from benchmarks.studies import superres_quality as evaluate
from bigearth import store
from bigearth.prepare import archive, real_patches, superres, weights


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """resolution -> pixels of each patch."""
    folder = tmp_path_factory.mktemp("samples")
    real_patches.unpack(real_patches.wheel(), folder)
    found = []
    for name in sorted(archive.list_patches(folder / "archive")):
        native = {key: np.empty(store.ARRAYS[key].shape, np.uint16) for key in store.NATIVE}
        archive.read_patch(archive.open_archive(folder / "archive"), name, native)
        found.append({r: native[f"data_{r}m"] for r in (10, 20, 60)})
    return found


@pytest.fixture(scope="module")
def files():
    return weights.published().values()


def test_beats_bicubic_in_the_mean_of_the_20_m_bands(scenes, files):
    network = superres.DSen2(*files)
    scores = [evaluate.compare(scene, network, 20) for scene in scenes]
    rmse = {method: np.mean([score[method]["RMSE"] for score in scores]) for method in scores[0]}
    assert rmse["dsen2"] < 0.9 * rmse["bicubic"] < 0.9 * rmse["bilinear"]


def test_two_tilings_agree(scenes, files):
    assert (
        evaluate.tilings(
            scenes[0], superres.DSen2(*files, core=120), superres.DSen2(*files, core=60)
        )
        <= 1e-4
    )
