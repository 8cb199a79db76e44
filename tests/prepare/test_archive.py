"""Reading an archive: every pixel as GDAL's own tools see it, and a sentence for whatever is
wrong."""

import json
import os
import subprocess

import numpy as np
import pytest

from bigearth import bands, nomenclature, store
from bigearth.errors import InputError
from bigearth.prepare import archive as archives
from bigearth.prepare import raster, sharing

NAME = "S2A_MSIL2A_20170613T101031_87_48"


def empty():
    return {key: np.zeros(store.ARRAYS[key].shape, np.uint16) for key in store.NATIVE}


def gdal_pixels(path):
    """All pixels as `gdal_translate` prints them."""
    printed = subprocess.run(
        ["gdal_translate", "-q", "-of", "XYZ", path, "/vsistdout/"],
        capture_output=True,
        text=True,
        check=True,
    )
    return np.array([int(line.split()[2]) for line in printed.stdout.splitlines()])


def test_pixels_and_labels_equal_gdals(archive):
    root, _ = archive
    native = empty()
    classes, size = archives.read_patch(archives.open_archive(root), NAME, native)
    assert {nomenclature.LABELS[i] for i in np.flatnonzero(classes)} == {"Pastures", "Mixed forest"}
    assert size == 2 * (4 * 120**2 + 6 * 60**2 + 2 * 20**2)
    for resolution in bands.RESOLUTIONS:
        for i, band in enumerate(bands.at(resolution)):
            expected = gdal_pixels(root / NAME / f"{NAME}_{band.name}.tif")
            assert np.array_equal(native[f"data_{resolution}m"][..., i].ravel(), expected), (
                band.name
            )


def test_list_passes_over_what_is_no_patch(archive):
    root, pixels = archive
    (root / "splits").mkdir()
    (root / "train.csv").touch()
    assert sorted(archives.list_patches(root)) == sorted(pixels)


def test_source_yields_every_position_once(archive):
    root, pixels = archive
    names = sorted(pixels)
    source = archives.ArchiveSource(archives.open_archive(root), names)
    clock = sharing.Clock()
    pieces = list(source.pieces(source.blocks(), clock))
    assert np.concatenate([positions for positions, _ in pieces]).tolist() == [0, 1, 2]
    assert np.array_equal(pieces[0][1]["data_10m"][1, ..., 3], pixels[names[1]]["B08"])
    assert clock.bytes_read == 3 * 160_000 and clock.seconds["read"] > 0


def edit(root, **changes):
    path = root / NAME / f"{NAME}_labels_metadata.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def translate(root, band, *options):
    path = root / NAME / f"{NAME}_{band}.tif"
    subprocess.run(["gdal_translate", "-q", *options, path, root / "new.tif"], check=True)
    (root / "new.tif").rename(path)


def cut_short(root, band, size):
    path = root / NAME / f"{NAME}_{band}.tif"
    path.write_bytes(path.read_bytes()[:size])


def flip_a_bit(root):
    """One after which GDAL opens the file and fails only when its projection is asked for."""
    path = root / NAME / f"{NAME}_B02.tif"
    content = bytearray(path.read_bytes())
    content[8:8] = b""
    place = content.find(b"WGS 84")
    content[place - 40 : place] = bytes(b ^ 4 for b in content[place - 40 : place])
    path.write_bytes(content)


def pipe(root):
    path = root / NAME / f"{NAME}_B02.tif"
    path.unlink()
    os.mkfifo(path)


BAD = {
    "missing band": (lambda root: (root / NAME / f"{NAME}_B8A.tif").unlink(), "B8A.tif: missing"),
    "truncated": (lambda root: cut_short(root, "B03", 20000), "B03.tif: cut short or damaged"),
    "truncated header": (lambda root: cut_short(root, "B03", 60), "B03.tif: not a readable GTiff"),
    "empty": (lambda root: cut_short(root, "B03", 0), "B03.tif: not a readable GTiff"),
    "size": (
        lambda root: translate(root, "B05", "-outsize", "120", "120"),
        "B05.tif: 120 x 120 pixels; expected 60 x 60",
    ),
    "dtype": (
        lambda root: translate(root, "B05", "-ot", "Float32"),
        "B05.tif: 1 band.s. of Float32",
    ),
    "place": (
        lambda root: translate(root, "B05", "-a_ullr", "0", "1200", "1200", "0"),
        "B05.tif: georeference",
    ),
    "zone": (
        lambda root: translate(root, "B02", "-a_srs", "EPSG:32634"),
        "B02.tif: in EPSG:32634; expected EPSG:32633",
    ),
    "label": (lambda root: edit(root, labels=["Pastures", "Lawn"]), "unknown label 'Lawn'"),
    "no label": (lambda root: edit(root, labels=[]), "no label"),
    "labels": (lambda root: edit(root, labels="Pastures"), "'labels' is of type str"),
    "key": (lambda root: edit(root, coordinates={"ulx": 1}), "'uly' is missing"),
    "span": (
        lambda root: edit(root, coordinates={"ulx": 0, "uly": 0, "lrx": 1200, "lry": 0}),
        "span 1200 m x 0 m",
    ),
    "one bad bit": (flip_a_bit, "B02.tif: cut short or damaged"),
    "deep": (
        lambda root: (root / NAME / f"{NAME}_labels_metadata.json").write_text("[" * 100_000),
        "nested too deeply",
    ),
    "infinite": (
        lambda root: edit(root, coordinates={"ulx": 0, "uly": 0, "lrx": 1e400, "lry": 0}),
        "malformed JSON .Infinity",
    ),
    "half a metre": (
        lambda root: edit(root, coordinates={"ulx": 0.5, "uly": 0, "lrx": 1200.5, "lry": -1200}),
        "'ulx' is 0.5; expected a coordinate in whole metres",
    ),
    "list as label": (lambda root: edit(root, labels=[["Pastures"]]), "unknown label"),
    "control characters": (lambda root: edit(root, labels=["\x1b[31m\n" * 999]), "unknown label"),
    "pipe": (pipe, "B02.tif: not a regular file"),
    "projection": (lambda root: edit(root, projection="UTM"), "not a WKT with an EPSG code"),
    "not JSON": (
        lambda root: (root / NAME / f"{NAME}_labels_metadata.json").write_text('{"labels": ['),
        "malformed JSON",
    ),
    "not an object": (
        lambda root: (root / NAME / f"{NAME}_labels_metadata.json").write_text("[]"),
        "'labels' is missing",
    ),
    "no JSON": (
        lambda root: (root / NAME / f"{NAME}_labels_metadata.json").unlink(),
        "labels_metadata.json: missing",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_patches(archive, case):
    root, _ = archive
    spoil, sentence = BAD[case]
    spoil(root)
    with pytest.raises(InputError, match=sentence) as caught:
        archives.read_patch(archives.open_archive(root), NAME, empty())
    assert "\n" not in str(caught.value) and NAME in str(caught.value)
    opened = archives.open_archive(root)
    assert list(archives.find_bad(opened, sorted(opened.names()))) == [NAME]


@pytest.mark.parametrize(
    "options, found",
    [
        ((), 32633),
        (("-co", "ENDIANNESS=BIG"), None),
        (("-co", "BIGTIFF=YES"), None),
        (("-a_srs", "+proj=laea +lat_0=52 +lon_0=10"), None),
    ],
)
def test_projection_from_the_keys_of_a_geotiff(archive, options, found):
    root, _ = archive
    translate(root, "B02", *options)
    path = root / NAME / f"{NAME}_B02.tif"
    assert raster.geotiff_epsg(path) == found
    path.write_bytes(path.read_bytes()[:50])
    assert raster.geotiff_epsg(path) is None


@pytest.mark.parametrize(
    "make, sentence", [(True, "no patch in this archive"), (False, "cannot read the archive")]
)
def test_no_archive(tmp_path, make, sentence):
    if make:
        (tmp_path / "a").mkdir()
    with pytest.raises(InputError, match=sentence):
        archives.list_patches(tmp_path / "a")
