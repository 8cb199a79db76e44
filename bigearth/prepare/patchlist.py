"""The list of patches to cut from tiles: a CSV file with one line per patch.

    patch,tile,epsg,ulx,uly,labels,split
    S2A_MSIL2A_20170613T101031_87_48,S2A_MSIL1C_….SAFE,32633,404400,5342400,Pastures|Peatbogs,val

`tile` is the Sentinel-2 product it lies in (BigEarthNet's `tile_source`, a Level-1C name, or the
Level-2A one), ulx and uly are its upper left corner in metres of the UTM zone `epsg`, labels are
CORINE labels joined by "|", split is train, val, test or nothing. Columns may be in any order, and
`split` may be left out; blank lines are passed over. The list of an archive:

    python -m bigearth.prepare.patchlist --archive BigEarthNet-v1.0 --out patches.csv
"""

import csv
import dataclasses
import re
from typing import Iterable, NamedTuple

import numpy as np

from bigearth import cli, files, nomenclature
from bigearth.cli import REQUIRED, option
from bigearth.errors import InputError, one_line
from bigearth.files import check_output, new_file
from bigearth.prepare import archive
from bigearth.prepare.selection import MOST_BYTES, NO_SPLIT, PATCH_NAME, find_splits
from bigearth.prepare.tile import scene_of
from bigearth.store import SPLITS

COLUMNS = ("patch", "tile", "epsg", "ulx", "uly", "labels", "split")


class Entry(NamedTuple):
    """One patch of the list.

    Attributes:
        name: patch name.
        tile: name of the Sentinel-2 product.
        epsg: EPSG code of the UTM zone.
        ulx, uly: upper left corner in metres.
        classes: (43,) uint8, multi-hot.
        split: one of `store.SPLITS`.
    """

    name: str
    tile: str
    epsg: int
    ulx: int
    uly: int
    classes: np.ndarray
    split: str


def read(path) -> list:
    """All entries, in file order.

    Raises:
        InputError: the file cannot be read, a line is malformed, a label is unknown, or a patch
            name comes twice.
    """
    rows = files.read_csv(path, f"list of patches with columns {','.join(COLUMNS)}", MOST_BYTES)
    header = [column.lower() for column in rows[0][1]] if rows else []
    if sorted(header) not in (sorted(COLUMNS), sorted(set(COLUMNS) - {"split"})):
        raise InputError(
            f"{path}, line 1: another header; expected {','.join(COLUMNS)}; see docs/preparation.md"
        )
    entries, first = [], {}
    for line, row in rows[1:]:
        where = f"{path}, line {line}"
        if len(row) != len(header):
            raise InputError(
                f"{where}: {len(row)} columns; expected {len(header)}, "
                f"{','.join(header)}; correct the line"
            )
        entry = _entry(dict(zip(header, row)), where)
        if entry.name in first:
            other, tile = first[entry.name]
            what = f"is in line {other} too"
            if tile != entry.tile:
                what = f"is claimed by two tiles, {tile} in line {other} and {entry.tile}"
            raise InputError(
                f"{where}: patch {entry.name} {what}; expected every name "
                "once; delete one of the lines"
            )
        first[entry.name] = line, entry.tile
        entries.append(entry)
    if not entries:
        raise InputError(
            f"{path}: no patch in this list; expected one line per patch after the "
            "header; give another list"
        )
    return entries


def _entry(row: dict, where: str) -> Entry:
    name, tile, split = row["patch"], row["tile"], row.get("split") or "none"
    if not PATCH_NAME.fullmatch(name):
        raise InputError(
            f"{where}: {one_line(repr(name), 80)} is not a patch name; expected one such as "
            "S2A_MSIL2A_20170613T101031_87_48; correct the line"
        )
    scene_of(tile, where)
    for column in ("epsg", "ulx", "uly"):
        if not re.fullmatch("-?[0-9]{1,9}", row[column]):
            raise InputError(
                f"{where}: {column} of {name} is {one_line(repr(row[column]), 40)}; expected a "
                "whole number of at most nine digits; correct the line"
            )
    epsg, ulx, uly = (int(row[column]) for column in ("epsg", "ulx", "uly"))
    if split not in SPLITS:
        raise InputError(
            f"{where}: split of {name} is {one_line(repr(split), 40)}; expected train, val, "
            "test or nothing; correct the line"
        )
    labels = [label.strip() for label in row["labels"].split("|")] if row["labels"] else []
    return Entry(
        name,
        tile,
        epsg,
        ulx=ulx,
        uly=uly,
        classes=nomenclature.binarise(labels, where),
        split=split,
    )


def write(path, entries: Iterable[Entry], inputs: Iterable = ()) -> None:
    """Writes a list that `read` reads, in the given order; `inputs` as of `files.new_file`.

    Raises:
        InputError: it cannot be written.
    """
    with (
        new_file(path, "write the list of patches", inputs) as partial,
        open(partial, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for e in entries:
            labels = "|".join(nomenclature.LABELS[i] for i in np.flatnonzero(e.classes))
            writer.writerow(
                (e.name, e.tile, e.epsg, e.ulx, e.uly, labels, "" if e.split == "none" else e.split)
            )


def from_archive(root) -> list:
    """The entries of all patches of an archive, by name, with its own splits if it has them.

    Raises:
        InputError: no archive, or the JSON file of a patch is missing or malformed.
    """
    entries, splits = [], find_splits(None, root)
    opened = archive.Version1(root)
    for name in sorted(opened.names()):
        metadata = opened.metadata(name)
        scene_of(metadata.tile_source, opened.stem(name))
        ulx, uly = metadata.corners[:2]
        entry = Entry(
            name=name,
            tile=metadata.tile_source,
            epsg=metadata.epsg,
            ulx=ulx,
            uly=uly,
            classes=metadata.classes,
            split=SPLITS[splits.get(name, NO_SPLIT)],
        )
        entries.append(entry)
    return entries


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of the program."""

    archive: str = option(REQUIRED, "folder of a BigEarthNet v1.0 archive")
    out: str = option(REQUIRED, "CSV file to write")


def run(config: Config) -> None:
    check_output(config.out, inputs=[config.archive])
    entries = from_archive(config.archive)
    write(config.out, entries, inputs=[config.archive])
    print(f"{config.out}: {len(entries)} patches")


if __name__ == "__main__":
    cli.main(
        Config,
        run,
        cli.Program(
            module="bigearth.prepare.patchlist",
            description="Write the list of patches of an archive.",
            example="--archive BigEarthNet-v1.0 --out patches.csv",
        ),
    )
