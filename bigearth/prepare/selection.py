"""Which patches are taken, and which split each belongs to: the official split files and the snow
and cloud lists.

All are CSV files without a header whose first column is a patch name; line ends may be CRLF or LF.
"""

import csv
import re
from pathlib import Path
from typing import Iterable, Optional

import numpy as np

from bigearth.errors import InputError, disk_error
from bigearth.store import SPLITS

# e.g. S2B_MSIL2A_20170924T93020_69_24: BigEarthNet drops the leading zeros of the time
PATCH_NAME = re.compile(r"S2[A-Z]_MSIL2A_\d{8}T\d{1,6}_\d{1,2}_\d{1,2}")
NO_SPLIT = SPLITS.index("none")


def read_names(path) -> list:
    """The patch names in the first column of a CSV file, in file order.

    Raises:
        InputError: the file cannot be read, or a line does not start with a patch name.
    """
    names = []
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            for line, row in enumerate(csv.reader(file), 1):
                if not row or not row[0].strip():
                    continue
                name = row[0].strip()
                if not PATCH_NAME.fullmatch(name):
                    raise InputError(
                        f"{path}, line {line}: {name!r} is not a patch name; expected one such as "
                        "S2A_MSIL2A_20170613T101031_87_48 "
                        "in the first column and no header; correct the line"
                    )
                names.append(name)
    except OSError as error:
        raise disk_error(path, "read the list of patches", error) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{path}: not a CSV file in UTF-8 ({error}); expected patch names in the "
            "first column; save it again"
        ) from error
    return names


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


def select(names: Iterable[str], splits: dict, exclude: Iterable[str], where: str) -> tuple:
    """Drops the excluded patches, sorts the others, and looks up their splits.

    Args:
        names: all patches there are.
        splits: from `find_splits`.
        exclude: files of patch names to drop (snow, cloud and shadow).
        where: what the names come from, for the error message.

    Returns:
        names: sorted list.
        codes: (N,) uint8 into `store.SPLITS`.

    Raises:
        InputError: an exclusion file is malformed, or no patch is left.
    """
    dropped = {name for path in exclude for name in read_names(path)}
    kept = sorted(set(names) - dropped)
    if not kept:
        raise InputError(
            f"{where}: no patch is left after the exclusion lists; expected at least "
            "one; give other --exclude files"
        )
    return kept, np.array([splits.get(name, NO_SPLIT) for name in kept], np.uint8)
