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
    names, codes = selection.select(
        [C, B, A], selection.read_splits(tmp_path), [tmp_path / "snow.csv"], "here"
    )
    assert names == [A, C]
    assert np.array_equal(codes, [0, 2]) and codes.dtype == np.uint8
    assert selection.select([B], {}, [], "here")[1].tolist() == [3]


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
        ({"test": b"\xff\xfe\x00"}, "not a CSV file in UTF-8"),
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
