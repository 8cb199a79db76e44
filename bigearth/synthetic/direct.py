"""Synthetic patches as something to fill an HDF5 file from, without an archive in between."""

from typing import Iterator

import numpy as np

from bigearth import store
from bigearth.prepare.sharing import Block, Clock
from bigearth.synthetic import geography, landscape, synthesis

BLOCK = 64  # patches that are drawn and written together: 32 MB in the file


class SyntheticSource:
    """Patches that are drawn when they are needed (see sharing.Source): the very patches of the
    archive that `synthesis` writes from the same number and seed.

    Args:
        count: number of patches.
        seed: of every random number.

    Attributes:
        names: patch names, ascending.
        splits: (N,) uint8 codes into `store.SPLITS`; snowy and cloudy patches are in none.
    """

    def __init__(self, count: int, seed: int):
        self._seed = seed
        self._patches = synthesis.plan(count, seed)
        self.names = [patch.name for patch in self._patches]
        groups = [p.group if p.group in geography.SPLIT_SHARES else "none" for p in self._patches]
        self.splits = np.array([store.SPLITS.index(group) for group in groups], np.uint8)

    def blocks(self) -> list:
        """Runs of `BLOCK` neighbours in the file."""
        starts = range(0, len(self.names), BLOCK)
        return [Block(i, None, np.arange(i, min(i + BLOCK, len(self.names)))) for i in starts]

    def pieces(self, blocks: list, clock: Clock) -> Iterator[tuple]:
        """Yields (positions, arrays) of each block: its patches' native bands and classes."""
        landscape.prepare()
        for block in blocks:
            with clock("draw"):
                arrays = self._draw(block.positions)
            yield block.positions, arrays

    def _draw(self, positions: np.ndarray) -> dict:
        keys = store.NATIVE + ("classes",)
        arrays = {
            key: np.zeros((len(positions),) + store.ARRAYS[key].shape, store.ARRAYS[key].dtype)
            for key in keys
        }
        for i, position in enumerate(positions):
            patch = self._patches[position]
            for resolution, image in synthesis.pixels(patch, self._seed, position).items():
                arrays[f"data_{resolution}m"][i] = image
            arrays["classes"][i, patch.labels] = 1
        return arrays
