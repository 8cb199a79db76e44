"""bigearth/files.py: a file has its name only when it is complete."""

import pytest

from bigearth.errors import InputError
from bigearth.files import new_file


def test_the_name_comes_with_the_last_byte(tmp_path):
    path = tmp_path / "new" / "list.csv"
    with new_file(path, "write it") as partial:
        partial.write_text("a")
        assert not path.exists()
    assert path.read_text() == "a" and [p.name for p in path.parent.iterdir()] == ["list.csv"]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("old")
    with pytest.raises(KeyError), new_file(path, "write it") as partial:
        partial.write_text("half")
        raise KeyError
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_a_disk_that_fails_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write the list: File exists"), new_file(tmp_path / "file/list.csv", "write the list"):
        pass
