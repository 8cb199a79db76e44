"""Digital numbers in, what the network sees out, on the device: cast, bilinear upsampling,
normalisation.

uint16 crosses to the device. With `--upsample bilinear` the native 10, 20 and 60 m arrays cross
(160,000 bytes per patch instead of 345,600: 2.16 times fewer) and are brought to 10 m there.
"""

import tensorflow as tf

from bigearth import bands as table
from bigearth.errors import InputError
from bigearth.store import Store


class Preprocess:
    """Makes the network's input from a batch of the reader.

    Attributes:
        keys: the arrays that the reader has to deliver.
        channels: of the result: 12, 3 (red, green, blue: 10 m bands, read from `data_10m`
            alone), or 1.
    """

    def __init__(self, bands: str = "multispectral", upsample: str = "stored"):
        """Chooses the input.

        Args:
            bands: "multispectral" (12 bands in the order of bigearth.bands), "rgb", or the name of
                one band.
            upsample: how the 20 m and 60 m bands come to 10 m: "stored" takes `data_super` as it is
                in the file; "dsen2" does too, and `check` refuses a file whose `data_super` is not
                from DSen2; "bilinear" does it on the device, whatever the file holds.
        """
        self._rgb, self._upsample = bands == "rgb", upsample
        self._index = table.chosen(bands)
        self.channels = len(self._index)
        self._mean, self._std = table.MEAN[self._index], table.STD[self._index]
        if self._rgb:
            self.keys = ("data_10m",)
        elif upsample == "bilinear":
            self.keys = tuple(f"data_{r}m" for r in table.RESOLUTIONS)
        else:
            self.keys = ("data_super",)

    def check(self, store: Store) -> None:
        """Refuses a file that does not hold what was asked for.

        Raises:
            InputError: DSen2 asked for and the file's `data_super` is interpolated otherwise.
        """
        if self._upsample == "dsen2" and not self._rgb and store.interpolation != "dsen2":
            raise InputError(
                f"{store.path}: data_super was made by {store.interpolation} interpolation, "
                "expected dsen2; make the file with DSen2 or "
                "use --upsample bilinear"
            )

    def __call__(self, batch: dict) -> tf.Tensor:
        """Digital numbers to zero mean and unit variance of each band over BigEarthNet.

        Args:
            batch: `keys` -> uint16 (n, height, width, bands).

        Returns:
            (n, 120, 120, channels) float32.
        """
        if self._rgb:
            pixels = tf.gather(tf.cast(batch["data_10m"], tf.float32), table.RGB, axis=-1)
        elif self._upsample == "bilinear":
            pixels = tf.concat(
                [bilinear(tf.cast(batch[key], tf.float32)) for key in self.keys], axis=-1
            )
        else:
            pixels = tf.cast(batch["data_super"], tf.float32)
        if self.channels == 1:
            pixels = tf.gather(pixels, self._index, axis=-1)
        return (pixels - self._mean) / self._std


def bilinear(pixels: tf.Tensor) -> tf.Tensor:
    """Brings patches to 10 m, pixel areas aligned, edges clamped: weights in quarters for 20 m, in
    twelfths for 60 m.

    Args:
        pixels: (n, size, size, bands) float32, size 120, 60 or 20.

    Returns:
        (n, 120, 120, bands) float32, not rounded to whole digital numbers.
    """
    size = table.patch_size(10)
    if pixels.shape[1] == size:
        return pixels
    # half-pixel centres, no antialiasing: this convention
    return tf.image.resize(pixels, (size, size), "bilinear")
