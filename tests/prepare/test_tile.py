"""Reading Level-2A products, and cutting patches out of them as gdal_translate does."""

import hashlib
import shutil
import subprocess
import zipfile

import numpy as np
import pytest
from osgeo import gdal

from bigearth import bands, nomenclature
from bigearth.errors import InputError
from bigearth.prepare import cut, patchlist, sharing, tile

L1C = "S2A_MSIL1C_20170613T101031_N0205_R022_T33UUP_20170613T101608.SAFE"
PASTURES = nomenclature.binarise(["Pastures"], "here")


def entry(h, v, epsg=32633, product=L1C, shift=0):
    return patchlist.Entry(
        f"S2A_MSIL2A_20170613T101031_{h}_{v}",
        product,
        epsg,
        300000 + 1200 * h + shift,
        5400000 - 1200 * v,
        PASTURES,
        "none",
    )


def extract(folder, entries):
    """Position -> arrays of one patch, through the source."""
    source = cut.TileSource(tile.find_products(folder), entries)
    source.check(0, 1)
    found = {}
    for positions, arrays in source.pieces(source.blocks(), sharing.Clock()):
        found.update(
            {
                int(p): {key: values[i] for key, values in arrays.items()}
                for i, p in enumerate(positions)
            }
        )
    return found


@pytest.mark.parametrize("baseline, offset", [("0205", None), ("0400", -1000), ("0510", -1000)])
def test_every_pixel_equals_gdal_translate(tmp_path, make_product, baseline, offset):
    path, _ = make_product(tmp_path, 480, baseline, offset)
    entries = [entry(0, 0), entry(3, 3), entry(1, 2), entry(1, 1, shift=60)]
    found = extract(tmp_path, entries)
    assert sorted(found) == [0, 1, 2, 3]
    for position, e in enumerate(entries):
        for band in bands.BANDS:
            file = next(path.glob(f"GRANULE/*/IMG_DATA/R{band.resolution}m/*_{band.name}_*.jp2"))
            corners = [str(c) for c in (e.ulx, e.uly, e.ulx + 1200, e.uly - 1200)]
            subprocess.run(
                ["gdal_translate", "-q", "-projwin", *corners, file, tmp_path / "cut.tif"],
                check=True,
            )
            expected = np.maximum(
                gdal.Open(str(tmp_path / "cut.tif")).ReadAsArray().astype(int) + (offset or 0), 0
            )
            i = [b.name for b in bands.at(band.resolution)].index(band.name)
            assert np.array_equal(found[position][f"data_{band.resolution}m"][..., i], expected), (
                e.name,
                band.name,
            )


def test_nothing_below_zero_after_the_offset(tmp_path, make_product):
    path, pixels = make_product(tmp_path, 120, "0400", -1000)
    window = tile.Tile(path).read(10, 0, 0, 120, 120)
    assert (pixels["B02"] < 1000).any() and window.min() == 0
    assert np.array_equal(window[..., 0], np.maximum(pixels["B02"].astype(int) - 1000, 0))


def test_blocks_are_rows_of_strips(tmp_path, make_product):
    make_product(tmp_path, 480)
    entries = [entry(2, 1), entry(10, 0), entry(0, 1), entry(0, 3), entry(0, 0)]
    source = cut.TileSource(tile.find_products(tmp_path), entries)
    assert [(b.group, b.positions.tolist()) for b in source.blocks()] == [
        (0, [4]),
        (0, [0, 2]),
        (0, [3]),
        (0, [1]),
    ]


def band(path, name):
    return next(path.glob(f"GRANULE/*/IMG_DATA/R*/*_{name}_*.jp2"))


def shorten(path, name, share):
    file = band(path, name)
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])


def as_l1c(path):
    (path / "MTD_MSIL2A.xml").rename(path / "MTD_MSIL1C.xml")


def swap(path):
    band(path, "B11").write_bytes(band(path, "B02").read_bytes())


BAD = {
    "no band": (lambda p: band(p, "B8A").unlink(), "0 files match GRANULE.*B8A"),
    "no XML": (lambda p: (p / "MTD_MSIL2A.xml").unlink(), "MTD_MSIL2A.xml: missing"),
    "bad XML": (lambda p: (p / "MTD_MSIL2A.xml").write_text("<x>"), "not readable XML"),
    "Level-1C": (as_l1c, "a Level-1C product; expected Level-2A"),
    "JP2 cut in its data": (lambda p: shorten(p, "B03", 0.7), "B03_10m.jp2: cut short"),
    "JP2 cut at its end": (lambda p: shorten(p, "B03", 0.9999), "B03_10m.jp2: cut short"),
    "JP2 cut in its header": (lambda p: shorten(p, "B03", 0.0005), "B03_10m.jp2: cut short"),
    "empty JP2": (lambda p: shorten(p, "B03", 0), "B03_10m.jp2: cut short"),
    "no JP2": (
        lambda p: band(p, "B03").write_text("not an image" * 9),
        "B03_10m.jp2: cut short or not a JP2",
    ),
    "other grid": (swap, "B11_20m.jp2: georeference"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_products(tmp_path, make_product, case):
    path, _ = make_product(tmp_path, 120)
    spoil, sentence = BAD[case]
    spoil(path)
    with pytest.raises(InputError, match=sentence) as caught:
        tile.Tile(path)
    assert "\n" not in str(caught.value)


def test_a_product_named_level_1c_is_one(tmp_path, make_product):
    path, _ = make_product(tmp_path, 120)
    path = path.rename(path.with_name(path.name.replace("MSIL2A", "MSIL1C")))
    with pytest.raises(InputError, match="a Level-1C product; expected Level-2A"):
        tile.Tile(path)


def test_level_and_offset_in_the_metadata(tmp_path, make_product):
    with pytest.raises(InputError, match="processing level is Level-1C"):
        tile.Tile(make_product(tmp_path / "a", 120, level="Level-1C")[0])
    with pytest.raises(InputError, match="no BOA_ADD_OFFSET for B02"):
        tile.Tile(make_product(tmp_path / "b", 120, "0400")[0])


@pytest.mark.parametrize(
    "bad, sentence",
    [
        (entry(4, 0), "lies outside"),
        (entry(0, -1), "lies outside"),
        (entry(0, 0, epsg=32634), "in EPSG:32633, but its patch .* is in EPSG:32634"),
        (entry(0, 0, shift=10), "off the tile's grid"),
        (entry(0, 0, product=L1C.replace("T33UUP", "T33UUQ")), "no product for patch"),
        (entry(0, 0, product="tile 5"), "not the name of a Sentinel-2 product"),
    ],
)
def test_patches_that_do_not_fit(tmp_path, make_product, bad, sentence):
    make_product(tmp_path, 480)
    with pytest.raises(InputError, match=sentence):
        extract(tmp_path, [entry(1, 1), bad])


def test_two_tiles_that_claim_one_patch(tmp_path, make_product):
    make_product(tmp_path, 120, "0205")
    make_product(tmp_path, 120, "0500", -1000)
    with pytest.raises(InputError, match="two tiles, .*N0205.* and .*N0500.*, claim patch"):
        extract(tmp_path, [entry(0, 0)])


def test_the_folder_may_be_the_product_itself(tmp_path, make_product):
    path, _ = make_product(tmp_path, 120)
    assert (
        tile.find_products(f"{path}/")
        == tile.find_products(tmp_path)
        == {tile.scene_of(path.name, "here"): [path]}
    )


def test_folder_without_products(tmp_path):
    with pytest.raises(InputError, match="no Sentinel-2 product"):
        tile.find_products(tmp_path)


def zipped(path, inside=True):
    """The product as a zip file beside it; the folder goes."""
    target = path.with_name(path.name + ".zip")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as file:
        for member in sorted(p for p in path.rglob("*") if p.is_file()):
            file.write(member, member.relative_to(path.parent if inside else path))
    shutil.rmtree(path)
    return target


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("renamed", [True, False])
def test_a_zip_file_is_read_in_place(tmp_path, make_product, inside, renamed):
    folder = tmp_path / "it's {1} #2"
    folder.mkdir()
    path, pixels = make_product(folder, 120, "0500", -1000)
    product = zipped(path, inside)
    if renamed:  # unpacked by name only
        product = product.rename(path)
    ((found,),) = tile.find_products(folder).values()
    assert found == product
    window = tile.Tile(product, verify=True).read(10, 0, 0, 120, 120)
    expected = np.clip(pixels["B02"].astype(int) - 1000, 0, None)
    assert np.array_equal(window[..., 0], expected)


def test_a_damaged_zip_file_is_a_sentence(tmp_path, make_product):
    product = zipped(make_product(tmp_path, 120)[0])
    good = product.read_bytes()
    for content in (b"", b"PK\x03\x04" * 9, good[:-50], good[: len(good) // 2]):
        product.write_bytes(content)
        with pytest.raises(InputError, match="neither a SAFE folder nor a readable zip"):
            tile.Tile(product)
    spoiled = bytearray(good)
    spoiled[good.find(b"MTD_MSIL2A.xml") + 40] ^= 0xFF
    product.write_bytes(spoiled)
    with pytest.raises(InputError, match="damaged in its zip file"):
        tile.Tile(product)


def test_one_folder_deeper_is_named(tmp_path, make_product):
    path, _ = make_product(tmp_path / "inner", 120)
    (tmp_path / path.name).mkdir()
    path.rename(tmp_path / path.name / path.name)
    with pytest.raises(InputError, match="one folder deeper, in S2A_MSIL2A_2017"):
        tile.Tile(tmp_path / path.name)


def test_files_that_begin_with_a_dot_are_passed_over(tmp_path, make_product):
    path, _ = make_product(tmp_path, 120)
    for image in list(path.rglob("*.jp2")):
        image.with_name(f"._{image.name}").write_bytes(b"Mac OS X")
    (tmp_path / f"._{path.name}").touch()
    assert list(tile.find_products(tmp_path).values()) == [[path]]
    assert tile.Tile(path).columns == 120


def change(path, old, new):
    metadata = path / "MTD_MSIL2A.xml"
    text = metadata.read_text()
    assert old in text
    metadata.write_text(text.replace(old, new))


BASELINE = "<PROCESSING_BASELINE>02.05<"
OFFSET = '<BOA_ADD_OFFSET band_id="1">-1000<'
METADATA = {
    "not a number": ("0205", BASELINE, BASELINE.replace("02.05", "nan"), "is 'nan'; expected"),
    "more digits": ("0205", BASELINE, BASELINE.replace("02.05", "002.05"), "is '002.05'"),
    "other digits": ("0205", BASELINE, BASELINE.replace("02.05", "\u0660\u0662.05"), "expected a"),
    "another": ("0205", BASELINE, BASELINE.replace("02.05", "05.00"), "name says N0205"),
    "too large": ("0500", OFFSET, OFFSET.replace("1000", "9" * 20), "at most five digits"),
    "underscore": ("0500", OFFSET, OFFSET.replace("1000", "1_000"), "at most five digits"),
    "two values": ("0500", OFFSET, OFFSET + "/BOA_ADD_OFFSET>" + OFFSET.replace("10", "2"), "two"),
    "unknown band": ("0500", OFFSET, OFFSET.replace('"1"', '"13"'), "bands 0 to 12"),
}


@pytest.mark.parametrize("case", METADATA)
def test_numbers_of_the_metadata_are_taken_strictly(tmp_path, make_product, case):
    baseline, old, new, sentence = METADATA[case]
    path, _ = make_product(tmp_path, 120, baseline, -1000 if baseline == "0500" else None)
    change(path, old, new)
    with pytest.raises(InputError, match=sentence):
        tile.Tile(path)


def test_xml_of_an_unknown_encoding(tmp_path, make_product):
    path, _ = make_product(tmp_path, 120)
    (path / "MTD_MSIL2A.xml").write_bytes(b'<?xml version="1.0" encoding="no-such"?><a/>')
    with pytest.raises(InputError, match="not readable XML"):
        tile.Tile(path)


def test_a_product_of_ones_own_sen2cor(tmp_path, make_product):
    path, pixels = make_product(tmp_path, 120, "9999")
    with pytest.raises(InputError, match="a product of your own Sen2Cor.*--boa-offset"):
        tile.Tile(path)
    found = tile.Tile(path, own_offset=-500).read(20, 0, 0, 60, 60)[..., 0]
    assert np.array_equal(found, np.clip(pixels["B05"].astype(int) - 500, 0, None))
    shutil.rmtree(path)
    path, pixels = make_product(tmp_path, 120, "9999", -1000)
    found = tile.Tile(path, own_offset=7).read(20, 0, 0, 60, 60)[..., 0]
    assert np.array_equal(found, np.clip(pixels["B05"].astype(int) - 1000, 0, None))


@pytest.mark.parametrize("name", ["MD5", "SHA3-256"])
def test_checksums_of_the_manifest(tmp_path, make_product, name):
    path, _ = make_product(tmp_path, 120)
    image = band(path, "B03")
    make = {"MD5": hashlib.md5, "SHA3-256": hashlib.sha3_256}[name]
    (path / "manifest.safe").write_text(
        f'<x><byteStream><fileLocation href="./{image.relative_to(path).as_posix()}"/>'
        f'<checksum checksumName="{name}">{make(image.read_bytes()).hexdigest().upper()}</checksum>'
        "</byteStream></x>"
    )
    tile.Tile(path, verify=True)
    content = bytearray(image.read_bytes())
    content[len(content) // 2] ^= 1
    image.write_bytes(content)
    with pytest.raises(InputError, match="B03_10m.jp2: differs from its checksum in manifest.safe"):
        tile.Tile(path, verify=True)
    with pytest.raises(InputError, match="differs from its checksum"):
        extract(tmp_path, [entry(0, 0)])
