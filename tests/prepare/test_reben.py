"""BigEarthNet v2.0: an archive made with GDAL and polars alone, recognised and read."""

import datetime
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars
import pytest

from bigearth import bands, nomenclature, store
from bigearth.errors import InputError
from bigearth.prepare import archive as archives
from bigearth.prepare import reben

ROOT = Path(__file__).parents[2]
PRODUCTS = (
    "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP",
    "S2B_MSIL2A_20180421T100029_N9999_R122_T34TCR",
)
ROWS = [  # patch, labels, split, epsg
    (f"{PRODUCTS[0]}_26_57", ["Arable land", "Transitional woodland, shrub"], "test", 32633),
    (f"{PRODUCTS[1]}_03_04", ["Marine waters"], "train", 32634),
    (f"{PRODUCTS[0]}_9_9", ["Pastures"], "validation", 32633),
]


def table(path, rows, **columns):
    frame = polars.DataFrame(
        {
            "patch_id": [row[0] for row in rows],
            "labels": [row[1] for row in rows],
            "split": [row[2] for row in rows],
            "country": ["Austria"] * len(rows),
            "contains_seasonal_snow": [False] * len(rows),
            **columns,
        },
        schema_overrides={"labels": polars.List(polars.String)},
    )
    frame.write_parquet(path)


@pytest.fixture
def archive(tmp_path, make_patch):
    """(root, name -> band -> pixels)."""
    root, pixels = tmp_path / "archive", {}
    for seed, (name, _, _, epsg) in enumerate(ROWS):
        home = root / "BigEarthNet-S2" / name.rsplit("_", 2)[0]
        pixels[name] = make_patch(home, name, ["Pastures"], seed, epsg, 300000 + 1200 * seed)
        (home / name / f"{name}_labels_metadata.json").unlink()
    (root / "BigEarthNet-S2" / ".DS_Store").touch()
    table(root / "metadata.parquet", ROWS)
    snow = [(f"{PRODUCTS[1]}_5_5", ["Pastures"], "train")] * 2
    table(root / reben.LEFT_OUT, snow)
    return root, pixels


def prepare(root, out, *more):
    command = [sys.executable, "-m", "benchmarks.prepare", "--archive", root, "--out", out, *more]
    return subprocess.run(
        list(map(str, command)), cwd=ROOT, capture_output=True, text=True, timeout=120
    )


def test_an_archive_becomes_a_file_of_19_classes(archive, tmp_path):
    root, pixels = archive
    done = prepare(root, tmp_path / "v2.h5")
    assert done.returncode == 0, done.stderr
    patches = store.Store(tmp_path / "v2.h5")
    assert patches.names.tolist() == sorted(name for name, *_ in ROWS)
    assert patches.source == "BigEarthNet v2.0 archive" and patches.version == 2
    for name, labels, split, _ in ROWS:
        i = patches.names.tolist().index(name)
        found = {nomenclature.LABELS_19[c] for c in np.flatnonzero(patches.classes[i])}
        assert found == set(labels)
        assert store.SPLITS[patches.splits[i]] == {"validation": "val"}.get(split, split)
        for resolution in bands.RESOLUTIONS:
            for place, band in enumerate(bands.at(resolution)):
                stored = patches.array(f"data_{resolution}m")[i, ..., place]
                assert np.array_equal(stored, pixels[name][band.name])
    told = json.loads((tmp_path / "v2.result.json").read_text())["provenance"]
    assert told["snow_cloud_or_shadow"] == 2 and told["listed_but_missing"] == 0
    verified = subprocess.run(
        [sys.executable, "-m", "benchmarks.prepare", "--verify", tmp_path / "v2.h5"], cwd=ROOT
    )
    assert verified.returncode == 0


def test_the_folder_of_images_will_do_and_missing_patches_are_counted(archive, tmp_path):
    root, _ = archive
    (root / "BigEarthNet-S2" / PRODUCTS[1]).rename(tmp_path / "elsewhere")
    opened = archives.open_archive(root / "BigEarthNet-S2")
    assert sorted(opened.names()) == sorted(row[0] for row in (ROWS[0], ROWS[2]))
    assert opened.counts() == {"listed_but_missing": 1, "snow_cloud_or_shadow": 2}


def test_flagged_patches_are_left_out(archive):
    root, _ = archive
    table(root / "metadata.parquet", ROWS, contains_cloud_or_shadow=[True, None, False])
    opened = archives.open_archive(root)
    assert sorted(opened.names()) == sorted(row[0] for row in ROWS[1:])
    assert opened.counts()["snow_cloud_or_shadow"] == 3


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([("patch", ["Pastures"], "train")], "row 1: 'patch' is not the name of a patch"),
        ([(ROWS[0][0], ["Pastures"], "val")], "split is 'val'; expected train, validation"),
        ([(ROWS[0][0], ["Lawn"], "train")], "unknown label 'Lawn'; expected one of the 19"),
        ([(ROWS[0][0], [], "train")], "no label"),
        ([ROWS[0][:3], ROWS[0][:3]], "comes twice"),
        ([(f"{PRODUCTS[0]}_88_88", ["Pastures"], "train")], "0 of 1 patches"),
    ],
)
def test_bad_tables(archive, rows, sentence):
    root, _ = archive
    table(root / "metadata.parquet", rows)
    with pytest.raises(InputError, match=sentence):
        archives.open_archive(root).names()


def test_what_is_no_table_of_patches(archive):
    root, _ = archive
    path = root / "metadata.parquet"
    good = path.read_bytes()
    for content in (b"", b"PAR1" * 9, good[:-20], good[: len(good) // 2]):
        path.write_bytes(content)
        with pytest.raises(InputError, match="not a readable Parquet file"):
            archives.open_archive(root)
    day = datetime.date(2020, 1, 1)
    polars.DataFrame({"patch_id": [day], "labels": [["x"]], "split": ["x"]}).write_parquet(path)
    with pytest.raises(InputError, match="column 'patch_id' is Date; expected String"):
        archives.open_archive(root)


def test_a_band_in_another_zone_or_place(archive, make_patch):
    root, _ = archive
    opened = archives.open_archive(root)
    native = {key: np.zeros(store.ARRAYS[key].shape, np.uint16) for key in store.NATIVE}
    names = [row[0] for row in ROWS]
    for name, epsg in ((names[0], 32634), (names[1], 32734)):
        folder = root / "BigEarthNet-S2" / name.rsplit("_", 2)[0] / name
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        make_patch(folder.parent, name, ["Pastures"], 1, epsg)
        with pytest.raises(InputError, match=f"in EPSG:{epsg}; expected EPSG:3263"):
            archives.read_patch(opened, name, native)
    other = root / "BigEarthNet-S2" / PRODUCTS[0] / names[2]
    path = other / f"{names[2]}_B05.tif"
    options = ("-a_ullr", "0", "1200", "1200", "0")
    subprocess.run(["gdal_translate", "-q", *options, path, root / "x.tif"], check=True)
    (root / "x.tif").rename(path)
    with pytest.raises(InputError, match="B05.tif: georeference"):
        archives.read_patch(opened, names[2], native)
