"""Workload `prepare`: Sentinel-2 patches into one HDF5 file, written by all ranks at once (paper,
section 3.3).

    mpirun -np 4 python -m benchmarks.prepare --archive BigEarthNet-v1.0 --out bigearth.h5
    mpirun -np 4 python -m benchmarks.prepare --tiles TILES --list patches.csv --out bigearth.h5
    python -m benchmarks.prepare --plan --ranks 72
    mpirun -np 4 python -m benchmarks.prepare --verify bigearth.h5

Killed at any moment, the same command goes on where it stopped. The file's bytes do not depend on
the number of ranks.
"""

import os

# Debian's h5py takes its MPI build only when told to, or under mpirun
os.environ.setdefault("H5PY_ALWAYS_USE_MPI", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # a rank is a core
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")

import contextlib
import dataclasses
import resource
import socket
import sys
import time
from pathlib import Path
from typing import List, Literal, Optional

import h5py
import numpy as np
from mpi4py import MPI

from bigearth import cli, files, provenance, record, store
from bigearth.cli import option
from bigearth.errors import InputError, together
from bigearth.prepare import (
    archive,
    cut,
    extract,
    patchlist,
    plan,
    selection,
    superres,
    tile,
    weights,
)
from bigearth.prepare.team import Team

COMM = MPI.COMM_WORLD


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of the program."""

    archive: Optional[str] = option(
        None,
        "take patches from this BigEarthNet v1.0 archive: one folder per patch",
        group="source: --archive, or --tiles and --list",
    )
    tiles: Optional[str] = option(
        None,
        "cut patches from the Sentinel-2 Level-2A products (SAFE folders) in this folder",
        group="source: --archive, or --tiles and --list",
    )
    list: Optional[str] = option(
        None,
        "which patches to cut from the tiles, or to plan for: a CSV list (docs/preparation.md)",
        group="source: --archive, or --tiles and --list",
    )
    splits: Optional[str] = option(
        None,
        "folder with train.csv, val.csv and test.csv; else the archive's or the list's own splits",
        group="which patches",
    )
    exclude: List[str] = option(
        [],
        "file of patch names to leave out (snow, cloud); may be given several times",
        group="which patches",
    )
    on_bad_patch: Literal["stop", "skip"] = option(
        "stop",
        "at a patch of the archive that cannot be read; `skip` reads all patches twice",
        group="which patches",
    )
    upsample: Literal["bilinear", "dsen2"] = option(
        "bilinear",
        "how 20 m and 60 m bands get to 10 m; dsen2 needs tiles",
        group="upsampling",
    )
    weights_20m: Optional[str] = option(
        None,
        "DSen2's weight file for the 20 m bands; else the published one, fetched by pip",
        group="upsampling",
    )
    weights_60m: Optional[str] = option(None, "the same for the 60 m bands", group="upsampling")
    out: Optional[str] = option(None, "HDF5 file to write", group="output", repeats=True)
    record: Optional[str] = option(
        None,
        "result record to write; else beside the file, as <name>.result.json",
        group="output",
        repeats=True,
    )
    partition: Literal["blocks", "snake", "longest"] = option(
        "blocks", "how work is shared out; snake is the paper's Algorithm 1", group="output"
    )
    io: Literal["auto", "mpio", "rank0"] = option(
        "auto",
        "write through MPI-IO, or through rank 0; auto: MPI-IO if this HDF5 has it",
        group="output",
    )
    plan: bool = option(
        False,
        "print how each partition would share out the patches of --list "
        "(else the real 125 tiles); write nothing",
        group="other things to do",
    )
    ranks: int = option(
        72, "number of ranks to plan for", least=1, most=100_000, group="other things to do"
    )
    rate: Optional[float] = option(
        None,
        "patches/s of one rank, to plan in seconds",
        least=1e-3,
        group="other things to do",
    )
    verify: Optional[str] = option(
        None,
        "check all checksums of this HDF5 file and its content digest; write nothing",
        group="other things to do",
    )


PROGRAM = cli.Program(
    module="benchmarks.prepare",
    description="Sentinel-2 patches -> one HDF5 file, written by all MPI ranks; or a plan for it, "
    "or a check of such a file.",
    example="--archive BigEarthNet-v1.0 --out patches.h5",
)


def run(config: Config) -> None:
    if config.plan:
        _plan(config)
    elif config.verify:
        _verify(config.verify)
    else:
        _prepare(config)


def _say(sentence: str) -> None:
    if COMM.rank == 0:
        print(f"prepare: {sentence}", file=sys.stderr, flush=True)


def _plan(config: Config) -> None:
    with together(COMM.allgather):
        if config.list:
            blocks = plan.blocks_of_list(config.list)
        else:
            blocks = plan.blocks_of_table(plan.REAL_TILES)
    if COMM.rank == 0:
        print(plan.table(blocks, config.ranks, config.rate))


def _verify(path: str) -> None:
    with together(COMM.allgather):
        patches = store.Store(path)
    mine = np.arange(COMM.rank, len(patches), COMM.size)
    wrong = np.concatenate(COMM.allgather(mine[~patches.intact(mine)]))
    if len(wrong):
        raise InputError(
            f"{path}: {len(wrong)} of {len(patches)} patches differ from their checksums, first "
            f"{patches.names[wrong.min()]}; "
            "expected an unchanged file; copy it or prepare it again"
        )
    if store.content_digest(patches.array("checksum"), patches.interpolation) != patches.digest:
        raise InputError(
            f"{path}: the content digest differs from the checksums; expected an unchanged file; "
            "copy it or prepare it again"
        )
    if COMM.rank == 0:
        print(f"{path}: {len(patches)} patches as they were written, {patches.digest}")


def _check(config: Config) -> Path:
    """Checks what the options ask for; returns the file to write, with links followed.

    Raises:
        InputError: options that do not go together, or an output that would replace an input.
    """
    if (
        not config.out
        or (config.archive is None) == (config.tiles is None)
        or (config.tiles is None) != (config.list is None)
    ):
        raise InputError(
            "command line: expected --archive DIR, or --tiles DIR and --list FILE, "
            "and --out FILE; give these"
        )
    if config.archive and config.upsample == "dsen2":
        raise InputError(
            "command line: --upsample dsen2 with --archive; super-resolution needs the pixels "
            "around a patch: give --tiles and --list"
        )
    if config.tiles and config.on_bad_patch == "skip":
        raise InputError(
            "command line: --on-bad-patch skip with --tiles; a damaged tile spoils "
            "all its patches: take them out of the list"
        )
    given = [config.archive, config.tiles, config.list, config.splits, *config.exclude]
    given = [path for path in [*given, config.weights_20m, config.weights_60m] if path]
    target = files.check_output(config.out, given)
    if files.check_output(_record_path(config), given) == target:
        raise InputError(
            f"{config.out}: is both --out and --record; expected two names; give another --record"
        )
    if target.is_dir():
        raise InputError(
            f"{config.out}: is a folder; expected the name of the HDF5 file to write; give "
            "another name"
        )
    return target


def _record_path(config: Config) -> str:
    return config.record or f"{config.out.removesuffix('.h5')}.result.json"


def _prepare(config: Config) -> None:
    with together(COMM.allgather):
        target = _check(config)
    with contextlib.ExitStack() as stack:
        with together(COMM.allgather):
            if COMM.rank == 0:
                stack.enter_context(files.lock(target, "preparation"))
        _extract(config, target)


def _extract(config: Config, target: Path) -> None:
    start, begun = provenance.now(), time.perf_counter()
    mpio = _mpio(config.io)
    _say(
        f"{COMM.size} rank(s), "
        + ("each writes through MPI-IO" if mpio else "rank 0 writes for all")
    )
    job = _from_archive(config, target) if config.archive else _from_tiles(config, target)
    todo = extract.begin(
        comm=COMM,
        partial=job.partial,
        names=job.names,
        splits=job.splits,
        interpolation=config.upsample,
        description=job.description,
    )
    if len(todo) < len(job.names):
        _say(f"going on: {len(job.names) - len(todo)} of {len(job.names)} patches are done")
    try:
        clock = extract.run(
            comm=COMM,
            source=job.source,
            partial=job.partial,
            names=job.names,
            splits=job.splits,
            todo=todo,
            method=config.partition,
            mpio=mpio,
        )
    except InputError:
        extract.abandon(COMM, job.partial)
        raise
    elapsed = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    clocks = COMM.gather((clock, dict(hostname=socket.gethostname(), peak_memory=peak)))
    with together(COMM.allgather):
        if COMM.rank == 0:
            digest = store.finish(job.partial)
            counts = dict(
                patches=len(job.names), done_before=len(job.names) - len(todo), skipped=job.skipped
            )
            _write_record(config, clocks, elapsed, counts, digest, start)
            extract.publish(job.partial, target)
            _say(
                f"{config.out}: {len(job.names)} patches in {elapsed:.1f} s, {len(job.skipped)} "
                f"skipped, {digest}"
            )


def _mpio(io: str) -> bool:
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
        _say("this h5py has a serial HDF5")
    return has and io != "rank0"


@dataclasses.dataclass(frozen=True)
class Job:
    """What is to be extracted: the patches of the file, sorted, with (N,) uint8 splits, and where
    they come from."""

    source: extract.Source
    description: str
    names: list
    splits: np.ndarray
    partial: Path
    skipped: dict  # name -> what is wrong with it


def _from_archive(config: Config, target: Path) -> Job:
    chosen = None
    with together(COMM.allgather):
        if COMM.rank == 0:
            splits = selection.find_splits(config.splits, config.archive)
            chosen = selection.select(
                archive.list_patches(config.archive), splits, config.exclude, config.archive
            )
            if not splits:
                _say(
                    "no train.csv, val.csv and test.csv in the archive: every patch is in split "
                    "'none'"
                )
    names, codes = COMM.bcast(chosen)
    partial = extract.partial_path(
        target, os.path.realpath(config.archive), config.on_bad_patch, names, codes.tolist()
    )
    skipped = _find_bad(config.archive, names, partial) if config.on_bad_patch == "skip" else {}
    kept = [i for i, name in enumerate(names) if name not in skipped]
    if not kept:
        raise InputError(
            f"{config.archive}: all {len(names)} patches are bad, the first one: "
            f"{skipped[names[0]]}"
        )
    names, codes = [names[i] for i in kept], codes[kept]
    return Job(
        source=archive.ArchiveSource(config.archive, names),
        description="BigEarthNet v1.0 archive",
        names=names,
        splits=codes,
        partial=partial,
        skipped=skipped,
    )


def _find_bad(root: str, names: list, partial: Path) -> dict:
    """Name -> what is wrong, for all bad patches; what an interrupted run took is not read
    again."""
    taken = None
    with together(COMM.allgather):
        if COMM.rank == 0 and partial.exists():
            taken = set(store.Store(partial, complete=False).names)
    taken = COMM.bcast(taken)
    suspects = names if taken is None else [name for name in names if name not in taken]
    mine = suspects[COMM.rank :: COMM.size]
    bad = {}
    with Team(COMM, len(suspects), "check", "patches") as team:
        for i in range(0, len(mine), archive.BLOCK):
            bad.update(archive.find_bad(root, mine[i : i + archive.BLOCK]))
            team.report(len(mine[i : i + archive.BLOCK]))
    bad = {name: reason for part in COMM.allgather(bad) for name, reason in part.items()}
    if taken is not None and len(bad) < len(suspects):
        raise InputError(
            f"{partial}: leaves out patches that can be read now; expected the archive as it was; "
            "delete this file to begin anew"
        )
    for name in sorted(bad):
        _say(f"skipped {name}: {bad[name]}")
    return bad


def _from_tiles(config: Config, target: Path) -> Job:
    chosen = None
    with together(COMM.allgather):
        if COMM.rank == 0:
            entries = {entry.name: entry for entry in patchlist.read(config.list)}
            splits = {name: store.SPLITS.index(entry.split) for name, entry in entries.items()}
            if config.splits:
                splits = selection.read_splits(config.splits)
            names, codes = selection.select(entries, splits, config.exclude, config.list)
            chosen = (
                [entries[name] for name in names],
                names,
                codes,
                tile.find_products(config.tiles),
                weights.find(config.weights_20m, config.weights_60m)
                if config.upsample == "dsen2"
                else {},
            )
    entries, names, codes, products, networks = COMM.bcast(chosen)
    with together(COMM.allgather):
        upsampler = (
            superres.DSen2(networks[20], networks[60]) if config.upsample == "dsen2" else None
        )
        source = cut.TileSource(products, entries, upsampler)
        source.check(COMM.rank, COMM.size)
    text = [entry._replace(classes=entry.classes.tolist()) for entry in entries]
    partial = extract.partial_path(
        target, source.products, upsampler and upsampler.digest, text, codes.tolist()
    )
    return Job(
        source=source,
        description="Sentinel-2 Level-2A tiles",
        names=names,
        splits=codes,
        partial=partial,
        skipped={},
    )


def _write_record(
    config: Config, clocks: list, elapsed: float, counts: dict, digest: str, start: str
) -> None:
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
        return record.metric(
            name,
            amount / seconds if done else None,
            None if done else "every patch was done by an interrupted run",
        )

    busy = [sum(clock.seconds.values()) for clock in clocks]
    metrics = {
        "patch_throughput": rate("patch_throughput", done, elapsed),
        "read_bandwidth": rate(
            "read_bandwidth",
            sum(c.bytes_read for c in clocks) / 1e9,
            max(c.seconds["read"] for c in clocks),
        ),
        "write_bandwidth": rate(
            "write_bandwidth",
            sum(c.bytes_written for c in clocks) / 1e9,
            max(c.seconds["write"] for c in clocks),
        ),
        "imbalance": rate("imbalance", max(busy), sum(busy) / len(busy)),
    }
    origin = provenance.gather(
        start, [r["hostname"] for r in ranks], digest, elapsed=elapsed, **counts
    )
    record.write(
        _record_path(config),
        record.Record(
            workload="prepare",
            config=dataclasses.asdict(config),
            metrics=metrics,
            ranks=ranks,
            tables={},
            files={},
            provenance=origin,
            repeats=cli.repeats(type(config)),
        ),
    )


if __name__ == "__main__":
    cli.main(Config, run, PROGRAM)
