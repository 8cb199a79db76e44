"""Which samples a rank takes at which step of an epoch; pure NumPy."""

from dataclasses import dataclass

import numpy as np

# the most steps whose samples are mixed with each other, and are read ahead together; and the most
# neighbours in the file that stay together: 5.5 MB of data_super, one stretch on disk
WINDOW = 16


@dataclass(frozen=True)
class Dealing:
    """How the samples of a split are dealt to steps and ranks.

    Shuffled (training): an epoch is cut into windows of w steps, and the file into stretches of w
    neighbours, as many for each window as the global batch has places; which stretch is for which
    window and place is drawn anew in every epoch. In every step a place takes one sample of its
    stretch, in random order. A rank has its own places: within a window it reads whole stretches,
    from all over the file, and never two samples of one stretch in one batch. The samples of a step
    are the same for any number of ranks with the same global batch. All ranks have the same number
    of full batches. The samples that do not fill a step are left out of the epoch; which ones
    rotates, so that each is left out in turn.

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

    def bounds(self) -> np.ndarray:
        """(windows + 1,) the steps at which windows begin, and the end of the last: as few windows
        of at most `WINDOW` steps as there can be, of almost equal length."""
        return np.linspace(0, self.steps, -(-self.steps // WINDOW) + 1).astype(int)

    def window_end(self, step: int) -> int:
        """The step after the last of the window that a step is in."""
        bounds = self.bounds()
        return int(bounds[min(np.searchsorted(bounds, step, side="right"), len(bounds) - 1)])

    def order(self, epoch: int) -> np.ndarray:
        """The positions of an epoch over all ranks, int64: step s is [s * global_batch, (s + 1) *
        global_batch), in the order of the places."""
        if not self.shuffle:
            return self.positions
        random = np.random.default_rng([self.seed, epoch])
        total = len(self.positions)
        left = total - self.steps * self.global_batch
        kept = np.delete(self.positions, (epoch * left + np.arange(left)) % total)
        kept = np.roll(kept, random.integers(WINDOW))  # stretches begin elsewhere in every epoch
        steps = np.diff(self.bounds())
        stretch = random.permutation(len(steps) * self.global_batch).reshape(len(steps), -1)
        lengths = np.empty(stretch.size, int)
        lengths[stretch] = steps[:, None]
        first = np.cumsum(lengths) - lengths
        windows = []
        for own, length in zip(stretch, steps):
            samples = kept[first[own][:, None] + np.arange(length)]
            windows.append(random.permuted(samples, axis=1).T.ravel())
        return np.concatenate(windows)

    def batch(self, order: np.ndarray, step: int) -> np.ndarray:
        """This rank's positions of a step of an epoch that has this order."""
        first = step * self.global_batch + self.rank * self.batch_size
        end = min(first + self.batch_size, (step + 1) * self.global_batch)
        return order[first:end]
