"""Collective communication: the only module that knows Horovod. A run of one process uses the null
object `Single` instead.

Both classes have the same methods, so that the rest of the code is the same at any number of ranks.
"""

import os
from contextlib import contextmanager

import numpy as np
import tensorflow as tf

from bigearth import launcher
from bigearth.errors import InputError
from bigearth.learn import layers

STALL_SECONDS = "1800"  # one node may stage its data that much longer than another


def own_gpu(local_rank: int):
    """Gives this rank its GPU and no other, memory taken as it is needed; None without GPUs."""
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return None
    own = gpus[local_rank % len(gpus)]
    tf.config.set_visible_devices(own, "GPU")
    tf.config.experimental.set_memory_growth(own, True)
    return own


class Single:
    """One process: every collective is the identity."""

    rank = local_rank = 0
    size = 1
    backend = "none"

    def average(self, tensors: list) -> list:
        """The mean of each tensor over ranks; call it inside a tf.function with the same shapes on
        all ranks."""
        return list(tensors)

    def mean(self, tensor):
        """The mean of one tensor over ranks, exact and differentiable (synchronised BatchNorm)."""
        return tensor

    def sum(self, array: np.ndarray) -> np.ndarray:
        """The sum over ranks of an integer or float array; call it eagerly."""
        return array

    def gather(self, value) -> list:
        """One picklable object per rank, in rank order, on every rank."""
        return [value]

    def broadcast(self, variables: list) -> None:
        """Sets the variables to rank 0's values."""

    def barrier(self) -> None:
        """Waits for every rank."""
        self.gather(None)

    @contextmanager
    def trace(self, path):
        """Writes a timeline of the collectives while the block runs; a single process has none."""
        yield


class Horovod(Single):
    """All ranks of an MPI, Slurm or Gloo launch.

    Args:
        groups: gradients are reduced in this many groups of equal bytes, last layers first: each
            group is one operation that starts as soon as the backward pass has made its last
            gradient, and overlaps with the rest of that pass.
        compression: "none", or "fp16": gradients cross the network, and are summed, in float16.
    """

    def __init__(self, groups: int = 4, compression: str = "none"):
        import horovod.tensorflow as horovod

        horovod.init()
        self._horovod = horovod
        self._groups = groups
        self._compression = compression
        self.rank, self.size, self.local_rank = horovod.rank(), horovod.size(), horovod.local_rank()
        transport = "mpi" if horovod.mpi_enabled() else "gloo"
        self.backend = (
            f"{transport}+nccl"
            if horovod.nccl_built() and tf.config.list_physical_devices("GPU")
            else transport
        )

    def average(self, tensors):
        averaged = [None] * len(tensors)
        for number, members in enumerate(split_by_bytes(tensors, self._groups)):
            results = self._horovod.grouped_allreduce(
                [tensors[i] for i in members],
                op=self._horovod.Average,
                compression=getattr(self._horovod.Compression, self._compression),
                name=f"gradients_{number}",
            )
            for i, result in zip(members, results):
                averaged[i] = result
        return averaged

    def mean(self, tensor):
        return self._horovod.allreduce(tensor, op=self._horovod.Average)

    def sum(self, array):
        return self._horovod.allreduce(tf.constant(array), op=self._horovod.Sum, name="sum").numpy()

    def gather(self, value):
        return self._horovod.allgather_object(value)

    def broadcast(self, variables):
        self._horovod.broadcast_variables(raw(variables), root_rank=0)

    @contextmanager
    def trace(self, path):
        if not path:
            yield
            return
        self._horovod.start_timeline(os.fspath(path), mark_cycles=True)
        try:
            yield
        finally:
            self._horovod.stop_timeline()


def connect(groups: int = 4, compression: str = "none") -> Single:
    """Joins the other ranks of this launch, through Horovod if there are any.

    Args:
        groups, compression: see `Horovod`.

    Raises:
        InputError: several processes were launched and Horovod is not installed.
    """
    _, launched = launcher.size() or ("", 1)
    if launched == 1:
        return Single()
    if not tf.config.list_physical_devices("GPU"):
        # Open MPI's ranks poll while they wait; on CPUs that takes the cores from the ranks that
        # still compute
        os.environ.setdefault("OMPI_MCA_mpi_yield_when_idle", "1")
    os.environ.setdefault("HOROVOD_TIMELINE", "DYNAMIC")  # lets `trace` start one
    # a rank that lives but does not take part ends the job, too; see also learn/watchdog.py
    os.environ.setdefault("HOROVOD_STALL_SHUTDOWN_TIME_SECONDS", STALL_SECONDS)
    try:
        return Horovod(groups, compression)
    except ImportError as error:
        raise InputError(
            f"Horovod cannot be loaded ({error}) and {launched} processes were launched; expected "
            "an installed Horovod; run `make setup`, or start one process"
        ) from error


def split_by_bytes(tensors: list, groups: int) -> list:
    """`layers.split_by_bytes` of tensors: lists of positions in `tensors`."""
    return layers.split_by_bytes(
        sizes=[int(np.prod(t.shape)) * t.dtype.size for t in tensors],
        kinds=[t.dtype for t in tensors],
        groups=groups,
    )


def raw(variables) -> list:
    """The tf.Variables behind Keras' variables, bare as Horovod wants them: Keras 3 wraps all,
    Keras 2 those of mixed precision."""
    inner = [v if isinstance(v, tf.Variable) else v.value for v in variables]
    return [getattr(v, "_variable", v) for v in inner]  # Keras 2's AutoCastVariable
