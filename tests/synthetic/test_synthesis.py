"""The synthetic archive: the format of a real one, the real frequencies, the same bytes for the
same seed."""

import datetime
import json
import resource
import subprocess
import sys

import numpy as np
import pytest
from osgeo import gdal, osr

from bigearth import bands, files, nomenclature, store
from bigearth.prepare import archive as archives
from bigearth.synthetic import geography, landscape, synthesis

COUNT = 160
# from the real patch S2A_MSIL2A_20170613T101031_87_48 (CDLA-Permissive-1.0)
REAL_KEYS = ["labels", "coordinates", "projection", "tile_source", "acquisition_date"]
REAL_PROJECTION = (
    'PROJCS["WGS 84 / UTM zone 33N",GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS '
    '84",6378137,298.257223563,AUTHORITY["EPSG","7030"]],'
    'AUTHORITY["EPSG","6326"]],PRIMEM["Greenwich",0,AUTHORITY["EPSG","8901"]],UNIT["degree",0.0174532925199433,AUTHORITY["EPSG","9122"]],'
    'AXIS["Latitude",NORTH],AXIS["Longitude",EAST],AUTHORITY["EPSG","4326"]],PROJECTION["Transverse_Mercator"],'
    'PARAMETER["latitude_of_origin",0],PARAMETER["central_meridian",15],PARAMETER["scale_factor",0.9996],PARAMETER["false_easting",500000],'
    'PARAMETER["false_northing",0],UNIT["metre",1,AUTHORITY["EPSG","9001"]],AXIS["Easting",EAST],AXIS["Northing",NORTH],'
    'AUTHORITY["EPSG","32633"]]'
)
# (tile, h, v) -> (ulx, uly) of the six real patches that bigearthnet-common carries
REAL_CORNERS = {
    ("33UUP", 87, 48): (404400, 5342400),
    ("29UPU", 36, 85): (643200, 5798040),
    ("29UPU", 4, 55): (604800, 5834040),
    ("29SND", 56, 35): (567180, 4358040),
    ("35VPK", 69, 24): (682800, 6971220),
    ("35VPK", 57, 38): (668400, 6954420),
}


def synthesise(*options, **keywords):
    command = [sys.executable, "-m", "bigearth.synthetic.synthesis", *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, **keywords)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    out = tmp_path_factory.mktemp("synthesis") / "archive"
    done = synthesise("--patches", COUNT, "--seed", 5, "--out", out, "--processes", 2)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def drawn():
    """The native pixels of some patches, snowy and cloudy ones included as in the statistics in
    use."""
    return [synthesis.pixels(p, 2, i) for i, p in enumerate(synthesis.plan(400, 2))]


def read_list(path):
    lines = path.read_bytes().split(b"\r\n")
    assert lines.pop() == b""
    return [line.decode() for line in lines]


def test_every_patch_is_like_a_real_one(archive):
    folders = [p for p in archive.iterdir() if p.name.startswith("S2")]
    assert len(folders) == COUNT
    tiles = {t.product: t for t in geography.tiles()}
    for folder in folders[::8]:
        name = folder.name
        expected = {f"{name}_{b}.tif" for b in bands.NAMES} | {f"{name}_labels_metadata.json"}
        assert {p.name for p in folder.iterdir()} == expected
        content = json.loads((folder / f"{name}_labels_metadata.json").read_text())
        assert list(content) == REAL_KEYS and list(content["coordinates"]) == [
            "ulx",
            "uly",
            "lrx",
            "lry",
        ]
        assert 1 <= nomenclature.binarise(content["labels"], name).sum() == len(content["labels"])
        tile = tiles[content["tile_source"]]
        prefix, h, v = name.rsplit("_", 2)
        assert prefix in tile.prefixes
        ulx, uly = content["coordinates"]["ulx"], content["coordinates"]["uly"]
        assert (ulx, uly) == (
            geography.origin(tile.mgrs)[0] + 1200 * int(h),
            geography.origin(tile.mgrs)[1] - 1200 * int(v),
        )
        assert (content["coordinates"]["lrx"], content["coordinates"]["lry"]) == (
            ulx + 1200,
            uly - 1200,
        )
        datetime.datetime.strptime(content["acquisition_date"], "%Y-%m-%d %H:%M:%S")
        for band in bands.BANDS:
            image = gdal.Open(str(folder / f"{name}_{band.name}.tif"))
            size = bands.patch_size(band.resolution)
            assert (image.RasterXSize, image.RasterYSize, image.RasterCount) == (size, size, 1)
            assert image.GetRasterBand(1).DataType == gdal.GDT_UInt16
            assert image.GetGeoTransform() == (ulx, band.resolution, 0, uly, 0, -band.resolution)
            reference = osr.SpatialReference(wkt=content["projection"])
            assert reference.GetAuthorityCode(None) == image.GetSpatialRef().GetAuthorityCode(None)


def test_pixels_are_those_drawn(archive):
    patches = synthesis.plan(COUNT, 5)
    for index in (0, COUNT - 1):
        native = synthesis.pixels(patches[index], 5, index)
        name = patches[index].name
        for resolution, image in native.items():
            for i, band in enumerate(bands.at(resolution)):
                assert np.array_equal(
                    gdal.Open(str(archive / name / f"{name}_{band.name}.tif")).ReadAsArray(),
                    image[..., i],
                )


def test_every_patch_is_in_one_list_and_the_splits_have_the_official_shares(archive):
    lists = {p.name: read_list(p) for p in (*archive.glob("*.csv"), *archive.glob("exclude/*.csv"))}
    assert sorted(sum(lists.values(), [])) == sorted(
        p.name for p in archive.iterdir() if p.name.startswith("S2")
    )
    assert [len(lists[f"{split}.csv"]) for split in ("train", "val", "test")] == pytest.approx(
        [0.457 * COUNT, 0.21 * COUNT, 0.213 * COUNT], abs=2
    )
    for name in lists["patches_with_seasonal_snow.csv"]:
        assert int(name.split("_")[2][4:6]) in synthesis.COLD_MONTHS


def test_same_seed_same_bytes_whatever_the_number_of_processes(archive, tmp_path):
    assert (
        synthesise(
            "--patches", COUNT, "--seed", 5, "--out", tmp_path / "b", "--processes", 1
        ).returncode
        == 0
    )
    one, two = (
        {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}
        for root in (archive, tmp_path / "b")
    )
    assert one == two
    other = synthesis.plan(COUNT, 6)
    assert [p.name for p in other] != [p.name for p in synthesis.plan(COUNT, 5)]


def test_projection_is_spelled_as_in_a_real_patch():
    assert synthesis._projection(32633) == REAL_PROJECTION


@pytest.mark.parametrize(("place", "corner"), REAL_CORNERS.items())
def test_tile_origin_gives_the_corners_of_real_patches(place, corner):
    mgrs, h, v = place
    x, y = geography.origin(mgrs)
    assert (x + 1200 * h, y - 1200 * v) == corner


@pytest.mark.parametrize(
    ("name", "time"),
    [
        ("S2A_MSIL2A_20170613T101031_87_48", "2017-06-13 10:10:31"),
        ("S2B_MSIL2A_20170924T93020_69_24", "2017-09-24 09:30:20"),
        ("S2B_MSIL2A_20180204T94160_57_38", "2018-02-04 09:42:00"),
    ],
)
def test_time_is_read_from_the_name(name, time):
    assert str(synthesis.Patch(name, None, 0, 0, None, "train").time) == time


def test_label_frequencies_are_the_real_ones():
    share, probability = geography.probabilities()
    frequency = np.array([c.count for c in nomenclature.CLASSES]) / nomenclature.ARCHIVE_PATCHES
    assert share.sum() == pytest.approx(1) and (probability <= 1).all()
    assert share @ probability == pytest.approx(frequency)
    rng = np.random.default_rng(0)
    labels = [geography.draw_labels(rng) for _ in range(8000)]
    counts = np.array([len(chosen) for chosen in labels])
    assert counts.min() >= 1 and counts.mean() == pytest.approx(frequency.sum(), abs=0.05)
    assert 0.9 <= (counts <= 5).mean() <= 1 and len(np.bincount(counts)) >= 6
    found = np.bincount(np.concatenate(labels), minlength=43) / len(labels)
    assert np.abs(found - frequency).max() < 0.02


def test_neighbouring_covers_come_together():
    rng = np.random.default_rng(0)
    hot = np.array([np.bincount(geography.draw_labels(rng), minlength=43) for _ in range(8000)])
    code = {c.code: i for i, c in enumerate(nomenclature.CLASSES)}

    def lift(a, b):
        return (
            hot[:, code[a]]
            @ hot[:, code[b]]
            * len(hot)
            / (hot[:, code[a]].sum() * hot[:, code[b]].sum())
        )

    assert lift(312, 313) > 1.2 and lift(111, 112) > 3 and lift(223, 244) > 5
    assert lift(312, 523) < 0.7 and lift(111, 412) < 0.5


def test_every_label_is_in_the_picture():
    rng = np.random.default_rng(1)
    view = landscape.View(np.arange(120), np.arange(300, 420))
    for patch in synthesis.plan(60, 3):
        covers = synthesis.mosaic(patch.labels, view, rng)
        assert covers.shape == (120, 120) and np.array_equal(np.unique(covers), patch.labels)


def test_band_statistics_are_near_the_real_ones(drawn):
    for resolution in bands.RESOLUTIONS:
        image = np.concatenate(
            [native[resolution].reshape(-1, len(bands.at(resolution))) for native in drawn]
        ).astype(float)
        for band, mean, std in zip(bands.at(resolution), image.mean(0), image.std(0)):
            assert 0.7 < mean / band.mean < 1.3, band.name
            assert 0.7 < std / band.std < 1.4, band.name


def test_mixed_forest_has_the_mean_but_not_the_pixels_of_the_other_two():
    view = landscape.View(np.arange(240), np.arange(240))
    day = landscape.season(7, np.random.default_rng(0))._replace(
        tint=np.ones((43, 12)), haze=0.0, green=np.ones(43)
    )
    broad, conifer, mixed = (
        landscape.render(np.full((240, 240), 22 + i), view, day)[..., bands.NAMES.index("B08")]
        for i in range(3)
    )
    assert mixed.mean() == pytest.approx((broad.mean() + conifer.mean()) / 2, rel=0.03)
    middle = np.abs(mixed / mixed.mean() - 1) < 0.2
    assert middle.mean() < 0.25


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--patches", 0], "--patches is 0; expected 1 to 590326"),
        (["--patches", 4, "--seed", -1], "--seed is -1"),
        (["--patches", 4, "--processes", 0], "--processes is 0"),
        (["--patches", 4, "--colour", 1], "unrecognized arguments"),
        (["--patches", 4, "--products", 1], "expected either --patches or --products"),
        (["--products", 1, "--tile-size", 130], "--tile-size is 130; expected a multiple of 60"),
        (["--products", 500, "--tile-size", 120], "--products is 500; expected 1 to"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(tmp_path, options, sentence):
    done = synthesise(*options, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert (
        done.stderr.startswith("error: ")
        and done.stderr.count("\n") == 1
        and sentence in done.stderr
    )
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    done = synthesise("--patches", 2, "--out", tmp_path / "out")
    assert done.returncode == 2 and "already there" in done.stderr
    assert [p.name for p in tmp_path.rglob("*")] == ["out", "mine"]


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path):
    done = synthesise(
        "--patches",
        3,
        "--out",
        tmp_path / "a",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000)),
    )
    assert (
        done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    )
    (tmp_path / "file").touch()
    assert synthesise("--patches", 3, "--out", tmp_path / "file" / "a").returncode == 2
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_what_a_killed_run_left_is_cleared_away(tmp_path):
    child = subprocess.Popen(["true"])
    child.wait()
    host = files._partial(tmp_path / "a").name.split(".")[-4]
    (tmp_path / f".a.{host}.{child.pid}.0123456789abcdef.partial" / "S2A_old").mkdir(parents=True)
    assert synthesise("--patches", 3, "--out", tmp_path / "a").returncode == 0
    assert [p.name for p in tmp_path.iterdir()] == ["a"] and not (
        tmp_path / "a" / "S2A_old"
    ).exists()


def test_an_archive_of_version_2_is_read(tmp_path):
    out = tmp_path / "a"
    done = synthesise("--patches", 60, "--seed", 2, "--archive-version", "2.0", "--out", out)
    assert done.returncode == 0, done.stderr
    opened = archives.open_archive(out)
    names = opened.names()
    assert opened.labels == nomenclature.LABELS_19
    assert len(names) + opened.counts()["snow_cloud_or_shadow"] == 60
    native = {key: np.empty(store.ARRAYS[key].shape, np.uint16) for key in store.NATIVE}
    plan = {patch.name: (i, patch) for i, patch in enumerate(synthesis.plan(60, 2, version=2))}
    for name in names[:5]:
        classes, _ = archives.read_patch(opened, name, native)
        index, patch = plan[name]
        truth = np.bincount(patch.labels, minlength=43)
        assert np.array_equal(classes, np.minimum(nomenclature.to_19(truth), 1))
        assert np.array_equal(native["data_20m"], synthesis.pixels(patch, 2, index)[20])
    assert set(opened.splits()) == set(names)
