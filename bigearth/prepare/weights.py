"""The published weights of DSen2's original architecture for Level-2A images, retrained by UP42
(GPL-3.0).

They come in the PyPI wheel `remote-sensing-processor` 0.1; only the two weight files are taken from
it, none of its code.
"""

import zipfile
from typing import Optional

from bigearth.files import new_file
from bigearth.prepare import wheels

PACKAGE = "remote-sensing-processor==0.1"
WHEEL = "remote_sensing_processor-0.1-py3-none-any.whl"
SHA256 = "fdb006079405000ffde5640957ef3627f72be262387d2ab3f5ce0144eeb1686e"
MEMBER = "remote_sensing_processor/sentinel2/superres/weights/l2a_dsen2_{}m_s2_038_lr_1e-04.hdf5"


def find(weights_20m: Optional[str], weights_60m: Optional[str]) -> dict:
    """Resolution (20, 60) -> weight file: the given ones, else the published ones.

    Raises:
        InputError: a published one is needed and cannot be fetched or kept.
    """
    given = {20: weights_20m, 60: weights_60m}
    if all(given.values()):
        return given
    return {r: given[r] or path for r, path in published().items()}


def published() -> dict:
    """Resolution (20, 60) -> path of the weight file in the cache, fetched if they are not there
    yet.

    Raises:
        InputError: they cannot be fetched or kept.
    """
    paths = {
        resolution: wheels.cache() / MEMBER.format(resolution).split("/")[-1]
        for resolution in (20, 60)
    }
    if not all(path.exists() for path in paths.values()):
        with zipfile.ZipFile(wheels.fetch(PACKAGE, WHEEL, SHA256)) as package:
            for resolution, path in paths.items():
                with (
                    new_file(path, "keep the weights") as partial,
                    package.open(MEMBER.format(resolution)) as source,
                ):
                    partial.write_bytes(source.read())
    return paths
