"""Keeps ranks that work independently in touch: progress of all on rank 0, and an early stop of all
when one fails."""

import sys
import traceback
from typing import Callable, Optional

from mpi4py import MPI

from bigearth.errors import InputError, together
from bigearth.progress import Progress

_REPORT, _STOP = 1, 2  # message tags
_DONE, _FAILED = "done", "failed"


class Team:
    """Ranks that each work through a share of their own; use it as a context manager around the
    whole share.

    Leaving the block waits for all ranks; an InputError raised in it on any rank is then raised on
    all of them. Any other exception ends all ranks at once.

    Args:
        comm: the communicator.
        total: work of all ranks together.
        label, unit: for the progress bar.
        receive: what rank 0 does with the payload of every report; may raise InputError.
    """

    def __init__(
        self, comm: MPI.Comm, total: int, label: str, unit: str, receive: Optional[Callable] = None
    ):
        self._comm = comm
        self._progress = Progress(total, label, unit, show=comm.rank == 0)
        self._receive = receive
        self._working = comm.size
        self._stopped = False
        self._failure = None

    @property
    def stopped(self) -> bool:
        """True once a rank has failed: go no further."""
        if self._comm.rank != 0 and not self._stopped:
            self._stopped = self._comm.iprobe(source=0, tag=_STOP)
        return self._stopped

    def report(self, count: int, payload=None) -> None:
        """Says that `count` more units are done, and hands rank 0 their payload (if any)."""
        self._tell((count, payload))

    def _tell(self, message) -> None:
        if self._comm.rank != 0:
            self._comm.send(message, 0, _REPORT)
            return
        self._hear(message)
        while self._comm.iprobe(tag=_REPORT):
            self._hear(self._comm.recv(tag=_REPORT))

    def _hear(self, message) -> None:
        """Rank 0: takes one message."""
        if message in (_DONE, _FAILED):
            self._working -= 1
            if message == _FAILED:
                self._stop()
            return
        count, payload = message
        if payload is not None and not self._stopped:
            try:
                self._receive(payload)
            except InputError as error:
                self._failure = error
                self._stop()
        self._progress.update(count)

    def _stop(self) -> None:
        if not self._stopped:
            self._stopped = True
            for rank in range(1, self._comm.size):
                self._comm.send(None, rank, _STOP)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if error is not None and not isinstance(error, InputError):
            traceback.print_exception(kind, error, trace)
            sys.stderr.flush()
            self._comm.Abort(1)
        self._tell(_FAILED if error else _DONE)
        while self._comm.rank == 0 and self._working:
            self._hear(self._comm.recv(tag=_REPORT))
        with self._progress, together(self._comm.allgather):
            if error or self._failure:
                raise error or self._failure
