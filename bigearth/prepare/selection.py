"""Which patches are taken, and which split each belongs to: the official split files and the snow
and cloud lists.

All are CSV files without a header whose first column is a patch name; line ends may be CRLF or LF.
"""

import re
from pathlib import Path
from typing import Iterable, NamedTuple, Optional

import numpy as np

from bigearth import files
from bigearth.errors import InputError, one_line
from bigearth.store import SPLITS

# e.g. S2B_MSIL2A_20170924T93020_69_24 (version 1.0 drops the leading zeros of the time) or
# S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_26_57 (version 2.0)
PATCH_NAME = re.compile(
    "S2[A-Z]_MSIL2A_[0-9]{8}T[0-9]{1,6}(_N[0-9]{4}_R[0-9]{3}_T[0-9]{2}[A-Z]{3})?"
    "_[0-9]{1,2}_[0-9]{1,2}"
)
MOST_BYTES = 1 << 30  # of a list: all patches, with all columns, are a tenth of it
NO_SPLIT = SPLITS.index("none")


class Metadata(NamedTuple):
    """What is known of a patch besides its pixels.

    Attributes:
        classes: (43,) or (19,) uint8, multi-hot.
        corners: ulx, uly, lrx, lry in whole metres of its UTM zone, or None: not said anywhere.
        epsg: that zone's EPSG code, e.g. 32633.
        tile_source: the Sentinel-2 product that it was cut from.
    """

    classes: np.ndarray
    corners: Optional[tuple]
    epsg: int
    tile_source: str


def read_names(path) -> list:
    """The patch names in the first column of a CSV file, in file order.

    Raises:
        InputError: the file cannot be read, or a line does not start with a patch name.
    """
    rows = files.read_csv(path, "list of patches, names in the first column", MOST_BYTES)
    for line, row in rows:
        if not PATCH_NAME.fullmatch(row[0]):
            raise InputError(
                f"{path}, line {line}: {one_line(repr(row[0]), 80)} is not a patch name; expected "
                "one such as S2A_MSIL2A_20170613T101031_87_48 in the first column and no header; "
                "correct the line"
            )
    return [row[0] for _, row in rows]


def read_splits(folder) -> dict:
    """Patch name -> code into `store.SPLITS`, from train.csv, val.csv and test.csv in a folder.

    Raises:
        InputError: a file is missing or malformed, or a patch is in two of them.
    """
    codes = {}
    for code, split in enumerate(SPLITS[:NO_SPLIT]):
        path = Path(folder) / f"{split}.csv"
        if not path.is_file():
            raise InputError(
                f"{path}: missing; expected train.csv, val.csv and test.csv side by side; add it "
                "or give another --splits folder"
            )
        for name in read_names(path):
            if codes.setdefault(name, code) != code:
                raise InputError(
                    f"{path}: patch {name} is also in {SPLITS[codes[name]]}.csv; expected every "
                    "patch in one split at most; "
                    "take it out of one of the two files"
                )
    return codes


def find_splits(folder: Optional[str], default: str) -> dict:
    """The splits of `folder`, or if none is given those in the folder `default` if it has any; {}
    if there are none."""
    if folder is None:
        if not any((Path(default) / f"{split}.csv").exists() for split in SPLITS[:NO_SPLIT]):
            return {}
        folder = default
    return read_splits(folder)


class Choice(NamedTuple):
    """Which patches are taken.

    Attributes:
        names: sorted.
        codes: (N,) uint8 into `store.SPLITS`.
        joined: what the lists name and how much of it there is, for the record: list -> {"listed":
            n, "found": n}.
    """

    names: list
    codes: np.ndarray
    joined: dict


def select(names: Iterable[str], splits: dict, exclude: Iterable[str], where: str) -> Choice:
    """Drops the excluded patches, sorts the others, and looks up their splits.

    Args:
        names: all patches there are.
        splits: from `find_splits`.
        exclude: files of patch names to drop (snow, cloud and shadow).
        where: what the names come from, for the error message.

    Raises:
        InputError: an exclusion file is malformed, a list names no patch that there is, or no patch
            is left.
    """
    present, dropped = set(names), set()
    joined = {"splits": _join(splits, present, "the split lists", where=where)} if splits else {}
    for path in exclude:
        listed = set(read_names(path))
        joined[str(path)] = _join(listed, present, path, where=where)
        dropped |= listed
    kept = sorted(present - dropped)
    if not kept:
        raise InputError(
            f"{where}: no patch is left after the exclusion lists; expected at least "
            "one; give other --exclude files"
        )
    codes = np.array([splits.get(name, NO_SPLIT) for name in kept], np.uint8)
    return Choice(kept, codes, joined)


def _join(listed, present: set, what, where) -> dict:
    """How many listed patches there are.

    Raises:
        InputError: none of them.
    """
    found = sum(name in present for name in listed)
    if len(listed) and not found:
        raise InputError(
            f"{what}: 0 of {len(listed)} listed patches are in {where}; expected the list of the "
            "same archive; give that one"
        )
    return {"listed": len(listed), "found": found}
