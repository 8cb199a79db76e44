"""Which samples a rank takes at which step of an epoch; pure NumPy."""

from dataclasses import dataclass

import numpy as np

# consecutive samples of the file that stay together in the shuffle: 5.5 MB of data_super, one
# stretch on disk
BLOCK = 16
WINDOW = 8  # steps whose samples are mixed with each other, and are read ahead together


@dataclass(frozen=True)
class Dealing:
    """How the samples of a split are dealt to steps and ranks.

    Shuffled (training): in every epoch the positions are cut into blocks of `BLOCK` neighbours, the
    blocks are put in random order, and the samples are mixed within windows of `WINDOW` steps. A
    step's samples are the same for any number of ranks with the same global batch (batch_size x
    world_size); each rank takes those of one stretch of the file. All ranks have the same number of
    full batches. The samples that do not fill a step are left out of the epoch; which ones rotates,
    so that each is left out in turn.

    In order (evaluation): every sample exactly once over all ranks; the last batches are short, or
    empty.

    Attributes:
        positions: (M,) int64, ascending, over all ranks.
        batch_size: samples per rank and step.
        rank, world_size: which of how many ranks this is.
        steps: steps of an epoch.
        seed: of the shuffle.
        shuffle: a new order in each epoch, or the file's order.
    """

    positions: np.ndarray
    batch_size: int
    rank: int
    world_size: int
    steps: int
    seed: int
    shuffle: bool

    @property
    def global_batch(self) -> int:
        """Samples of a step over all ranks."""
        return self.batch_size * self.world_size

    def order(self, epoch: int) -> np.ndarray:
        """The positions of an epoch over all ranks, int64: step s is [s * global_batch, (s + 1) *
        global_batch)."""
        if not self.shuffle:
            return self.positions
        random = np.random.default_rng([self.seed, epoch])
        total = len(self.positions)
        left = total - self.steps * self.global_batch
        kept = np.delete(self.positions, (epoch * left + np.arange(left)) % total)
        block = (np.arange(len(kept)) + random.integers(BLOCK)) // BLOCK
        place = random.permutation(block[-1] + 1)[block]
        kept = kept[np.argsort(place, kind="stable")]
        window = np.arange(len(kept)) // (WINDOW * self.global_batch)
        return kept[np.lexsort((random.random(len(kept)), window))]

    def batch(self, order: np.ndarray, step: int) -> np.ndarray:
        """This rank's positions of a step of an epoch that has this order."""
        all_ranks = order[step * self.global_batch : (step + 1) * self.global_batch]
        first = self.rank * self.batch_size
        mine = np.argsort(all_ranks, kind="stable")[first : first + self.batch_size]
        return all_ranks[np.sort(mine)]

    def window_end(self, step: int) -> int:
        """The step after the last of the window that a step is in."""
        return min(self.steps, (step // WINDOW + 1) * WINDOW)
