"""The doors that are attacked: how each reads a file, and what it must find in it."""

import json
import os
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np

from bigearth import files, launcher, record, store
from bigearth.errors import InputError
from bigearth.prepare import archive, patchlist, reben, selection, tile

from . import results
from .door import Door

ROOT = Path(__file__).parents[2]
CORES = "--processes", "1"
PATCHES = 12


def _run(*arguments) -> None:
    command = [sys.executable, "-m", *map(str, arguments)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)


def make_inputs(folder: Path) -> None:
    """Writes one good file of every kind, by the suite's own programs in processes of their own."""
    synthesis = ("bigearth.synthetic.synthesis", *CORES, "--seed", 1, "--out")
    _run(*synthesis, folder / "v1", "--patches", PATCHES)
    _run(*synthesis, folder / "v2", "--patches", PATCHES, "--archive-version", "2.0")
    _run(*synthesis, folder / "tiles", "--products", 2, "--tile-size", 120)
    _run("benchmarks.prepare", "--archive", folder / "v1", "--out", folder / "data.h5")
    shutil.copy(folder / "data.h5", folder / "header.h5")
    product = next(p for p in sorted((folder / "tiles").iterdir()) if p.is_dir())
    target = folder / f"zipped/{product.name}.zip"
    target.parent.mkdir()
    with zipfile.ZipFile(target, "w") as file:
        for member in sorted(p for p in product.rglob("*") if p.is_file()):
            file.write(member, member.relative_to(product.parent))
    results.make_inputs(folder / "results")


def _native() -> dict:
    return {key: np.zeros(store.ARRAYS[key].shape, np.uint16) for key in store.NATIVE}


def _patch(root: Path, name: str) -> tuple:
    native = _native()
    classes, _ = archive.read_patch(archive.open_archive(root), name, native)
    return (classes.tobytes(), *(native[key].tobytes() for key in store.NATIVE))


def _names(path: Path) -> bool:
    names = selection.read_names(path)
    return all(name.isascii() and len(name) < 64 and name.isprintable() for name in names)


def _entries(path: Path) -> bool:
    return all(
        e.name.isascii() and e.classes.any() and isinstance(e.ulx, int) and e.split in store.SPLITS
        for e in patchlist.read(path)
    )


def _tile(path: Path) -> bytes:
    opened = tile.Tile(path, verify=True)
    return b"".join(opened.read(r, 0, 0, 1200 // r, 1200 // r).tobytes() for r in (10, 20, 60))


def _table(path: Path) -> bool:
    opened = reben.Version2(path.parent / reben.IMAGES, path)
    return all(opened.metadata(name).classes.any() for name in opened.names())


def _stored(path: Path) -> tuple:
    patches = store.Store(path)
    if not patches.intact(np.arange(len(patches))).all():  # what --verify does
        raise InputError("patches differ from their checksums")
    keys = ("classes", "split", "patch", "data_60m")
    return (patches.interpolation, *(patches.array(key).tobytes() for key in keys))


def _record(path: Path) -> bool:
    found = record.read(path)
    json.dumps(vars(found))
    return all(e["value"] is None or np.isfinite(e["value"]) for e in found.metrics.values())


def doors(folder: Path) -> dict:
    """Name -> `Door`, of what `make_inputs` made."""
    name = sorted(archive.list_patches(folder / "v1"))[0]
    stem = folder / "v1" / name / name
    safe = next(p for p in sorted((folder / "tiles").iterdir()) if p.is_dir())
    zipped = next((folder / "zipped").iterdir())
    tif = Path(f"{stem}_B02.tif")
    labels = Path(f"{stem}_labels_metadata.json")
    image = next(safe.rglob("*_B05_20m.jp2"))
    first = min(store.Store(folder / "data.h5").offsets.values())
    header = folder / "header.h5"
    return {
        "GeoTIFF": Door(tif, lambda: bool(_patch(folder / "v1", name)), most=384),
        "labels JSON": Door(labels, lambda: archive.read_metadata(labels).classes.any()),
        "split list": Door(folder / "v1/train.csv", lambda: _names(folder / "v1/train.csv")),
        "patch list": Door(
            folder / "tiles/patches.csv", lambda: _entries(folder / "tiles/patches.csv")
        ),
        "SAFE XML": Door(safe / "MTD_MSIL2A.xml", lambda: _tile(safe), exact=True),
        "SAFE manifest": Door(safe / "manifest.safe", lambda: _tile(safe), exact=True),
        "JP2": Door(image, lambda: _tile(safe), exact=True),
        "SAFE in zip": Door(zipped, lambda: _tile(zipped), exact=True),
        "v2.0 table": Door(
            folder / "v2/metadata.parquet", lambda: _table(folder / "v2/metadata.parquet")
        ),
        "HDF5 arrays": Door(
            folder / "data.h5", lambda: _stored(folder / "data.h5"), exact=True, most=-first
        ),
        "HDF5 header": Door(header, lambda: _stored(header), exact=True, most=first, library=True),
        "record": Door(folder / "data.result.json", lambda: _record(folder / "data.result.json")),
        **results.doors(folder / "results"),
    }


def command_line(rng) -> None:
    """A command line of good and bad words through the one parser."""
    from benchmarks import prepare
    from bigearth import cli

    flags = [cli.flag(name) for name in prepare.Config.__dataclass_fields__]
    values = (
        "1",
        "-1",
        "nan",
        "1e999",
        "\u0663",
        "",
        "x" * 5000,
        "\x1b[31m",
        "a\nb",
        "--",
        "dsen2",
    )
    words = [
        rng.choice((rng.choice(flags), rng.choice(values), rng.choice(flags)[:-1]))
        for _ in range(rng.randrange(1, 6))
    ]
    cli.parse(prepare.Config, words, prepare.PROGRAM)


def environment(rng) -> None:
    """Launchers' variables of any form."""
    for name in (*launcher.SIZES, "SLURM_PROCID"):
        value = rng.choice((None, "1", "0", "-1", "x", "\u0663", "9" * 30, " 1", "1(x2)"))
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    launcher.size()


def output(folder: Path, rng) -> str:
    """A writer at a name that something else has; returns "wrong" if it destroyed anything."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    given, target = folder / "input", folder / "target"
    given.write_bytes(b"precious")
    kind = rng.choice(("file", "link", "dangling", "pipe", "device", "folder", "input", "hard"))
    if kind == "file":
        target.write_bytes(b"old")
    elif kind in ("link", "dangling"):
        target.symlink_to(folder / "other")
        if kind == "link":
            (folder / "other").write_bytes(b"old")
    elif kind == "pipe":
        os.mkfifo(target)
    elif kind == "device":
        os.mknod(target, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    elif kind == "folder":
        target.mkdir()
    elif kind == "hard":
        os.link(given, target)
    else:
        target = given
    before = os.lstat(target) if os.path.lexists(target) else None
    refused = kind in ("pipe", "device", "folder", "input", "hard")
    try:
        files.write_text(target, "write it", "new", inputs=[given])
    except InputError:
        if not refused:
            return "wrong"
    else:
        if refused or target.read_text() != "new":
            return "wrong"
    if given.read_bytes() != b"precious" or list(folder.glob(".*.partial")):
        return "wrong"
    after = os.lstat(target)
    if before is not None and stat.S_IFMT(after.st_mode) != stat.S_IFMT(before.st_mode):
        return "wrong"
    return "clean" if refused else "right"
