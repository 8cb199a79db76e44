"""What inspect says of a small file, and its picture."""

import numpy as np
import pytest
from osgeo import gdal

from bigearth import nomenclature, store
from bigearth.errors import InputError
from bigearth.prepare import inspect


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "two.h5"
    store.create(path, ["a", "b"], np.array([0, 2], np.uint8), "bilinear", "a test")
    import h5py

    with h5py.File(path, "r+") as file:
        file["data_20m"][...] = np.arange(6, dtype="u2") * 100
        file["classes"][...] = [
            nomenclature.binarise(labels, "here")
            for labels in (["Pastures"], ["Pastures", "Airports"])
        ]
    store.finish(path)
    return path


def test_says_what_the_file_holds(file):
    text = inspect.describe(store.Store(file), 0)
    lines = {line.split("  ")[0]: line for line in text.splitlines()}
    assert lines["Pastures"].split()[1:] == ["1", "0", "1", "0", "2"]
    assert lines["Airports"].split()[1:] == ["0", "0", "1", "0", "1"]
    assert "2 x 60 x 60 x 6" in lines["data_20m"]
    assert "labels per patch: 1 to 2, mean 1.50" in text
    assert next(line for line in text.splitlines() if line.startswith("B07")).split()[:6] == [
        "B07",
        "20",
        "200",
        "200.0",
        "0.0",
        "200",
    ]


def test_draws_a_picture(file, capsys):
    inspect.run(inspect.Config(data=str(file), patches=2))
    assert "two.png: 2 patches" in capsys.readouterr().out
    picture = gdal.Open(str(file.with_suffix(".png")))
    assert picture.RasterXSize > 1000 and picture.RasterYSize > 500


def test_a_folder_that_is_not_there(file):
    with pytest.raises(InputError, match="cannot write the picture"):
        inspect.picture(store.Store(file), 1, 0, file / "x.png")
