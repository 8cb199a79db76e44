"""bigearth/files.py: a file has its name only when it is complete."""

import subprocess
import sys

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
    with (
        pytest.raises(InputError, match="cannot write the list: File exists"),
        new_file(tmp_path / "file/list.csv", "write the list"),
    ):
        pass


def test_arrays_on_a_full_disk_are_one_sentence_and_nothing_else(tmp_path):
    program = (
        "import sys, numpy as np; from bigearth.errors import InputError; from bigearth.files "
        "import save_arrays\n"
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try: save_arrays(sys.argv[1], 'save it', {'a': np.zeros(10_000)})\n"
        "except InputError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "a.npz"], capture_output=True, text=True
    )
    assert done.stdout.startswith(f"{tmp_path / 'a.npz'}: cannot save it: ") and done.stderr == ""
    assert not list(tmp_path.iterdir())
