"""Batches from the HDF5 file at memory speed: shuffled over all ranks, resumable at any step, one
pipeline element per batch.

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
from typing import Iterator, Optional

import numpy as np
import tensorflow as tf

from bigearth.errors import InputError
from bigearth.learn.input.dealing import Dealing
from bigearth.learn.input.pagecache import Samples
from bigearth.learn.input.stage import Staged
from bigearth.store import ARRAYS, Store

AHEAD = 2  # threads that read ahead


class Reader:
    """Reads the samples of one split, this rank's part of them (see `dealing.Dealing`).

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

    Attributes:
        steps: steps of an epoch, the same on all ranks.
        signature: what a batch is: key -> TensorSpec of uint16 (n, ...), "classes" -> of uint8 (n,
            43), "position" -> of int64 (n,).
        failure: why the last pass ended early, an InputError, or None.
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
        """Opens the arrays; the arguments are those of the class."""
        positions = np.sort(np.asarray(positions, np.int64))
        total = len(positions)
        if total == 0:
            raise InputError(
                f"{store.path}: no samples to read, expected at least one; check the "
                "split lists the file was made with"
            )
        if staged:
            # a rank shares its node's part with the other ranks there; all nodes take the steps
            # that the smallest part allows
            positions = staged.part(positions)
            rank, world_size = staged.local_rank, staged.local_size
            total = total // staged.nodes if shuffle else -(-total // staged.nodes)
        global_batch = batch_size * world_size
        if shuffle and total < global_batch:
            raise InputError(
                f"{store.path}: {total} samples do not fill one batch of {batch_size} on each of "
                f"{world_size} ranks, expected at least "
                f"{global_batch}; use a smaller batch, fewer ranks or more samples"
            )
        self.steps = total // global_batch if shuffle else -(-total // global_batch)
        self.dealing = Dealing(
            positions=positions,
            batch_size=batch_size,
            rank=rank,
            world_size=world_size,
            steps=self.steps,
            seed=seed,
            shuffle=shuffle,
        )
        count = batch_size if shuffle else None
        self.signature = {
            key: tf.TensorSpec((count,) + ARRAYS[key].shape, tf.uint16) for key in keys
        }
        self.signature["classes"] = tf.TensorSpec((count,) + store.classes.shape[1:], tf.uint8)
        self.signature["position"] = tf.TensorSpec((count,), tf.int64)
        self.failure = None
        self._classes, self._staged, self._threads = store.classes, staged, threads
        self._samples = {key: Samples(staged or store, key) for key in keys}
        self._buffers = {
            key: _Buffers((batch_size,) + ARRAYS[key].shape, ARRAYS[key].dtype, threads + 4)
            for key in keys
        }
        self._ahead = ThreadPoolExecutor(AHEAD, thread_name_prefix="read-ahead")

    def dataset(self, epoch: int, start_step: int = 0) -> tf.data.Dataset:
        """This rank's batches of an epoch as a prefetched pipeline, one element per batch; in the
        GPU's memory, if there is a GPU.

        Args:
            epoch: from 0.
            start_step: the first step to read, e.g. on resuming.

        Returns:
            elements as in `signature`.
        """
        self.failure = None
        epoch_pass = _Pass(self, epoch)
        dtypes = [spec.dtype for spec in self.signature.values()]

        def element(step):
            tensors = tf.numpy_function(epoch_pass.batch, [step], dtypes)
            for tensor, spec in zip(tensors, self.signature.values()):
                tensor.set_shape(spec.shape)
            return dict(zip(self.signature, tensors))

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

    def batches(self, epoch: int = 0, start_step: int = 0) -> Iterator[dict]:
        """Iterates over `dataset`.

        Raises:
            InputError: a sample cannot be read. (TensorFlow wraps what a pipeline raises in an
                error of its own.)
        """
        try:
            yield from self.dataset(epoch, start_step)
        except (tf.errors.OpError, InputError) as error:
            raise self.failure or error from None

    def blank(self) -> dict:
        """A batch of zeros, of training's one shape."""
        return {key: tf.zeros(spec.shape, spec.dtype) for key, spec in self.signature.items()}

    def rows(self, positions: np.ndarray) -> np.ndarray:
        """Where samples are in the arrays that this reader reads."""
        return self._staged.rows(positions) if self._staged else positions

    def gather(self, positions: np.ndarray) -> list:
        """The samples at some positions, arrays in the order of `signature`.

        Raises:
            InputError: they cannot be read.
        """
        rows = self.rows(positions)
        arrays = []
        for key, samples in self._samples.items():
            arrays.append(self._buffers[key].take(len(positions)))
            samples.read(rows, arrays[-1])
        return [*arrays, self._classes[positions], positions]

    def prefetch(self, positions: np.ndarray) -> list:
        """Has samples brought into the page cache, in file order; returns what to wait for."""
        parts = np.array_split(np.sort(self.rows(positions)), AHEAD)
        return [
            self._ahead.submit(samples.prefetch, part)
            for part in parts
            for samples in self._samples.values()
        ]

    def close(self) -> None:
        """Lets the files and threads go (TensorFlow keeps what it has iterated over alive); batches
        that came stay valid."""
        self._ahead.shutdown(cancel_futures=True)
        self._samples.clear()


class _Pass:
    """One pass over an epoch; TensorFlow's threads ask it for batches, several at once."""

    def __init__(self, reader: Reader, epoch: int):
        self._reader, self._dealing = reader, reader.dealing
        self._order = self._dealing.order(epoch)
        self._lock = threading.Lock()
        self._ahead = {}  # end of a window -> what has been asked for ahead of it

    def batch(self, step: np.ndarray) -> list:
        """This rank's batch of a step; its window and the next are read ahead."""
        step = int(step)
        end = self._dealing.window_end(step)
        with self._lock:
            self._read_ahead(step)
            self._read_ahead(end)
        wait(self._ahead[end])
        try:
            return self._reader.gather(self._dealing.batch(self._order, step))
        except InputError as error:
            self._reader.failure = error
            raise

    def _read_ahead(self, first: int) -> None:
        """Asks for the samples of this rank from a step to the end of its window, once."""
        end = self._dealing.window_end(first)
        if first < self._dealing.steps and end not in self._ahead:
            steps = [self._dealing.batch(self._order, s) for s in range(first, end)]
            self._ahead[end] = self._reader.prefetch(np.concatenate(steps))


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
