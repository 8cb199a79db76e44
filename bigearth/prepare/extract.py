"""Writes patches from an archive or from tiles into one HDF5 file, by all ranks at once, in a way
that survives being killed.

The file is created under a temporary name with every array in place. Each rank then reads, cuts and
writes its own blocks, independently of the others; last of all for a patch it writes that patch's
checksum. A patch is therefore done exactly if its checksum in the file is that of its data, and the
file itself is the journal: started again, the same command finds what is done, shares out the rest,
and goes on. The final name is given when everything is done.
"""

import contextlib
import glob
import hashlib
import os
from pathlib import Path

import h5py
import numpy as np
from mpi4py import MPI

from bigearth import store
from bigearth.errors import InputError, disk_error, together
from bigearth.prepare import bilinear
from bigearth.prepare.sharing import Clock, Source, share_out
from bigearth.prepare.team import Team


def partial_path(path: Path, plan: tuple) -> Path:
    """The temporary name of a file that is to be made by `plan` (whose text form is fixed).

    Another plan has another name, so that unfinished work is neither mixed up nor lost.
    """
    return path.with_name(
        f"{path.name}.{hashlib.sha256(repr(plan).encode()).hexdigest()[:8]}.partial"
    )


def begin(
    comm: MPI.Comm,
    partial: Path,
    names: list,
    splits: np.ndarray,
    interpolation: str,
    description: str,
    classes: int,
) -> np.ndarray:
    """Creates the partial file unless an interrupted run left it, and finds what is still to be
    done.

    Args:
        partial: from `partial_path`.
        names, splits, interpolation, description, classes: as of `store.create`.

    Returns:
        positions, ascending; the same on every rank.

    Raises:
        InputError: the file cannot be created.
    """
    with together(comm.allgather):
        if comm.rank == 0 and not partial.exists():
            store.create(
                path=partial,
                names=names,
                splits=splits,
                interpolation=interpolation,
                source=description,
                classes=classes,
            )
    with together(comm.allgather):
        unfinished = store.Store(partial, complete=False)
        if list(unfinished.names) != names:
            raise InputError(
                f"{partial}: holds other patches than this run's; expected the "
                "unfinished file of the same command; delete it"
            )
        mine = np.arange(comm.rank, len(names), comm.size)
        missing = mine[~unfinished.intact(mine)]
    return np.sort(np.concatenate(comm.allgather(missing)))


def run(
    comm: MPI.Comm,
    source: Source,
    partial: Path,
    names: list,
    splits: np.ndarray,
    todo: np.ndarray,
    method: str,
    mpio: bool,
) -> Clock:
    """Reads, cuts and writes the patches at the positions `todo`; every rank its share of the
    blocks.

    Args:
        source: where the patches come from.
        partial: the file that `begin` created, with these names and splits.
        todo: positions still to be done, from `begin`.
        method: how blocks are shared out, a key of `sharing.METHODS`.
        mpio: write from all ranks through MPI-IO; otherwise rank 0 writes what the others send it.

    Returns:
        this rank's clock.

    Raises:
        InputError: a patch is bad, or the file cannot be written; on all ranks.
    """
    share = share_out(_left(source.blocks(), todo, len(names)), comm.size, method)[comm.rank]
    names = np.array(names, store.ARRAYS["patch"].dtype)
    clock = Clock()
    with contextlib.ExitStack() as stack:
        datasets = {}
        if mpio or comm.rank == 0:
            keywords = dict(driver="mpio", comm=comm) if mpio else {}
            file = stack.enter_context(h5py.File(partial, "r+", libver="earliest", **keywords))
            datasets = {key: file[key] for key in store.ARRAYS}

        def write(piece):
            with clock("write"), _write_errors(partial):
                _write(datasets, *piece)
                if not mpio:
                    file.flush()

        team = stack.enter_context(Team(comm, len(todo), "extract", unit="patches", receive=write))
        for positions, arrays in source.pieces(share, clock):
            if team.stopped:
                return clock
            _complete(arrays, names[positions], splits[positions], clock=clock)
            clock.patches += len(positions)
            clock.bytes_written += len(positions) * store.patch_bytes()
            if mpio:
                write((positions, arrays))
            team.report(len(positions), None if mpio else (positions, arrays))
    with clock("write"), open(partial, "rb") as written:
        os.fsync(written.fileno())
    return clock


def _left(blocks: list, todo: np.ndarray, size: int) -> list:
    """The blocks that hold some of the positions `todo` (of `size`), with only these."""
    pending = np.zeros(size, bool)
    pending[todo] = True
    cut = [b._replace(positions=b.positions[pending[b.positions]]) for b in blocks]
    return [block for block in cut if len(block.positions)]


def _complete(arrays: dict, names: np.ndarray, splits: np.ndarray, clock: Clock) -> None:
    """Adds what the source leaves out: the bilinear `data_super`, and the checksums over names,
    splits and everything else."""
    if "data_super" not in arrays:
        with clock("upsample"):
            arrays["data_super"] = bilinear.stack(arrays)
    with clock("checksum"):
        arrays["checksum"] = store.checksums({**arrays, "patch": names, "split": splits})


def _write(datasets: dict, positions: np.ndarray, arrays: dict) -> None:
    """Writes patches, neighbours in one go; their checksums after everything else."""
    ends = np.flatnonzero(np.diff(positions) != 1) + 1
    for run_positions, entries in zip(
        np.split(positions, ends), np.split(np.arange(len(positions)), ends)
    ):
        place = slice(run_positions[0], run_positions[-1] + 1)
        for key in (k for k in store.ARRAYS if k in arrays):
            datasets[key][place] = arrays[key][entries[0] : entries[-1] + 1]


@contextlib.contextmanager
def _write_errors(path):
    try:
        yield
    except OSError as error:
        raise disk_error(path, "write patches", error) from error


def abandon(comm: MPI.Comm, partial: Path) -> None:
    """After a failure: removes the partial file if nothing in it is done; otherwise it stays, for
    the next attempt."""
    if (
        comm.rank == 0
        and partial.exists()
        and not store.Store(partial, complete=False).array("checksum").any()
    ):
        partial.unlink()


def publish(partial: Path, path: Path) -> None:
    """Gives the finished file its name, and removes what other, unfinished attempts at it left.

    Raises:
        InputError: the folder is not writable.
    """
    try:
        os.replace(partial, path)
        for other in glob.glob(f"{glob.escape(os.fspath(path))}.????????.partial"):
            os.unlink(other)
    except OSError as error:
        raise disk_error(path, "give the finished file its name", error) from error
