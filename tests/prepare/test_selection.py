"""Split files and exclusion lists."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigearth.errors import InputError
from bigearth.prepare import selection

A, B, C = (f"S2A_MSIL2A_20170613T101031_{h}_48" for h in (1, 2, 3))


def write(folder, **content):
    for split in ("train", "val", "test"):
        (folder / f"{split}.csv").write_bytes(content.get(split, b""))


@given(
    names=st.lists(st.sampled_from([A, B, C]), unique=True),
    end=st.sampled_from(["\n", "\r\n"]),
    bom=st.booleans(),
    last=st.booleans(),
)
def test_line_ends_bom_and_more_columns(tmp_path_factory, names, end, bom, last):
    path = tmp_path_factory.mktemp("names") / "names.csv"
    text = end.join(f"{name},Austria,summer" for name in names) + (end if last else "")
    path.write_bytes((b"\xef\xbb\xbf" if bom else b"") + text.encode())
    assert selection.read_names(path) == names


def test_select_sorts_excludes_and_codes(tmp_path):
    write(tmp_path, train=f"{A}\r\n".encode(), test=f"{C}\n".encode())
    (tmp_path / "snow.csv").write_text(f"{B}\n")
    snow = tmp_path / "snow.csv"
    choice = selection.select([C, B, A], selection.read_splits(tmp_path), [snow], "here")
    assert choice.names == [A, C]
    assert np.array_equal(choice.codes, [0, 2]) and choice.codes.dtype == np.uint8
    assert choice.joined == {
        "splits": {"listed": 2, "found": 2},
        str(snow): {"listed": 1, "found": 1},
    }
    assert selection.select([B], {}, [], "here").codes.tolist() == [3]


def test_lists_that_name_no_patch_of_the_archive_are_refused(tmp_path):
    (tmp_path / "snow.csv").write_text(f"{A}\n{B}\n")
    assert selection.select([A, C], {C: 0, B: 1}, [tmp_path / "snow.csv"], "here").joined == {
        "splits": {"listed": 2, "found": 1},
        str(tmp_path / "snow.csv"): {"listed": 2, "found": 1},
    }
    with pytest.raises(InputError, match="the split lists: 0 of 2 listed patches are in here"):
        selection.select([C], {A: 0, B: 1}, [], "here")
    with pytest.raises(InputError, match="snow.csv: 0 of 2 listed patches are in here"):
        selection.select([C], {C: 0}, [tmp_path / "snow.csv"], "here")
    (tmp_path / "empty.csv").touch()
    assert selection.select([C], {C: 0}, [tmp_path / "empty.csv"], "here").names == [C]


@pytest.mark.parametrize("name", [A.replace("2", "\u0662"), A + "\n" + B, "S2A_" + "9" * 300])
def test_names_are_ascii_and_short(tmp_path, name):
    (tmp_path / "list.csv").write_text(f'"{name}"\n')
    with pytest.raises(InputError, match="is not a patch name") as caught:
        selection.read_names(tmp_path / "list.csv")
    assert len(str(caught.value)) < 400 and str(caught.value).isprintable()


def test_splits_of_the_archive_are_found_or_none(tmp_path):
    assert selection.find_splits(None, tmp_path) == {}
    write(tmp_path, val=f"{A}\n".encode())
    assert selection.find_splits(None, tmp_path) == {A: 1}


@pytest.mark.parametrize(
    "content, sentence",
    [
        (
            {"train": f"{A}\n".encode(), "val": f"{A}\r\n".encode()},
            f"val.csv: patch {A} is also in train.csv",
        ),
        ({"train": b"patch,split\n"}, "line 1: 'patch' is not a patch name"),
        ({"test": b"\xff\xfe\x00"}, "not text in UTF-8"),
    ],
)
def test_bad_splits(tmp_path, content, sentence):
    write(tmp_path, **content)
    with pytest.raises(InputError, match=sentence):
        selection.read_splits(tmp_path)


def test_missing_split_file(tmp_path):
    (tmp_path / "train.csv").touch()
    with pytest.raises(InputError, match="val.csv: missing"):
        selection.find_splits(None, tmp_path)


def test_nothing_left(tmp_path):
    (tmp_path / "cloud.csv").write_text(f"{A}\n")
    with pytest.raises(InputError, match="no patch is left"):
        selection.select([A], {}, [tmp_path / "cloud.csv"], "here")
    with pytest.raises(InputError, match="snow.csv"):
        selection.select([A], {}, [tmp_path / "snow.csv"], "here")
