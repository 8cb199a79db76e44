"""DSen2 against a plain NumPy network, seams, weight files, and the scores of its evaluation."""

import h5py
import numpy as np
import pytest

from benchmarks.studies import superres_quality as evaluate
from bigearth import bands
from bigearth.errors import InputError
from bigearth.prepare import cut, superres


def write_weights(path, resolution, seed=0, change=None):
    """A weight file as Keras saves it, with small random weights."""
    rng = np.random.default_rng(seed)
    shapes = superres.layer_shapes(resolution)
    shapes = change(shapes) if change else shapes
    with h5py.File(path, "w") as file:
        model = file.create_group("model_weights")
        model.attrs["layer_names"] = [b"input_1", b"concatenate"] + [
            name.encode() for name, _ in shapes
        ]
        for name, shape in shapes:
            model[f"{name}/{name}/kernel:0"] = (
                rng.normal(size=shape) * np.sqrt(1 / np.prod(shape[:3]))
            ).astype(np.float32)
            model[f"{name}/{name}/bias:0"] = (rng.normal(size=shape[-1:]) * 0.01).astype(np.float32)
    return path


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    return superres.DSen2(*(write_weights(folder / f"{r}.hdf5", r, r) for r in (20, 60))), folder


def network_of(folder, core):
    return superres.DSen2(folder / "20.hdf5", folder / "60.hdf5", core=core)


def scene(size, seed=0):
    rng = np.random.default_rng(seed)
    return {
        r: rng.integers(0, 8000, (size * 10 // r, size * 10 // r, len(bands.at(r)))).astype(
            np.uint16
        )
        for r in bands.RESOLUTIONS
    }


def convolve(image, kernel, bias):
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (0, 1))
    return np.einsum("hwcyx,yxco->hwo", windows, kernel) + bias


def test_equals_a_plain_network(network):
    model, folder = network
    native = scene(18)
    fine = {
        r: superres.upsample(native[r].astype(float), r // 10) / 2000 for r in bands.RESOLUTIONS
    }
    expected = []
    for resolution in (20, 60):
        layers = superres.read_weights(folder / f"{resolution}.hdf5", resolution)
        order = [
            [b.name for b in bands.at(10)].index(name) for name in superres.ORDER_10M[resolution]
        ]
        inputs = [fine[10][..., order]] + [fine[r] for r in (20, 60) if r <= resolution]
        x = np.maximum(convolve(np.concatenate(inputs, -1), *layers[0]), 0)
        for first, second in zip(layers[1:-1:2], layers[2:-1:2]):
            x = x + 0.1 * convolve(np.maximum(convolve(x, *first), 0), *second)
        expected.append((convolve(x, *layers[-1]) + fine[resolution]) * 2000)
    assert np.abs(model.predict(native) - np.concatenate(expected, -1)).max() < 0.05


def test_two_tilings_agree_without_seams(network):
    _, folder = network
    native = scene(120)
    assert network_of(folder, 120).window([cut.Cut(0, 0, 0)], 120, 120) == (0, 0, 120, 120)
    assert evaluate.tilings(native, network_of(folder, 120), network_of(folder, 60)) < 1e-4


def test_a_part_of_a_tile_is_enough(network, monkeypatch):
    model = network_of(network[1], 60)
    monkeypatch.setattr(bands, "PATCH_METRES", 600)
    native, one = scene(180), [cut.Cut(0, 120, 60)]
    left, top, right, bottom = model.window(one, 180, 180)
    assert (left, top, right, bottom) == (102, 42, 180, 138)
    part = {
        r: image[top * 10 // r : bottom * 10 // r, left * 10 // r : right * 10 // r]
        for r, image in native.items()
    }
    from_part = model.restore(part, (left, top), (180, 180), one)[
        60 - top : 120 - top, 120 - left : 180 - left
    ]
    from_all = model.restore(native, (0, 0), (180, 180), one)[60:120, 120:180]
    assert np.array_equal(from_part, from_all)


def test_other_weights_or_orders_have_another_digest(network):
    model, folder = network
    assert network_of(folder, 60).digest == model.digest  # the tiling does not matter
    swapped = superres.DSen2(
        folder / "20.hdf5",
        folder / "60.hdf5",
        {20: superres.ORDER_10M[60], 60: superres.ORDER_10M[60]},
    )
    assert swapped.digest != model.digest
    write_weights(folder / "other.hdf5", 60, seed=7)
    assert superres.DSen2(folder / "20.hdf5", folder / "other.hdf5").digest != model.digest


@pytest.mark.parametrize(
    "change, sentence",
    [
        (lambda shapes: shapes[:-2], "another architecture, 12 convolutions instead of 14"),
        (
            lambda shapes: [(n, s[:3] + (64,) if i == 3 else s) for i, (n, s) in enumerate(shapes)],
            r"layer conv2d_3 has shape \(3, 3, 128, 64\)",
        ),
        (lambda shapes: superres.layer_shapes(60), r"layer conv2d has shape \(3, 3, 12, 128\)"),
    ],
)
def test_other_weights_are_refused(tmp_path, change, sentence):
    with pytest.raises(InputError, match=sentence):
        superres.read_weights(write_weights(tmp_path / "w.hdf5", 20, change=change), 20)


def test_no_weight_file(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        superres.read_weights(tmp_path / "w.hdf5", 20)
    (tmp_path / "w.hdf5").write_text("text")
    with pytest.raises(InputError, match="not a weight file of Keras"):
        superres.read_weights(tmp_path / "w.hdf5", 20)


def test_parameter_counts():
    for resolution, count in superres.PARAMETERS.items():
        assert (
            sum(np.prod(shape) + shape[-1] for _, shape in superres.layer_shapes(resolution))
            == count
        )


def test_upsampling_is_pixel_area_aligned():
    ramp = np.arange(4.0)[None, :, None].repeat(4, 0)
    assert superres.upsample(ramp, 2)[0, :, 0].tolist() == [
        0,
        0.25,
        0.75,
        1.25,
        1.75,
        2.25,
        2.75,
        3,
    ]


def test_scores_of_known_images():
    rng = np.random.default_rng(0)
    truth = rng.uniform(1000, 3000, (24, 24, 2))
    assert evaluate.rmse(truth, truth + 3).tolist() == pytest.approx([3, 3])
    assert evaluate.sre(truth, truth + 10) == pytest.approx(20 * np.log10(truth.mean((0, 1)) / 10))
    assert evaluate.uiq(truth, truth) == pytest.approx([1, 1])
    assert evaluate.sam(truth, 2 * truth) == pytest.approx(0, abs=1e-5)
    assert evaluate.sam(
        np.ones((2, 2, 2)), np.array([1.0, 0.0]) * np.ones((2, 2, 2))
    ) == pytest.approx(45)
    worse = evaluate.uiq(truth, truth + rng.normal(0, 300, truth.shape))
    assert (worse < 0.99).all() and (evaluate.uiq(truth, truth[::-1]) < worse).all()


def test_uiq_equals_a_loop():
    rng = np.random.default_rng(1)
    x, y = rng.uniform(0, 9, (2, 10, 11))
    values = []
    for row in range(3):
        for column in range(4):
            a, b = (image[row : row + 8, column : column + 8].ravel() for image in (x, y))
            covariance = np.cov(a, b, bias=True)
            below = (covariance[0, 0] + covariance[1, 1]) * (a.mean() ** 2 + b.mean() ** 2)
            values.append(4 * covariance[0, 1] * a.mean() * b.mean() / below)
    assert evaluate.uiq(x[..., None], y[..., None]) == pytest.approx([np.mean(values)])


def test_degrade_keeps_constants_and_means_blocks():
    assert evaluate.degrade(np.full((12, 12, 1), 700), 6) == pytest.approx(np.full((2, 2, 1), 700))
    image = np.zeros((12, 12, 1))
    image[6:, 6:] = 1000
    # sigma 1/6 pixel hardly reaches over the edge
    assert evaluate.degrade(image, 6)[1, 1, 0] == pytest.approx(1000, rel=0.05)
