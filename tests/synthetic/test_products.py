"""Synthetic Sentinel-2 products: what readers of Level-2A find in them, and that patches and pixels
belong together."""

import re
import resource
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from osgeo import gdal

from bigearth import bands, store
from bigearth.prepare import patchlist
from bigearth.synthetic import geography, landscape, products

SIZE = 540  # not a multiple of 120: the last half row and column of the grid hold no patch


def synthesise(out, processes):
    options = [
        "--products",
        "2",
        "--tile-size",
        str(SIZE),
        "--seed",
        "4",
        "--out",
        str(out),
        "--processes",
        str(processes),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "bigearth.synthetic.synthesis", *options],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return synthesise(tmp_path_factory.mktemp("products") / "tiles", 2)


@pytest.fixture(scope="module")
def plan():
    return products.plan(2, SIZE, 4)


def test_bands_have_their_grids_and_hold_what_was_drawn_without_loss(folder, plan):
    for product in plan:
        strips = [
            products.draw_strip(product, first)[0] for first in range(0, SIZE, products.STRIP)
        ]
        x, y = geography.origin(product.tile.mgrs)
        for resolution in bands.RESOLUTIONS:
            drawn = np.concatenate([s[resolution] for s in strips])
            for i, band in enumerate(bands.at(resolution)):
                image = gdal.Open(str(folder / product.name / product.band_path(band)))
                assert image.GetDriver().ShortName == "JP2OpenJPEG"
                assert image.GetGeoTransform() == (x, resolution, 0, y, 0, -resolution)
                assert image.GetSpatialRef().GetAuthorityCode(None) == str(
                    geography.epsg(product.tile.mgrs)
                )
                assert np.array_equal(image.ReadAsArray(), drawn[..., i])


def test_names_are_those_of_level_2a(folder, plan):
    for product in plan:
        assert re.fullmatch(
            r"S2[AB]_MSIL2A_\d{8}T\d{6}_N0\d{3}_R\d{3}_T\d\d[A-Z]{3}_\d{8}T\d{6}\.SAFE",
            product.name,
        )
        files = [
            str(p.relative_to(folder / product.name))
            for p in (folder / product.name).rglob("*")
            if p.is_file()
        ]
        assert sorted(files) == sorted(
            ["MTD_MSIL2A.xml", "manifest.safe", *(product.band_path(b) for b in bands.BANDS)]
        )
        for band in bands.BANDS:
            pattern = rf"GRANULE/[^/]+/IMG_DATA/R{band.resolution}m/T\d\d[A-Z]{{3}}_\d{{8}}T\d{{6}}_{band.name}_{band.resolution}m\.jp2"
            assert re.fullmatch(pattern, product.band_path(band))


def test_metadata_says_level_baseline_and_offset(folder, plan):
    for product, baseline, offsets in zip(plan, (None, "05.00"), ([], ["-1000"] * 13)):
        root = ElementTree.parse(folder / product.name / "MTD_MSIL2A.xml").getroot()
        assert (
            root.findtext(".//PROCESSING_LEVEL") == "Level-2A"
            and root.findtext(".//PRODUCT_URI") == product.name
        )
        assert root.findtext(".//BOA_QUANTIFICATION_VALUE") == "10000"
        assert [e.text for e in root.iter("BOA_ADD_OFFSET")] == offsets
        assert root.findtext(".//PROCESSING_BASELINE") == (
            baseline or product.name[28:30] + "." + product.name[30:32]
        )
        assert {e.text + ".jp2" for e in root.iter("IMAGE_FILE")} == {
            product.band_path(b) for b in bands.BANDS
        }


def test_offset_is_taken_off_again_by_the_offset(plan):
    with_offset, without = plan[1], plan[1]._replace(offset=0)
    for resolution in bands.RESOLUTIONS:
        stored = products.draw_strip(with_offset, 0)[0][resolution].astype(int)
        assert np.array_equal(stored - 1000, products.draw_strip(without, 0)[0][resolution])


def test_patches_lie_in_their_tile_and_carry_what_it_shows(folder, plan):
    entries = patchlist.read(folder / "patches.csv")
    assert [e.name for e in entries] == sorted({e.name for e in entries})
    assert len(entries) == 2 * (SIZE // 120) ** 2
    by_name = {p.name: p for p in plan}
    covers = {
        p.name: products.draw_map(SIZE, p.seed).covers(
            landscape.View(np.arange(SIZE), np.arange(SIZE))
        )
        for p in plan
    }
    for entry in entries:
        product = by_name[entry.tile]
        prefix, h, v = entry.name.rsplit("_", 2)
        x, y = geography.origin(product.tile.mgrs)
        assert prefix in product.tile.prefixes and entry.epsg == geography.epsg(product.tile.mgrs)
        assert (entry.ulx, entry.uly) == (x + 1200 * int(h), y - 1200 * int(v))
        window = covers[product.name][
            120 * int(v) : 120 * int(v) + 120, 120 * int(h) : 120 * int(h) + 120
        ]
        assert np.array_equal(
            np.flatnonzero(entry.classes),
            [c for c in np.unique(window) if (window == c).mean() >= 0.05],
        )
    assert {e.split for e in entries} == {"train", "val", "test", "none"}


@pytest.mark.mpi
def test_the_programs_that_read_products_take_them(folder, tmp_path, mpirun):
    done = mpirun(
        2,
        "-m",
        "benchmarks.prepare",
        "--tiles",
        folder,
        "--list",
        folder / "patches.csv",
        "--out",
        tmp_path / "a.h5",
    )
    assert done.returncode == 0, done.stderr
    assert store.Store(tmp_path / "a.h5").size == 2 * (SIZE // 120) ** 2


@pytest.mark.parametrize("limit", [5_000, 200_000, 900_000])
def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path, limit):
    options = ["--products", "1", "--tile-size", "480", "--out", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-m", "bigearth.synthetic.synthesis", *options],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        capture_output=True,
        text=True,
    )
    assert (
        done.returncode == 2
        and done.stderr.splitlines()[-1].startswith("error: ")
        and "Traceback" not in done.stderr
    )
    assert not list(tmp_path.iterdir())


def test_a_tile_is_one_landscape():
    whole = products.draw_map(480, (1, 2)).covers(landscape.View(np.arange(480), np.arange(480)))
    part = products.draw_map(480, (1, 2)).covers(
        landscape.View(np.arange(120, 240), np.arange(60, 300))
    )
    assert np.array_equal(part, whole[120:240, 60:300])


def test_same_seed_same_bytes_whatever_the_number_of_processes(folder, tmp_path):
    other = synthesise(tmp_path / "other", 1)
    one, two = (
        {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}
        for root in (folder, other)
    )
    assert one == two


def test_as_many_products_as_there_are_acquisitions():
    plan = products.plan(products.MOST, 120, 0)
    assert len({product.tile.prefixes[0] for product in plan}) == products.MOST
