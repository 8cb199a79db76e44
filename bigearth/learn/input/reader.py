"""Batches from the HDF5 file at memory speed: shuffled over all ranks, resumable at any step, one
pipeline element a batch.

The arrays of the file are contiguous, so a batch is gathered without HDF5 (and its interpreter-wide
lock): from a memory map where the samples are in the page cache, with pread where they are not;
what the next steps need is brought into the page cache ahead of them, in file order. Threads gather
whole batches into buffers that are used again, because per-sample Python and the page faults of
fresh 20 MB buffers are what an input pipeline of this kind usually waits for.

TensorFlow takes a batch without copying it. A buffer therefore goes back to the pool only when
nothing refers to it any more, neither in NumPy nor in TensorFlow; if all are in use a new one is
made, so that a slow consumer costs memory, never correctness.
"""

import collections
import ctypes
import mmap
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Optional

import numpy as np
import tensorflow as tf

from bigearth.errors import InputError
from bigearth.learn.input.pagecache import Samples
from bigearth.learn.input.stage import Staged
from bigearth.store import ARRAYS, Store

# consecutive samples of the file that stay together in the shuffle: 5.5 MB of data_super, one
# stretch on disk
BLOCK = 16
WINDOW = 8  # steps whose samples are mixed with each other, and are read ahead together
AHEAD = 2  # threads that read ahead


class Reader:
    """Reads the samples of one split, this rank's part of them.

    Shuffled (training): in every epoch the positions are cut into blocks of `BLOCK` neighbours, the
    blocks are put in random order, and the samples are mixed within windows of `WINDOW` steps. A
    step's samples are the same for any number of ranks with the same global batch (batch_size x
    world_size); each rank takes those of one stretch of the file. All ranks have the same number of
    full batches. The samples that do not fill a step are left out of the epoch; which ones rotates,
    so that each is left out in turn.

    In order (evaluation): every sample exactly once over all ranks; the last batches are short, or
    empty.

    Attributes:
        steps: steps of an epoch, the same on all ranks.
        failure: why the last pass ended early, an InputError, or None. TensorFlow wraps what a
            pipeline raises in an error of its own; a trainer that catches one raises this instead.
    """

    def __init__(
        self,
        store: Store,
        positions: np.ndarray,
        keys: tuple,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        seed: int = 0,
        shuffle: bool = True,
        staged: Optional[Staged] = None,
        threads: int = 4,
    ):
        """Opens the arrays.

        Args:
            store: the file.
            positions: (M,) int64, the samples to read, over all ranks.
            keys: arrays to read, e.g. ("data_super",).
            batch_size: samples per rank and step.
            rank, world_size: which of how many ranks this is.
            seed: of the shuffle; the same on all ranks.
            shuffle: a new order in each epoch, or the file's order.
            staged: the node's copy to read from, of its part of the positions; they have to be a
                whole split then.
            threads: batches gathered at once.

        Raises:
            InputError: no samples, or fewer than one batch on every rank (shuffled).
        """
        positions = np.sort(np.asarray(positions, np.int64))
        total = len(positions)
        if total == 0:
            raise InputError(
                f"{store.path}: no samples to read, expected at least one; check the "
                "split lists the file was made with"
            )
        # a rank shares its node's part with the other ranks there; all nodes take the steps that
        # the smallest part allows
        if staged:
            positions, rank, world_size = (
                staged.part(positions),
                staged.local_rank,
                staged.local_size,
            )
            total = total // staged.nodes if shuffle else -(-total // staged.nodes)
        self._global_batch = batch_size * world_size
        if shuffle and total < self._global_batch:
            raise InputError(
                f"{store.path}: {total} samples do not fill one batch of {batch_size} on each of "
                f"{world_size} ranks, expected at least "
                f"{self._global_batch}; use a smaller batch, fewer ranks or more samples"
            )
        self.steps = total // self._global_batch if shuffle else -(-total // self._global_batch)
        self.failure = None
        self._positions, self._batch_size, self._rank, self._seed, self._shuffle = (
            positions,
            batch_size,
            rank,
            seed,
            shuffle,
        )
        self._classes, self._staged = store.classes, staged
        self._samples = {key: Samples(staged or store, key) for key in keys}
        self._buffers = {
            key: _Buffers((batch_size,) + ARRAYS[key].shape, ARRAYS[key].dtype, threads + 4)
            for key in keys
        }
        self._threads = threads
        self._lock = threading.Lock()
        self._ahead = ThreadPoolExecutor(AHEAD, thread_name_prefix="read-ahead")

    def order(self, epoch: int) -> np.ndarray:
        """The positions of an epoch over all ranks: step s is [s * global_batch, (s + 1) *
        global_batch). Int64."""
        if not self._shuffle:
            return self._positions
        random = np.random.default_rng([self._seed, epoch])
        total = len(self._positions)
        left = total - self.steps * self._global_batch
        kept = np.delete(self._positions, (epoch * left + np.arange(left)) % total)
        block = (np.arange(len(kept)) + random.integers(BLOCK)) // BLOCK
        place = random.permutation(block[-1] + 1)[block]
        kept = kept[np.argsort(place, kind="stable")]
        window = np.arange(len(kept)) // (WINDOW * self._global_batch)
        return kept[np.lexsort((random.random(len(kept)), window))]

    def _share(self, order: np.ndarray, step: int) -> np.ndarray:
        """This rank's positions of a step."""
        together = order[step * self._global_batch : (step + 1) * self._global_batch]
        mine = np.argsort(together, kind="stable")[
            self._rank * self._batch_size : (self._rank + 1) * self._batch_size
        ]
        return together[np.sort(mine)]

    def _rows(self, positions: np.ndarray) -> np.ndarray:
        return self._staged.rows(positions) if self._staged else positions

    def _prefetch(self, order: np.ndarray, step: int) -> list:
        """Has the samples of this rank read ahead, from a step to the end of its window; returns
        what to wait for."""
        window = [
            self._share(order, s)
            for s in range(step, min(self.steps, (step // WINDOW + 1) * WINDOW))
        ]
        rows = np.array_split(np.sort(self._rows(np.concatenate(window))), AHEAD)
        return [
            self._ahead.submit(samples.prefetch, part)
            for part in rows
            for samples in self._samples.values()
        ]

    def _read(self, order: np.ndarray, step: int, ahead: dict) -> dict:
        """This rank's batch of a step.

        Args:
            order: of the epoch.
            ahead: window -> what has been asked for ahead of it; this and the next window are
                added.
        """
        with self._lock:
            for first in (step, (step // WINDOW + 1) * WINDOW):
                if first < self.steps and first // WINDOW not in ahead:
                    ahead[first // WINDOW] = self._prefetch(order, first)
        wait(ahead[step // WINDOW])
        positions = self._share(order, step)
        rows = self._rows(positions)
        batch = {}
        for key, samples in self._samples.items():
            batch[key] = self._buffers[key].take(len(positions))
            samples.read(rows, batch[key])
        return {**batch, "classes": self._classes[positions], "position": positions}

    def dataset(self, epoch: int, start_step: int = 0) -> tf.data.Dataset:
        """This rank's batches of an epoch as a prefetched pipeline, one element a batch; in the
        GPU's memory, if there is a GPU.

        Args:
            epoch: from 0.
            start_step: the first step to read, e.g. on resuming.

        Returns:
            elements key -> uint16 (n, ...), "classes" -> uint8 (n, 43), "position" -> int64 (n,).
        """
        count = self._batch_size if self._shuffle else None
        signature = {
            key: tf.TensorSpec((count,) + ARRAYS[key].shape, tf.uint16) for key in self._samples
        }
        signature["classes"] = tf.TensorSpec((count,) + ARRAYS["classes"].shape, tf.uint8)
        signature["position"] = tf.TensorSpec((count,), tf.int64)
        order, ahead = self.order(epoch), {}
        self.failure = None

        def read(step):
            try:
                batch = self._read(order, int(step), ahead)
            except InputError as error:
                self.failure = error
                raise
            return [batch[key] for key in signature]

        def element(step):
            tensors = tf.numpy_function(read, [step], [spec.dtype for spec in signature.values()])
            for tensor, spec in zip(tensors, signature.values()):
                tensor.set_shape(spec.shape)
            return dict(zip(signature, tensors))

        data = tf.data.Dataset.range(start_step, self.steps).map(
            element, num_parallel_calls=self._threads, deterministic=True
        )
        # There is nothing to tune, and an iterator that ends waits for the tuner, which sleeps
        # twice as long each time (10 ms, 20 ms, ... 20.48 s, 40.96 s): epochs would seem to last
        # exactly that long.
        options = tf.data.Options()
        options.autotune.enabled = False
        # TensorFlow's own threads may all be busy with a step
        options.threading.private_threadpool_size = self._threads
        data = data.with_options(options)
        devices = tf.config.list_logical_devices("GPU")
        if devices:
            return data.apply(
                tf.data.experimental.prefetch_to_device(devices[0].name, buffer_size=2)
            )
        return data.prefetch(2)

    def close(self) -> None:
        """Lets the files and threads go (TensorFlow keeps what it has iterated over alive); batches
        that came stay valid."""
        self._ahead.shutdown(cancel_futures=True)
        self._samples.clear()


class _Buffers:
    """Equal buffers, each used again once nothing refers to what it was lent out as."""

    def __init__(self, shape: tuple, dtype: np.dtype, keep: int):
        """shape: of the largest array to be lent; keep: how many buffers are kept when none is in
        use."""
        self._shape, self._dtype = shape, dtype
        self._size = int(np.prod(shape)) * dtype.itemsize
        self._free = collections.deque(maxlen=keep)

    def take(self, count: int) -> np.ndarray:
        """An array of `count` rows in memory that nobody else has; page-aligned, as TensorFlow
        copies what is not aligned."""
        try:
            memory = self._free.pop()
        except IndexError:
            memory = mmap.mmap(-1, self._size)
        # What is lent is an owner below the array, not the array: whatever still sees the memory
        # keeps this owner alive.
        lent = (ctypes.c_char * self._size).from_buffer(memory)
        weakref.finalize(lent, self._free.append, memory).atexit = False
        return np.ndarray((count,) + self._shape[1:], self._dtype, buffer=lent)
