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

# Debian's h5py takes its MPI build only on request, or under mpirun
os.environ.setdefault("H5PY_ALWAYS_USE_MPI", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # a rank is a core
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")

import dataclasses
from pathlib import Path
from typing import List, Literal, Optional

import numpy as np

from bigearth import agreement, cli, nomenclature, store
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
from bigearth.prepare.job import COMM, Job, Output, carry_out, say
from bigearth.prepare.team import Team


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of the program."""

    archive: Optional[str] = option(
        None,
        "take patches from this BigEarthNet archive, of version 1.0 or 2.0",
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
    boa_offset: Optional[int] = option(
        None,
        "BOA_ADD_OFFSET of products of your own Sen2Cor (baseline 99.99) that do not say theirs",
        least=-10_000,
        most=10_000,
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
    agreement.check(COMM.size, COMM.allgather, config)
    if config.plan:
        _plan(config)
    elif config.verify:
        _verify(config.verify)
    else:
        _prepare(config)


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
    if COMM.rank == 0:
        print(f"{path}: {len(patches)} patches as they were written, {patches.digest}")


def _check(config: Config) -> Output:
    """Checks what the options ask for.

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
    return Output.check(config.out, config.record, inputs=given)


def _prepare(config: Config) -> None:
    with together(COMM.allgather):
        output = _check(config)
    make = _from_archive if config.archive else _from_tiles
    carry_out(
        prepare=lambda: make(config, output.target),
        output=output,
        config=config,
        workload="prepare",
        method=config.partition,
        io=config.io,
    )


def _from_archive(config: Config, target: Path) -> Job:
    opened, choice = None, None
    with together(COMM.allgather):
        if COMM.rank == 0:
            opened = archive.open_archive(config.archive)
            splits = selection.read_splits(config.splits) if config.splits else opened.splits()
            choice = selection.select(
                names=opened.names(),
                splits=splits,
                exclude=config.exclude,
                where=config.archive,
            )
            if not splits:
                say("prepare: no train.csv, val.csv, test.csv here: all patches are in no split")
            for what, join in choice.joined.items():
                say(f"prepare: {join['found']} of {join['listed']} patches of {what} are there")
    opened, choice = COMM.bcast((opened, choice))
    names, codes = choice.names, choice.codes
    partial = extract.partial_path(
        target, (os.path.realpath(config.archive), config.on_bad_patch, names, codes.tolist())
    )
    skipped = _find_bad(opened, names, partial) if config.on_bad_patch == "skip" else {}
    kept = [i for i, name in enumerate(names) if name not in skipped]
    if not kept:
        raise InputError(
            f"{config.archive}: all {len(names)} patches are bad, the first one: "
            f"{skipped[names[0]]}"
        )
    names, codes = [names[i] for i in kept], codes[kept]
    return Job(
        source=archive.ArchiveSource(opened, names),
        description=opened.description,
        interpolation="bilinear",
        names=names,
        splits=codes,
        partial=partial,
        classes=len(opened.labels),
        counts=dict(skipped=skipped, joined=choice.joined, **opened.counts()),
    )


def _find_bad(opened, names: list, partial: Path) -> dict:
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
    with Team(COMM, len(suspects), "check", unit="patches") as team:
        for i in range(0, len(mine), archive.BLOCK):
            bad.update(archive.find_bad(opened, mine[i : i + archive.BLOCK]))
            team.report(len(mine[i : i + archive.BLOCK]))
    bad = {name: reason for part in COMM.allgather(bad) for name, reason in part.items()}
    if taken is not None and len(bad) < len(suspects):
        raise InputError(
            f"{partial}: leaves out patches that can be read now; expected the archive as it was; "
            "delete this file to begin anew"
        )
    for name in sorted(bad):
        say(f"prepare: skipped {name}: {bad[name]}")
    return bad


def _from_tiles(config: Config, target: Path) -> Job:
    dsen2 = config.upsample == "dsen2"
    entries = choice = products = networks = None
    with together(COMM.allgather):
        if COMM.rank == 0:
            listed = {entry.name: entry for entry in patchlist.read(config.list)}
            splits = {name: store.SPLITS.index(entry.split) for name, entry in listed.items()}
            if config.splits:
                splits = selection.read_splits(config.splits)
            choice = selection.select(
                names=listed, splits=splits, exclude=config.exclude, where=config.list
            )
            entries = [listed[name] for name in choice.names]
            products = tile.find_products(config.tiles)
            if dsen2:
                networks = weights.find(config.weights_20m, config.weights_60m)
    entries, choice, products, networks = COMM.bcast((entries, choice, products, networks))
    with together(COMM.allgather):
        upsampler = superres.DSen2(networks[20], networks[60]) if dsen2 else None
        source = cut.TileSource(products, entries, upsampler, own_offset=config.boa_offset)
        source.check(COMM.rank, COMM.size)
    text = [entry._replace(classes=entry.classes.tolist()) for entry in entries]
    plan = (source.products, upsampler and upsampler.digest, text, choice.codes.tolist())
    if config.boa_offset is not None:
        plan += (config.boa_offset,)
    partial = extract.partial_path(target, plan)
    return Job(
        source=source,
        description="Sentinel-2 Level-2A tiles",
        interpolation=config.upsample,
        names=choice.names,
        splits=choice.codes,
        partial=partial,
        classes=len(nomenclature.LABELS),
        counts=dict(joined=choice.joined),
    )


if __name__ == "__main__":
    cli.main(Config, run, PROGRAM)
