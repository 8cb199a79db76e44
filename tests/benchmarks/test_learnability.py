"""Baselines: what they are fitted on, and that a network's row is only taken from a training on the
same file."""

import itertools

import h5py
import numpy as np
import pytest
from sklearn.metrics import f1_score

from benchmarks.studies import learnability
from bigearth import record, store
from bigearth.errors import InputError

DARK, BRIGHT = 2, 30  # classes that the pixels below show by their mean


@pytest.fixture(scope="module")
def patches(tmp_path_factory):
    """60 patches, dark or bright, labelled so: 40 in train, 20 in test."""
    path = tmp_path_factory.mktemp("learnability") / "patches.h5"
    random = np.random.default_rng(0)
    store.create(
        path,
        [f"patch_{i:02d}" for i in range(60)],
        np.repeat([0, 2], [40, 20]).astype(np.uint8),
        "bilinear",
        "random numbers",
    )
    with h5py.File(path, "r+") as file:
        bright = random.random(60) < 0.5
        file["data_super"][...] = (
            random.integers(0, 1000, (60, 120, 120, 12), np.uint16)
            + np.uint16(200) * bright[:, None, None, None]
        )
        file["classes"][...] = 0
        file["classes"][:, DARK], file["classes"][:, BRIGHT] = ~bright, bright
    store.finish(path)
    return store.Store(path)


def test_statistics_are_those_of_numpy(patches):
    found = learnability.band_statistics(patches, np.array([3, 7]))
    pixels = patches.array("data_super")[[3, 7]].astype(np.float64)
    assert found == pytest.approx(
        np.concatenate([pixels.mean((1, 2)), pixels.std((1, 2))], 1), rel=1e-5
    )


@pytest.mark.parametrize("seed", range(8))
def test_constant_is_the_best_of_all_sets(seed):
    random = np.random.default_rng(seed)
    labels = (random.random((50, 6)) < random.uniform(0, 0.7, 6)).astype(np.uint8)

    def f1(guess):
        return f1_score(
            labels, np.repeat(np.array(guess)[None], 50, 0), average="micro", zero_division=0
        )

    assert f1(learnability.constant_guess(labels)) == pytest.approx(
        max(map(f1, itertools.product((0, 1), repeat=6)))
    )


def test_linear_learns_a_line_but_not_a_ring():
    random = np.random.default_rng(2)
    x = random.standard_normal((400, 2))
    labels = np.stack([x[:, 0] > 0, np.hypot(*x.T) < 1.2, np.ones(400)], 1).astype(np.uint8)
    predicted = learnability.linear(x[:300], labels[:300], x[300:])
    right = (predicted == labels[300:]).mean(0)
    assert right[0] > 0.95 and right[1] < 0.7 and right[2] == 1


def test_linear_baseline_beats_the_constant_where_means_tell(patches):
    rows = {name: micro for name, _, _, micro, _ in learnability.baselines(patches)}
    assert set(rows) == {
        "constant",
        "linear, RGB",
        "linear + std, RGB",
        "linear, 12 bands",
        "linear + std, 12 bands",
    }
    assert rows["constant"] < 0.8 and rows["linear, 12 bands"] == rows["linear, RGB"] == 1


def test_only_a_training_on_this_file_is_shown(patches, tmp_path, capsys):
    metrics = {
        m: record.metric(m, 0.5)
        for m in ("precision_micro", "recall_micro", "f1_micro", "f1_macro")
    }
    config = {"bands": "rgb", "epochs": 3}

    def write(workload, digest):
        path = tmp_path / f"{workload}{digest[-4:]}.json"
        record.write(
            path,
            record.Record(
                workload=workload,
                config=config,
                metrics=metrics,
                ranks=[],
                tables={},
                files={},
                provenance={"dataset_digest": digest},
            ),
        )
        return str(path)

    learnability.run(learnability.Config(patches.path, write("train", patches.digest)))
    assert "| ResNet-50, RGB, 3 epochs | 0.500 | 0.500 | 0.500 | 0.500 |" in capsys.readouterr().out
    for path, sentence in (
        (write("train", "sha256:0123"), "trained on another file"),
        (write("prepare", patches.digest), "workload 'prepare'"),
    ):
        with pytest.raises(InputError, match=sentence):
            learnability.run(learnability.Config(patches.path, path))


def test_a_file_without_test_patches_is_refused(tmp_path):
    store.create(tmp_path / "a.h5", ["patch"], np.zeros(1, np.uint8), "bilinear", "nothing")
    store.finish(tmp_path / "a.h5")
    with pytest.raises(InputError, match="1 training and 0 test patches"):
        learnability.baselines(store.Store(tmp_path / "a.h5"))
