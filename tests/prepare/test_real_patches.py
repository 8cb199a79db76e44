"""The six real BigEarthNet patches: archive -> HDF5 -> read, against what GDAL's own tools and the
JSON files say."""

import json
import subprocess

import numpy as np
import pytest

from bigearth import bands, nomenclature
from bigearth.store import Store


@pytest.fixture(scope="module")
def real(tmp_path_factory, mpirun):
    folder = tmp_path_factory.mktemp("real")
    for arguments in (
        (1, "-m", "bigearth.prepare.real_patches", "--out", folder / "samples"),
        (
            2,
            "-m",
            "benchmarks.prepare",
            "--archive",
            folder / "samples/archive",
            "--out",
            folder / "real.h5",
        ),
    ):
        done = mpirun(*arguments)
        assert done.returncode == 0, done.stderr
    return folder / "samples/archive", Store(folder / "real.h5")


@pytest.mark.mpi
@pytest.mark.parametrize("resolution", bands.RESOLUTIONS)
def test_every_pixel_is_what_gdal_translate_writes(real, resolution, tmp_path):
    archive, store = real
    size = bands.patch_size(resolution)
    assert len(store.names) == 6
    for position, name in enumerate(store.names):
        for place, band in enumerate(bands.at(resolution)):
            raw = tmp_path / "band.raw"
            tif = archive / name / f"{name}_{band.name}.tif"
            subprocess.run(["gdal_translate", "-q", "-of", "ENVI", str(tif), str(raw)], check=True)
            expected = np.fromfile(raw, "<u2").reshape(size, size)
            np.testing.assert_array_equal(
                store.array(f"data_{resolution}m")[position, :, :, place], expected
            )


@pytest.mark.mpi
def test_every_label_is_that_of_the_metadata(real):
    archive, store = real
    for name, classes in zip(store.names, store.classes):
        labels = json.loads((archive / name / f"{name}_labels_metadata.json").read_text())["labels"]
        assert {nomenclature.LABELS[i] for i in np.flatnonzero(classes)} == set(labels)
