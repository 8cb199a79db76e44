"""One run that fills an HDF5 file from some source, by all ranks: lock, write, result record,
name."""

import contextlib
import dataclasses
import resource
import socket
import sys
import time
from pathlib import Path
from typing import Callable

import h5py
import numpy as np
from mpi4py import MPI

from bigearth import cli, files, provenance, record, store
from bigearth.errors import InputError, together
from bigearth.prepare import extract, sharing
from bigearth.prepare.sharing import Source

COMM = MPI.COMM_WORLD


@dataclasses.dataclass(frozen=True)
class Job:
    """What is to be written: the patches of the file, sorted, with (N,) uint8 splits, and where
    they come from.

    Attributes:
        source: gives their pixels and labels.
        description: the file's attribute `source`.
        interpolation: how `data_super` is made: one of `store.INTERPOLATIONS`.
        names, splits: as of `store.create`.
        partial: from `extract.partial_path`.
        classes: 43 or 19.
        counts: what the record's provenance says besides, e.g. which patches were skipped.
    """

    source: Source
    description: str
    interpolation: str
    names: list
    splits: np.ndarray
    partial: Path
    classes: int
    counts: dict


@dataclasses.dataclass(frozen=True)
class Output:
    """Where it goes.

    Attributes:
        target: the HDF5 file, with links followed.
        record: path of the result record.
    """

    target: Path
    record: str

    @classmethod
    def check(cls, out: str, record: str, inputs: list):
        """From the options --out and --record (which may be None: beside the file).

        Args:
            inputs: all that is read; none of it is ever replaced.

        Raises:
            InputError: one is an input, a folder or a device, or both are one file.
        """
        record = record or f"{out.removesuffix('.h5')}.result.json"
        target = files.check_output(out, inputs)
        if files.check_output(record, inputs) == target:
            raise InputError(
                f"{out}: is both --out and --record; expected two names; give another --record"
            )
        if target.is_dir():
            raise InputError(
                f"{out}: is a folder; expected the name of the HDF5 file to write; give another "
                "name"
            )
        return cls(target, record)


def say(sentence: str) -> None:
    """Prints one line on standard error, on rank 0."""
    if COMM.rank == 0:
        print(sentence, file=sys.stderr, flush=True)


def carry_out(prepare: Callable, output: Output, config, workload: str, method: str, io: str):
    """Writes the file and its record; every rank calls it.

    Args:
        prepare: makes the `Job`, once this run has the file to itself.
        output: where it goes.
        config: the program's options, for the record.
        workload: the program's name in record and messages, e.g. "prepare".
        method: how work is shared out, a key of `sharing.METHODS`.
        io: "auto", "mpio" or "rank0".

    Raises:
        InputError: on all ranks.
    """
    start, begun = provenance.now(), time.perf_counter()
    mpio = _mpio(io, workload)
    how = "each writes through MPI-IO" if mpio else "rank 0 writes for all"
    say(f"{workload}: {COMM.size} rank(s), {how}")
    with contextlib.ExitStack() as stack:
        with together(COMM.allgather):
            if COMM.rank == 0:
                stack.enter_context(files.lock(output.target, workload))
        job = prepare()
        todo, clock = _write(job, method, mpio, workload=workload)
        elapsed = time.perf_counter() - begun
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        clocks = COMM.gather((clock, dict(hostname=socket.gethostname(), peak_memory=peak)))
        with together(COMM.allgather):
            if COMM.rank == 0:
                digest = store.finish(job.partial)
                made = _record(job, config, workload, clocks=clocks, elapsed=elapsed)
                made.provenance = provenance.gather(
                    start,
                    [rank["hostname"] for rank in made.ranks],
                    digest,
                    elapsed=elapsed,
                    patches=len(job.names),
                    done_before=len(job.names) - len(todo),
                    **job.counts,
                )
                record.write(output.record, made)
                extract.publish(job.partial, output.target)
                say(
                    f"{workload}: {output.target}: {len(job.names)} patches in {elapsed:.1f} s, "
                    f"{digest}"
                )


def _mpio(io: str, workload: str) -> bool:
    """Whether to write through MPI-IO.

    Raises:
        InputError: MPI-IO is asked for, and this h5py has none.
    """
    has = bool(h5py.get_config().mpi)
    if io == "mpio" and not has:
        raise InputError(
            "command line: --io mpio, but h5py was built with a serial HDF5; expected "
            "a parallel one; use --io rank0 or auto"
        )
    if io == "auto" and not has:
        say(f"{workload}: this h5py has a serial HDF5")
    return has and io != "rank0"


def _write(job: Job, method: str, mpio: bool, workload: str) -> tuple:
    """Writes what is still to be done; returns its positions and this rank's clock."""
    todo = extract.begin(
        comm=COMM,
        partial=job.partial,
        names=job.names,
        splits=job.splits,
        interpolation=job.interpolation,
        description=job.description,
        classes=job.classes,
    )
    if len(todo) < len(job.names):
        done = len(job.names) - len(todo)
        say(f"{workload}: going on: {done} of {len(job.names)} patches are done")
    try:
        clock = extract.run(
            comm=COMM,
            source=job.source,
            partial=job.partial,
            names=job.names,
            splits=job.splits,
            todo=todo,
            method=method,
            mpio=mpio,
        )
    except InputError:
        extract.abandon(COMM, job.partial)
        raise
    return todo, clock


def _record(job: Job, config, workload: str, clocks: list, elapsed: float) -> record.Record:
    """The result record, but for its provenance; `clocks` holds (clock, host) of every rank."""
    ranks = [
        dict(
            rank=rank,
            **host,
            patches=clock.patches,
            bytes_read=clock.bytes_read,
            bytes_written=clock.bytes_written,
            stages=clock.seconds,
        )
        for rank, (clock, host) in enumerate(clocks)
    ]
    clocks = [clock for clock, _ in clocks]
    done = sum(clock.patches for clock in clocks)

    def rate(name, amount, seconds):
        if not done:
            return record.metric(name, None, "every patch was done by an interrupted run")
        if not amount:
            return record.metric(name, None, "this workload has none")
        return record.metric(name, amount / seconds)

    read, written = (
        sum(getattr(c, f"bytes_{what}") for c in clocks) for what in ("read", "written")
    )
    slowest = {stage: max(c.seconds[stage] for c in clocks) for stage in ("read", "write")}
    metrics = {
        "patch_throughput": rate("patch_throughput", done, elapsed),
        "read_bandwidth": rate("read_bandwidth", read / 1e9, slowest["read"]),
        "write_bandwidth": rate("write_bandwidth", written / 1e9, slowest["write"]),
        "imbalance": rate("imbalance", sharing.imbalance([c.patches for c in clocks]), 1.0),
    }
    return record.Record(
        workload=workload,
        config=dataclasses.asdict(config),
        metrics=metrics,
        ranks=ranks,
        tables={},
        files={},
        provenance={},
        repeats=cli.repeats(type(config)),
    )
