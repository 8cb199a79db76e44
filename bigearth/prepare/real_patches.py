"""Real BigEarthNet data for trials: six patches, the official splits and the lists of snowy and
cloudy patches.

All come in the PyPI wheel `bigearthnet-common` 2.8.0 (code Apache-2.0, data CDLA-Permissive-1.0, TU
Berlin), which is fetched by pip when first needed, checked by its SHA-256 and kept in the user's
cache; nothing of it is executed.

    python -m bigearth.prepare.real_patches --out DIR
        DIR/archive/<patch>/...    the six patches
        DIR/splits/                train.csv, val.csv, test.csv (as published: CRLF ends)
        DIR/exclude/               patches_with_seasonal_snow.csv, _cloud_and_shadow.csv,
                                   _no_19_class_targets.csv
"""

import bz2
import dataclasses
import io
import tarfile
import zipfile
from pathlib import Path

from bigearth import cli
from bigearth.cli import REQUIRED, option
from bigearth.files import new_folder
from bigearth.prepare import wheels

PACKAGE = "bigearthnet-common==2.8.0"
WHEEL = "bigearthnet_common-2.8.0-py3-none-any.whl"
SHA256 = "6c2bcf2b1d39a3f48925b0d941557152f9e523576fbb9d2b881a842ed92fd6af"
LISTS = {
    "splits": ("train.csv", "val.csv", "test.csv"),
    "exclude": (
        "patches_with_seasonal_snow.csv",
        "patches_with_cloud_and_shadow.csv",
        "patches_with_no_19_class_targets.csv",
    ),
}


def wheel() -> Path:
    """The wheel's path in the cache, fetched if it is not there yet.

    Raises:
        InputError: it cannot be fetched, or its content is not the expected one.
    """
    return wheels.fetch(PACKAGE, WHEEL, SHA256)


def unpack(source: Path, out: Path) -> None:
    """Unpacks patches and lists from the wheel `source` into the existing folder `out`."""
    with zipfile.ZipFile(source) as package:
        for folder, names in LISTS.items():
            (out / folder).mkdir()
            for name in names:
                (out / folder / name).write_bytes(
                    bz2.decompress(package.read(f"bigearthnet_common/{name}.bz2"))
                )
        patches = io.BytesIO(package.read("bigearthnet_common/BigEarthNet-S2-Example.tar.bz2"))
    with tarfile.open(fileobj=patches) as archive:
        for member in archive:
            if member.isfile():
                patch, file = Path(member.name).parts[-2:]
                (out / "archive" / patch).mkdir(parents=True, exist_ok=True)
                (out / "archive" / patch / file).write_bytes(archive.extractfile(member).read())


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of the program."""

    out: str = option(REQUIRED, "new folder to write")


def run(config: Config) -> None:
    with new_folder(config.out) as folder:
        unpack(wheel(), folder)
    print(f"{config.out}: six real patches in archive/, official lists in splits/ and exclude/")


if __name__ == "__main__":
    cli.main(
        Config,
        run,
        cli.Program(
            module="bigearth.prepare.real_patches",
            description="Fetch six real patches and the official lists.",
            example="--out samples",
        ),
    )
