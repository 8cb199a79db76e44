"""The list of patches: what is written is read, and bad lines are named."""

import numpy as np
import pytest

from bigearth import nomenclature
from bigearth.errors import InputError
from bigearth.prepare import archive as archives
from bigearth.prepare import patchlist

NAME = "S2A_MSIL2A_20170613T101031_87_48"
LINE = f"{NAME},S2A_MSIL1C_20170613T101031_N0205_R022_T33UUP_20170613T101608.SAFE,32633,404400,5342400,Pastures|Mixed forest,val"


def read(tmp_path, *lines):
    path = tmp_path / "list.csv"
    path.write_text("\n".join((",".join(patchlist.COLUMNS), *lines)) + "\n")
    return patchlist.read(path)


def test_labels_with_commas_survive(tmp_path):
    labels = [
        "Land principally occupied by agriculture, with significant areas of natural vegetation",
        "Transitional woodland/shrub",
    ]
    entry = patchlist.Entry(
        NAME,
        LINE.split(",")[1],
        32633,
        404400,
        5342400,
        nomenclature.binarise(labels, "here"),
        "none",
    )
    patchlist.write(
        tmp_path / "list.csv", [entry, entry._replace(name=NAME[:-1] + "9", split="test")]
    )
    first, second = patchlist.read(tmp_path / "list.csv")
    assert first[:5] == entry[:5] and np.array_equal(first.classes, entry.classes)
    assert (first.split, second.split) == ("none", "test")


def test_list_of_an_archive(archive, tmp_path):
    root, pixels = archive
    patchlist.write(tmp_path / "list.csv", patchlist.from_archive(root))
    entries = patchlist.read(tmp_path / "list.csv")
    assert [e.name for e in entries] == sorted(pixels) == sorted(archives.list_patches(root))
    assert {(e.epsg, e.ulx, e.uly) for e in entries} == {(32633, 404400, 5342400)}


@pytest.mark.parametrize(
    "lines, sentence",
    [
        ((LINE, "", LINE), f"line 4: patch {NAME} is in line 2 too"),
        (
            (LINE, LINE.replace("T33UUP", "T33UUQ")),
            f"line 3: patch {NAME} is claimed by two tiles, .*T33UUP.* in line 2 and .*T33UUQ",
        ),
        (
            (LINE.replace("S2A_MSIL1C", "tile"),),
            "line 2: 'tile_.*' is not the name of a Sentinel-2 product",
        ),
        ((LINE.replace("Pastures|Mixed forest", ""),), "line 2: no label"),
        ((LINE.replace("404400", "x"),), "line 2: ulx of S2A.* is 'x'"),
        ((LINE.replace("Pastures", "Lawn"),), "line 2: unknown label 'Lawn'"),
        ((LINE.replace("val", "valid"),), "split of .* is 'valid'"),
        ((LINE.replace(",val", ""),), "line 2: 6 columns; expected 7"),
        ((LINE.replace(NAME, "patch"),), "'patch' is not a patch name"),
        ((), "no patch in this list"),
    ],
)
def test_bad_lists(tmp_path, lines, sentence):
    with pytest.raises(InputError, match=sentence):
        read(tmp_path, *lines)


def test_lists_from_elsewhere(tmp_path):
    path = tmp_path / "list.csv"
    expected = read(tmp_path, LINE)[0]
    columns = dict(zip(patchlist.COLUMNS, LINE.split(",")))
    for order in (patchlist.COLUMNS[::-1], [name for name in patchlist.COLUMNS if name != "split"]):
        lines = (", ".join(order).title(), "", ", ".join(columns[name] for name in order), " ,", "")
        path.write_bytes("\r\n".join(lines).encode("utf-8-sig"))
        (entry,) = patchlist.read(path)
        assert entry[:5] == expected[:5] and np.array_equal(entry.classes, expected.classes)
        assert entry.split == ("val" if "split" in order else "none")


def test_other_files(tmp_path):
    (tmp_path / "list.csv").write_text(LINE)
    with pytest.raises(InputError, match="line 1: another header"):
        patchlist.read(tmp_path / "list.csv")
    with pytest.raises(InputError, match="cannot read"):
        patchlist.read(tmp_path / "nothing.csv")
