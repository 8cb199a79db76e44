"""Workload `prepare`: patches from a BigEarthNet v1.0 archive into one HDF5 file, written by all ranks (paper, section 3.3).

    mpirun -np 4 python -m benchmarks.prepare --archive BigEarthNet-v1.0 --out bigearth.h5

Killed at any moment, the same command goes on where it stopped. The file's bytes do not depend on the number of ranks.
"""

import os

os.environ.setdefault("H5PY_ALWAYS_USE_MPI", "1")  # Debian's h5py takes its MPI build only when told to, or under mpirun

import dataclasses
import socket
import sys
import time
from pathlib import Path
from typing import Literal, Optional

import h5py
from mpi4py import MPI

from benchmarks import record
from benchmarks.program import main, option
from bigearth import store
from bigearth.errors import InputError, together
from bigearth.prepare import archive, extract, partition, selection
from bigearth.prepare.team import Team

DESCRIPTION = "Sentinel-2 patches -> one HDF5 file, written by all MPI ranks."


@dataclasses.dataclass(frozen=True)
class Config:
    archive: Optional[str] = option(None, "folder of a BigEarthNet v1.0 archive: a folder a patch")
    out: Optional[str] = option(None, "HDF5 file to write")
    splits: Optional[str] = option(None, "folder with train.csv, val.csv and test.csv; without it, the archive's own if it has them")
    exclude: Optional[str] = option(None, "files of patch names to leave out (snow, cloud), joined by commas")
    on_bad_patch: Literal["stop", "skip"] = option("stop", "what to do with a patch that cannot be read; `skip` reads everything twice")
    io: Literal["auto", "mpio", "rank0"] = option("auto", "write through MPI-IO, or through rank 0; auto: MPI-IO if this HDF5 has it")
    record: Optional[str] = option(None, "result record to write; without it, beside the file as <name>.result.json")


def run(config: Config) -> None:
    comm, start, begun = MPI.COMM_WORLD, record.now(), time.perf_counter()
    if not config.out or not config.archive:
        raise InputError(
            "command line: --archive and --out are needed; expected a BigEarthNet v1.0 archive and the HDF5 file to write; give both"
        )
    mpio = _mpio(config.io)
    _say(f"{comm.size} rank(s), " + ("each writes through MPI-IO" if mpio else "rank 0 writes for all"))
    names, codes, skipped, partial = _choose(comm, config)
    todo = extract.begin(comm, partial, names, codes, "bilinear", "BigEarthNet v1.0 archive")
    if len(todo) < len(names):
        _say(f"going on: {len(names) - len(todo)} of {len(names)} patches are done")
    try:
        clock = extract.run(comm, archive.ArchiveSource(config.archive, names), partial, names, codes, todo, mpio)
    except InputError:
        extract.abandon(comm, partial)
        raise
    elapsed = time.perf_counter() - begun
    clocks = comm.gather((clock, socket.gethostname()))
    with together(comm.allgather):
        if comm.rank == 0:
            digest = store.finish(partial)
            _write_record(
                config, clocks, elapsed, dict(patches=len(names), done_before=len(names) - len(todo), skipped=skipped), digest, start
            )
            extract.publish(partial, config.out)
    _say(f"{config.out}: {len(names)} patches in {elapsed:.1f} s, {len(skipped)} skipped, {digest if comm.rank == 0 else ''}")


def _say(sentence: str) -> None:
    if MPI.COMM_WORLD.rank == 0:
        print(f"prepare: {sentence}", file=sys.stderr, flush=True)


def _mpio(io: str) -> bool:
    """Whether to write through MPI-IO.

    Raises:
        InputError: MPI-IO is asked for, and this h5py has none.
    """
    has = bool(h5py.get_config().mpi)
    if io == "mpio" and not has:
        raise InputError("command line: --io mpio, but h5py was built with a serial HDF5; expected a parallel one; use --io rank0 or auto")
    if io == "auto" and not has:
        _say("this h5py has a serial HDF5: rank 0 writes for all")
    return has and io != "rank0"


def _choose(comm: MPI.Comm, config: Config) -> tuple:
    """Which patches go into the file.

    Returns:
        names: sorted; codes: (N,) uint8 splits; skipped: name -> what is wrong with it; partial: the temporary name.
    """
    chosen = None
    with together(comm.allgather):
        if comm.rank == 0:
            splits = selection.find_splits(config.splits, config.archive)
            exclude = config.exclude.split(",") if config.exclude else []
            chosen = selection.select(archive.list_patches(config.archive), splits, exclude, config.archive)
            if not splits:
                _say("no train.csv, val.csv and test.csv in the archive: every patch is in split 'none'")
    names, codes = comm.bcast(chosen)
    partial = extract.partial_path(config.out, names, codes.tolist(), "archive", "bilinear", config.on_bad_patch)
    if config.on_bad_patch == "stop":
        return names, codes, {}, partial
    skipped = _find_bad(comm, config.archive, names, partial)
    kept = [i for i, name in enumerate(names) if name not in skipped]
    if not kept:
        raise InputError(f"{config.archive}: all {len(names)} patches are bad, first {skipped[names[0]]}")
    return [names[i] for i in kept], codes[kept], skipped, partial


def _find_bad(comm: MPI.Comm, root: str, names: list, partial: Path) -> dict:
    """Name -> what is wrong, for all bad patches; those that an interrupted run skipped stay skipped, and nothing is read twice."""
    unfinished = None
    with together(comm.allgather):
        if comm.rank == 0 and partial.exists():
            unfinished = set(store.Store(partial, complete=False).names)
    unfinished = comm.bcast(unfinished)
    suspects = names if unfinished is None else [name for name in names if name not in unfinished]
    mine = suspects[comm.rank :: comm.size]
    bad = {}
    with Team(comm, len(suspects), "check", "patches") as team:
        for i in range(0, len(mine), archive.BLOCK):
            bad.update(archive.find_bad(root, mine[i : i + archive.BLOCK]))
            team.report(len(mine[i : i + archive.BLOCK]))
    bad = {name: reason for part in comm.allgather(bad) for name, reason in part.items()}
    if unfinished is not None and len(bad) < len(suspects):
        raise InputError(
            f"{partial}: leaves out patches that can be read now; expected the archive as it was; delete this file to begin anew"
        )
    for name in sorted(bad):
        _say(f"skipped {name}: {bad[name]}")
    return bad


def _write_record(config: Config, clocks: list, elapsed: float, counts: dict, digest: str, start: str) -> None:
    ranks = [
        dict(rank=rank, hostname=host, patches=clock.patches, bytes_read=clock.bytes_read, stages=clock.seconds)
        for rank, (clock, host) in enumerate(clocks)
    ]
    clocks = [clock for clock, _ in clocks]
    done = sum(c.patches for c in clocks)
    nothing = None if done else "every patch was already done by an interrupted run"

    def rate(amount, seconds):
        return amount / seconds if done else None

    metrics = {
        "patch_throughput": rate(done, elapsed),
        "read_bandwidth": rate(sum(c.bytes_read for c in clocks) / 1e9, max(c.seconds["read"] for c in clocks)),
        "write_bandwidth": rate(sum(c.bytes_written for c in clocks) / 1e9, max(c.seconds["write"] for c in clocks)),
        "imbalance": partition.imbalance([sum(c.seconds.values()) for c in clocks]) if done else None,
    }
    metrics = {name: record.metric(name, value, nothing) for name, value in metrics.items()}
    provenance = record.provenance(start, [r["hostname"] for r in ranks], digest, elapsed=elapsed, **counts)
    path = config.record or Path(config.out).with_suffix(".result.json")
    record.write(path, "prepare", dataclasses.asdict(config), metrics, ranks, {}, {"data": os.fspath(config.out)}, provenance)


if __name__ == "__main__":
    main(Config, run, "benchmarks.prepare", DESCRIPTION)
