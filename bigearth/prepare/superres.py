"""DSen2: super-resolution of the 20 m and 60 m bands to 10 m by a residual network (Lanaras et al.
    2018, arXiv:1803.04271).

Both networks take the 10 m bands and the bilinearly upsampled coarser ones, all over 2,000, and add
what they find to the upsampled bands: conv 3x3x128 + ReLU, six times (conv, ReLU, conv, x 0.1,
add), conv. A pixel of the result depends on the input up to 14 pixels away. A tile is worked
through in cores on a lattice that is fixed to the tile's corner, each with a border wider than that
(mirrored at the tile's edge), so the result is seamless and the same whichever patches are asked
for, by however many ranks.
"""

import hashlib
import os
from typing import Iterable

import numpy as np

from bigearth import bands, files
from bigearth.errors import InputError, one_line

SCALE = 2000.0  # digital numbers that are 1 to the network
CORE = 360  # pixels of 10 m: three patches, six 60 m pixels times ten
BORDER = 18  # 14 for the network and 3 for the interpolation of 60 m pixels, and whole 60 m pixels
BLOCKS, FILTERS = 6, 128
PARAMETERS = {20: 1_789_574, 60: 1_787_266}
# The orders of the 10 m bands that the two published networks were measured to take
# (docs/preparation.md).
ORDER_10M = {20: ("B02", "B03", "B04", "B08"), 60: ("B04", "B03", "B02", "B08")}


def layer_shapes(resolution: int) -> list:
    """(name in a weight file, kernel shape) of every convolution of the network for the 20 m or the
    60 m bands, first to last."""
    inputs = sum(len(bands.at(r)) for r in bands.RESOLUTIONS if r <= resolution)
    widths = [inputs] + [FILTERS] * (2 * BLOCKS + 1) + [len(bands.at(resolution))]
    names = ["conv2d"] + [f"conv2d_{i}" for i in range(1, 2 * BLOCKS + 2)]
    return [(name, (3, 3, before, after)) for name, before, after in zip(names, widths, widths[1:])]


def read_weights(path, resolution: int) -> list:
    """(kernel, bias) float32 of every convolution, from a weight file as Keras saves it.

    Raises:
        InputError: not a Keras weight file, or of another architecture.
    """
    import h5py  # here and not at the top: the caller chooses between h5py's serial and MPI builds

    expected = (
        f"expected the DSen2 network for {resolution} m bands ({PARAMETERS[resolution]:,} "
        "parameters); give another weight file"
    )
    if not os.path.exists(path):
        raise InputError(f"{path}: no such file; {expected}")
    files.regular(path, "weight file of Keras", "give another weight file")
    weights = []
    try:
        with h5py.File(path, "r") as file:
            model = file.get("model_weights", file)
            names = [n.decode() if isinstance(n, bytes) else n for n in model.attrs["layer_names"]]
            convolutions = [n for n in names if n.startswith("conv2d")]
            shapes = layer_shapes(resolution)
            if convolutions != [name for name, _ in shapes]:
                raise InputError(
                    f"{path}: weights of another architecture, {len(convolutions)} convolutions "
                    f"instead of {len(shapes)}; {expected}"
                )
            for name, shape in shapes:
                kernel, bias = (model[f"{name}/{name}/{part}:0"] for part in ("kernel", "bias"))
                if kernel.shape != shape or bias.shape != shape[-1:]:
                    raise InputError(
                        f"{path}: layer {name} has shape {kernel.shape}, of another "
                        f"architecture than {shape}; {expected}"
                    )
                weights.append((kernel[...].astype(np.float32), bias[...].astype(np.float32)))
    except InputError:
        raise
    except Exception as error:  # one bad byte makes h5py raise almost anything
        raise InputError(
            f"{path}: not a weight file of Keras ({one_line(error, 80)}); {expected}"
        ) from error
    assert sum(kernel.size + bias.size for kernel, bias in weights) == PARAMETERS[resolution]
    return weights


def build(resolution: int, weights: list):
    """The network as a Keras model: inputs (B, H, W, C) of each resolution from 10 m up to its own,
    all on the 10 m grid and over `SCALE`; output (B, H, W, bands) what is to be added to the
    upsampled bands."""
    import tensorflow as tf

    keras = tf.keras
    inputs = keras.Input((None, None, layer_shapes(resolution)[0][1][2]))
    convolutions = [
        keras.layers.Conv2D(kernel.shape[-1], 3, padding="same") for kernel, _ in weights
    ]
    x = keras.layers.ReLU()(convolutions[0](inputs))
    for first, second in zip(convolutions[1:-1:2], convolutions[2:-1:2]):
        inner = second(keras.layers.ReLU()(first(x)))
        x = keras.layers.Add()([x, keras.layers.Rescaling(0.1)(inner)])
    model = keras.Model(inputs, convolutions[-1](x))
    for layer, pair in zip(convolutions, weights):
        layer.set_weights(pair)
    assert model.count_params() == PARAMETERS[resolution]
    return model


class DSen2:
    """Both networks, ready to run; TensorFlow is imported here and nowhere else in preparation.

    Args:
        weights_20m, weights_60m: weight files.
        order_10m: resolution of a network -> names of the 10 m bands in the order of its first
            inputs.
        core: pixels of 10 m along the side of what is worked through at once; a multiple of 6. The
            result does not depend on it.

    Attributes:
        digest: SHA-256 of weights and orders: networks of one digest give the same result.

    Raises:
        InputError: weights of another architecture.
    """

    def __init__(self, weights_20m, weights_60m, order_10m: dict = ORDER_10M, core: int = CORE):
        self._core = core
        weights = {20: read_weights(weights_20m, 20), 60: read_weights(weights_60m, 60)}
        places = {band.name: place for place, band in enumerate(bands.at(10))}
        parts = [repr(order_10m).encode()] + [
            array.tobytes() for layers in weights.values() for pair in layers for array in pair
        ]
        self.digest = hashlib.sha256(b"".join(parts)).hexdigest()
        self._order = {r: [places[name] for name in order] for r, order in order_10m.items()}
        import tensorflow as tf

        self._networks = {
            r: tf.function(build(r, w), reduce_retracing=True) for r, w in weights.items()
        }

    def predict(self, native: dict, resolutions: Iterable[int] = (20, 60)) -> np.ndarray:
        """Super-resolves a whole image; within 17 pixels of its edge the result feels the edge.

        Args:
            native: resolution -> (H, W, bands) digital numbers; 10, 20 and, for resolution 60, 60;
                all of one area.
            resolutions: which bands to make.

        Returns:
            (H, W, bands) float32 digital numbers at 10 m.
        """
        fine = {10: native[10].astype(np.float32) / np.float32(SCALE)}
        for r in (20, 60):
            if r <= max(resolutions):
                fine[r] = upsample(
                    native[r].astype(np.float32), native[10].shape[0] // native[r].shape[0]
                ) / np.float32(SCALE)
        made = []
        for r in resolutions:
            stacked = np.concatenate(
                [fine[10][..., self._order[r]]] + [fine[s] for s in (20, 60) if s <= r], axis=-1
            )
            made.append((self._networks[r](stacked[None])[0].numpy() + fine[r]) * np.float32(SCALE))
        return np.concatenate(made, axis=-1)

    def window(self, cuts: list, columns: int, rows: int) -> tuple:
        """(left, top, right, bottom) in pixels of 10 m: what must be read of a tile of some size
        for the patches `cuts`."""
        cores = [core for cut in cuts for core in _cores(cut, self._core)]
        left, top = min(x for x, _ in cores) - BORDER, min(y for _, y in cores) - BORDER
        right, bottom = (
            max(x for x, _ in cores) + self._core + BORDER,
            max(y for _, y in cores) + self._core + BORDER,
        )
        return max(left, 0), max(top, 0), min(right, columns), min(bottom, rows)

    def restore(self, windows: dict, corner: tuple, size: tuple, cuts: list) -> np.ndarray:
        """Super-resolves the cores that some patches lie in.

        Args:
            windows: resolution -> (h, w, bands) uint16, the part of the tile that `window` asks
                for.
            corner: (left, top) of that part.
            size: (columns, rows) of the tile, in pixels of 10 m.
            cuts: the patches (cut.Cut).

        Returns:
            (h, w, 8) float32 digital numbers: the 20 m and 60 m bands at 10 m; undefined where no
            patch of `cuts` is.
        """
        result = np.empty(
            windows[10].shape[:2] + (len(bands.at(20)) + len(bands.at(60)),), np.float32
        )
        for x, y in sorted({place for cut in cuts for place in _cores(cut, self._core)}):
            width, height = min(self._core, size[0] - x), min(self._core, size[1] - y)
            native = {
                r: window[
                    np.ix_(
                        _mirrored(y, height, size[1], scale=r // 10) - corner[1] * 10 // r,
                        _mirrored(x, width, size[0], scale=r // 10) - corner[0] * 10 // r,
                    )
                ]
                for r, window in windows.items()
            }
            place = (
                slice(y - corner[1], y - corner[1] + height),
                slice(x - corner[0], x - corner[0] + width),
            )
            result[place] = self.predict(native)[BORDER:-BORDER, BORDER:-BORDER]
        return result


def _cores(cut, core: int) -> list:
    """Upper left corners of the cores that a patch touches."""
    side = bands.patch_size(10)
    return [
        (x * core, y * core)
        for x in range(cut.column // core, (cut.column + side - 1) // core + 1)
        for y in range(cut.row // core, (cut.row + side - 1) // core + 1)
    ]


def _mirrored(start: int, length: int, size: int, scale: int) -> np.ndarray:
    """Coarse pixels from BORDER before `start` to BORDER after `start + length` (both in 10 m
    pixels), mirrored at 0 and `size`."""
    indices = np.arange((start - BORDER) // scale, (start + length + BORDER) // scale)
    last = size // scale - 1
    indices = np.where(indices < 0, -1 - indices, indices)
    return np.where(indices > last, 2 * last + 1 - indices, indices)


def upsample(coarse: np.ndarray, scale: int) -> np.ndarray:
    """Bilinear interpolation as of bigearth.prepare.bilinear, of one image and in floating point.

    Args:
        coarse: (H, W, C) float.
        scale: whole number.

    Returns:
        (H*scale, W*scale, C) of the same dtype.
    """
    for axis in (0, 1):
        size = coarse.shape[axis]
        centre = (np.arange(size * scale) + 0.5) / scale - 0.5
        before = np.floor(centre).astype(int)
        shape = [-1 if a == axis else 1 for a in range(coarse.ndim)]
        share = (centre - before).astype(coarse.dtype).reshape(shape)
        low = np.take(coarse, np.clip(before, 0, size - 1), axis)
        high = np.take(coarse, np.clip(before + 1, 0, size - 1), axis)
        coarse = low + share * (high - low)
    return coarse
