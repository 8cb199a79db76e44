import h5py
import numpy as np
import pytest
import tensorflow as tf

from bigearth import bands
from bigearth.errors import InputError
from bigearth.learn.input.reader import Reader
from bigearth.learn.inputs import Preprocess, bilinear
from bigearth.prepare import bilinear as exact
from bigearth.store import ARRAYS, NATIVE


def by_loop(coarse, scale):
    """Area-aligned bilinear interpolation of one band, (S, S) -> (S*scale, S*scale), from its
    definition, with clamped edges."""
    size = len(coarse)
    fine = np.empty((size * scale, size * scale))

    def around(i):
        centre = (i + 0.5) / scale - 0.5
        low = int(np.floor(centre))
        return min(max(low, 0), size - 1), min(max(low + 1, 0), size - 1), centre - low

    for r in range(size * scale):
        top, bottom, down = around(r)
        for c in range(size * scale):
            left, right, across = around(c)
            upper = (1 - across) * coarse[top, left] + across * coarse[top, right]
            lower = (1 - across) * coarse[bottom, left] + across * coarse[bottom, right]
            fine[r, c] = (1 - down) * upper + down * lower
    return fine


@pytest.mark.parametrize("resolution, scale", [(20, 2), (60, 6)])
def test_bilinear_by_a_loop(resolution, scale):
    size = bands.patch_size(resolution)
    coarse = np.random.default_rng(0).integers(0, 10_000, (1, size, size, 1)).astype(np.float32)
    np.testing.assert_allclose(
        bilinear(coarse)[0, ..., 0], by_loop(coarse[0, ..., 0], scale), atol=0.03
    )


def test_bilinear_weights_in_twelfths():
    coarse = np.zeros((1, 20, 20, 1), np.float32)
    coarse[:, :, 3] = 144.0
    row = bilinear(coarse)[0, 60, :, 0].numpy() * 12 / 144
    np.testing.assert_allclose(
        row[12:30], [0] * 3 + [1, 3, 5, 7, 9, 11, 11, 9, 7, 5, 3, 1] + [0] * 3, atol=1e-4
    )


@pytest.fixture(scope="module")
def interpolated(patches, tmp_path_factory):
    """The shared patches with data_super interpolated from the native bands, as `prepare` stores
    it; extremes included."""
    import shutil

    from bigearth.store import Store, finish

    path = tmp_path_factory.mktemp("inputs") / "patches.h5"
    shutil.copyfile(patches.path, path)
    with h5py.File(path, "r+") as file:
        for key in NATIVE:
            file[key][0] = 0
            file[key][1] = 65535
        file["data_super"][...] = exact.stack({key: file[key][...] for key in NATIVE})
    finish(path)
    return Store(path)


def batch_of(file, keys):
    return next(iter(Reader(file, np.arange(32), keys, 32, shuffle=False).dataset(0)))


def test_bilinear_on_the_device_equals_the_stored_to_rounding(interpolated):
    stored, device = Preprocess("multispectral", "stored"), Preprocess("multispectral", "bilinear")
    difference = (
        device(batch_of(interpolated, device.keys)) - stored(batch_of(interpolated, stored.keys))
    ) * bands.STD
    # half a digital number, and float32's last places at 65,535
    assert np.abs(difference).max() <= 0.5 + 0.02
    assert np.abs(difference[..., :4]).max() < 0.02  # 10 m bands need no interpolation


def test_fewer_bytes_cross():
    def sample_bytes(preprocess):
        return sum(int(np.prod(ARRAYS[key].shape)) * 2 for key in preprocess.keys)

    assert (
        sample_bytes(Preprocess("multispectral", "stored"))
        / sample_bytes(Preprocess("multispectral", "bilinear"))
        == 2.16
    )
    assert sample_bytes(Preprocess("rgb", "stored")) == 120 * 120 * 4 * 2


@pytest.mark.parametrize("upsample", ["stored", "bilinear"])
def test_rgb_is_red_green_blue_of_the_multispectral(interpolated, upsample):
    rgb, all_bands = Preprocess("rgb", upsample), Preprocess("multispectral", "stored")
    assert (rgb.channels, all_bands.channels) == (3, 12)
    pictures = rgb(batch_of(interpolated, rgb.keys)).numpy()
    whole = all_bands(batch_of(interpolated, all_bands.keys)).numpy()
    np.testing.assert_array_equal(
        pictures, whole[..., [bands.NAMES.index(n) for n in ("B04", "B03", "B02")]]
    )


def test_normalised_by_the_band_statistics(interpolated):
    preprocess = Preprocess()
    batch = batch_of(interpolated, preprocess.keys)
    for channel, band in enumerate(bands.BANDS):
        expected = (batch["data_super"].numpy()[..., channel].astype(float) - band.mean) / band.std
        np.testing.assert_allclose(preprocess(batch)[..., channel], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("upsample", ["stored", "bilinear"])
def test_the_same_inside_a_compiled_function(interpolated, upsample):
    preprocess = Preprocess("multispectral", upsample)
    batch = batch_of(interpolated, preprocess.keys)
    eager, compiled = preprocess(batch), tf.function(preprocess)(batch)
    assert compiled.dtype == tf.float32 and compiled.shape == (32, 120, 120, 12)
    np.testing.assert_allclose(eager, compiled, atol=1e-5)


def test_dsen2_wants_a_file_made_with_dsen2(patches, tmp_path):
    with pytest.raises(
        InputError,
        match=r"patches\.h5: data_super was made by bilinear "
        r"interpolation, expected dsen2",
    ):
        Preprocess("multispectral", "dsen2").check(patches)
    Preprocess("rgb", "dsen2").check(patches)
    for upsample in ("stored", "bilinear"):
        Preprocess("multispectral", upsample).check(patches)


def test_a_single_band_is_that_of_all_twelve(patches):
    batch = {"data_super": patches.array("data_super")[:2]}
    every, one = Preprocess()(batch), Preprocess("B8A")
    assert one.channels == 1
    np.testing.assert_array_equal(one(batch)[..., 0], every[..., bands.NAMES.index("B8A")])
