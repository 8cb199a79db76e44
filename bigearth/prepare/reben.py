"""Reads BigEarthNet v2.0 (reBEN; Clasen et al. 2024, arXiv:2407.03653): 19 classes, labels and
splits in one table.

    ROOT/BigEarthNet-S2/<product>/<patch>/<patch>_B01.tif ... _B12.tif
    ROOT/metadata.parquet                      patch_id, labels, split, and more
    ROOT/metadata_for_patches_with_snow_cloud_or_shadow.parquet

where <product> is e.g. S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP, and <patch> that and _26_57.
The patches of metadata.parquet are taken. Those of the second table are counted and left out.
"""

import io
import os
from pathlib import Path
from typing import Optional

import numpy as np

from bigearth import files, nomenclature
from bigearth.errors import InputError, disk_error, one_line
from bigearth.prepare.selection import PATCH_NAME, Metadata

IMAGES = "BigEarthNet-S2"
TABLE = "metadata.parquet"
LEFT_OUT = "metadata_for_patches_with_snow_cloud_or_shadow.parquet"
SPLITS = {"train": 0, "validation": 1, "test": 2}  # -> code into store.SPLITS
UNCLEAR = ("contains_seasonal_snow", "contains_cloud_or_shadow")
MOST_BYTES = 1 << 30
REMEDY = "download it again"


def find(root) -> Optional[tuple]:
    """(folder of images, path of the table) if `root` is an archive of version 2.0, or the folder
    of images of one; else None."""
    root = Path(os.path.abspath(root))
    for images, home in ((root / IMAGES, root), (root, root), (root, root.parent)):
        if images.name == IMAGES and images.is_dir() and (home / TABLE).exists():
            return images, home / TABLE
    return None


def _read_table(path: Path):
    """A table of patches as a polars DataFrame, its columns checked.

    Raises:
        InputError: not a Parquet file, or a column is missing or of another type.
    """
    try:
        import polars
    except ImportError as error:
        raise InputError(
            f"{path}: reading it needs the package polars, which is not installed; install it"
        ) from error
    data = files.read_bytes(path, what="table of patches", most=MOST_BYTES)
    try:
        frame = polars.read_parquet(io.BytesIO(data))
    except BaseException as error:  # a panic of polars is no Exception
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        raise InputError(
            f"{path}: not a readable Parquet file ({one_line(error, 80)}); expected the table of "
            f"patches; {REMEDY}"
        ) from error
    wanted = {"patch_id": polars.String, "labels": polars.List(polars.String)}
    for column, kind in {**wanted, "split": polars.String}.items():
        if frame.schema.get(column) != kind:
            raise InputError(
                f"{path}: column {column!r} is {one_line(frame.schema.get(column, 'missing'), 40)};"
                f" expected {kind}; {REMEDY}"
            )
    return frame


class Version2:
    """An archive of version 2.0.

    Args:
        images: the folder BigEarthNet-S2.
        table: metadata.parquet.

    Attributes:
        root: the folder of images.
        labels: names of the classes.
        description: of the file that is made of it.

    Raises:
        InputError: the table cannot be read, or a row of it is not a patch's.
    """

    labels = nomenclature.LABELS_19
    description = "BigEarthNet v2.0 archive"

    def __init__(self, images: Path, table: Path):
        self.root = os.fspath(images)
        self._table = table
        frame = _read_table(table)
        keep = np.ones(len(frame), bool)
        for column in UNCLEAR:
            if column in frame.columns:
                keep &= np.array([value is not True for value in frame[column].to_list()], bool)
        self._unclear = int((~keep).sum())
        self._classes, self._splits = {}, {}
        rows = zip(frame["patch_id"].to_list(), frame["labels"].to_list(), frame["split"].to_list())
        for number, (taken, (name, labels, split)) in enumerate(zip(keep, rows), 1):
            where = f"{table}, row {number}"
            if name is None or not PATCH_NAME.fullmatch(name) or "_N" not in name:
                raise InputError(
                    f"{where}: {one_line(repr(name), 80)} is not the name of a patch of version "
                    f"2.0; {REMEDY}"
                )
            if name in self._classes:
                raise InputError(f"{where}: patch {name} comes twice; {REMEDY}")
            if split not in SPLITS:
                raise InputError(
                    f"{where}: split is {one_line(repr(split), 40)}; expected train, validation or "
                    f"test; {REMEDY}"
                )
            if taken:
                self._classes[name] = nomenclature.binarise(labels or (), where, self.labels)
                self._splits[name] = SPLITS[split]
        left_out = table.with_name(LEFT_OUT)
        self._left_out = len(_read_table(left_out)) if left_out.exists() else 0

    def names(self) -> list:
        """The patches of the table whose folders are there.

        Raises:
            InputError: the folder cannot be read, or none of them is there.
        """
        present = set()
        try:
            for product in os.scandir(self.root):
                if not product.name.startswith(".") and product.is_dir():
                    present.update(entry.name for entry in os.scandir(product.path))
        except OSError as error:
            raise disk_error(self.root, "read the archive", error) from error
        self._missing = len(self._classes.keys() - present)
        found = [name for name in self._classes if name in present]
        if not found:
            raise InputError(
                f"{self.root}: 0 of {len(self._classes)} patches of {self._table} are there; "
                "expected folders such as S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP/"
                "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_26_57; unpack them"
            )
        return found

    def splits(self) -> dict:
        """Patch name -> code into `store.SPLITS`."""
        return self._splits

    def counts(self) -> dict:
        """What the record says of the whole archive, after `names`."""
        return {
            "listed_but_missing": self._missing,
            "snow_cloud_or_shadow": self._left_out + self._unclear,
        }

    def stem(self, name: str) -> str:
        """What the paths of a patch's files begin with."""
        return f"{self.root}/{name.rsplit('_', 2)[0]}/{name}/{name}"

    def metadata(self, name: str) -> Metadata:
        """Labels of the table, and the zone that the name says."""
        zone, band = name.split("_")[5][1:3], name.split("_")[5][3]
        return Metadata(
            classes=self._classes[name],
            corners=None,
            epsg=(32600 if band >= "N" else 32700) + int(zone),
            tile_source=name.rsplit("_", 2)[0],
        )
