"""bigearth/files.py: a file has its name only when it is complete."""

import os
import signal
import stat
import subprocess
import sys

import pytest

from bigearth.errors import InputError
from bigearth.files import check_output, lock, new_file, new_folder, write_text


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
        pytest.raises(InputError, match="cannot write the list: Not a directory"),
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


def test_a_link_stays_and_what_it_points_at_is_written(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "far/file")
    write_text(tmp_path / "link", "write it", "a")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "far/file").read_text() == "a"
    assert not (tmp_path / "far/file").is_symlink()


def test_the_mode_is_the_umask_s(tmp_path):
    old = os.umask(0o027)
    try:
        write_text(tmp_path / "a", "write it", "a")
    finally:
        os.umask(old)
    assert stat.S_IMODE(os.stat(tmp_path / "a").st_mode) == 0o640


def special(path, kind):
    """Makes a device that is this machine's null device under another name, a pipe or a folder."""
    if kind == "device":
        try:
            os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        except PermissionError:
            pytest.skip("only root makes devices")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    return path


@pytest.mark.parametrize("kind", ["device", "pipe", "folder"])
@pytest.mark.parametrize("linked", [False, True])
def test_only_regular_files_are_replaced(tmp_path, kind, linked):
    path = special(tmp_path / "target", kind)
    if linked:
        (tmp_path / "link").symlink_to(path)
    before = os.lstat(path)
    with (
        pytest.raises(InputError, match="is a (device, pipe or socket|folder)"),
        new_file(tmp_path / ("link" if linked else "target"), "write it"),
    ):
        pass
    after = os.lstat(path)
    assert (after.st_mode, after.st_ino, after.st_rdev) == (
        before.st_mode,
        before.st_ino,
        before.st_rdev,
    )
    assert len(list(tmp_path.iterdir())) == 1 + linked


def test_an_input_is_never_written(tmp_path):
    (tmp_path / "in").mkdir()
    data = tmp_path / "in/data"
    data.write_text("precious")
    os.link(data, tmp_path / "hard")
    (tmp_path / "soft").symlink_to(data)
    for given in (data, tmp_path / "in"):
        for name in (data, tmp_path / "in/../in/data", tmp_path / "hard", tmp_path / "soft"):
            if given.is_dir() and name.name == "hard":
                continue  # another name of the file outside the folder
            with pytest.raises(InputError, match="is one of the inputs"):
                write_text(name, "write it", "x", inputs=[given])
    assert data.read_text() == "precious" and len(list(tmp_path.rglob("*"))) == 4
    write_text(tmp_path / "in/new", "write it", "x", inputs=[tmp_path / "in", "no such thing"])


def test_temporary_names_are_random_and_planted_links_are_not_followed(tmp_path):
    names = set()
    for _ in range(3):
        with new_file(tmp_path / "a", "write it") as partial:
            names.add(partial.name)
            assert partial.parent == tmp_path and not partial.is_symlink()
    assert len(names) == 3


def test_a_name_at_the_limit_of_the_file_system_works(tmp_path):
    write_text(tmp_path / ("n" * 255), "write it", "a")
    with pytest.raises(InputError, match="File name too long"):
        write_text(tmp_path / ("n" * 256), "write it", "a")


def test_two_writers_at_once_each_leave_a_whole_file(tmp_path):
    with new_file(tmp_path / "a", "write it") as one:
        with new_file(tmp_path / "a", "write it") as other:
            one.write_text("one"), other.write_text("other")
        assert (tmp_path / "a").read_text() == "other"
    assert (tmp_path / "a").read_text() == "one" and len(list(tmp_path.iterdir())) == 1


def test_a_folder_comes_whole_or_not_at_all(tmp_path):
    with pytest.raises(KeyError), new_folder(tmp_path / "a") as folder:
        (folder / "b").touch()
        raise KeyError
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a").mkdir()
    with new_folder(tmp_path / "a") as folder:
        (folder / "b").touch()
    assert [p.name for p in tmp_path.rglob("*")] == ["a", "b"]
    with pytest.raises(InputError, match="already there"), new_folder(tmp_path / "a"):
        pass


def test_an_older_folder_of_the_same_kind_stays_until_the_newer_one_is_complete(tmp_path):
    with new_folder(tmp_path / "a", mark="mark") as folder:
        (folder / "mark").write_text("older")
    with pytest.raises(KeyError), new_folder(tmp_path / "a", mark="mark"):
        raise KeyError
    assert (tmp_path / "a/mark").read_text() == "older"
    with new_folder(tmp_path / "a", mark="mark") as folder:
        (folder / "mark").write_text("newer")
    assert (tmp_path / "a/mark").read_text() == "newer" and len(list(tmp_path.iterdir())) == 1


def test_a_zero_byte_is_a_sentence(tmp_path):
    with pytest.raises(InputError, match="null"):
        check_output(f"{tmp_path}/a\0b")


HOLD = (
    "import sys, time; from bigearth.files import lock\n"
    "with lock(sys.argv[1], 'preparation'): print('held', flush=True); time.sleep(60)"
)


def test_a_lock_names_its_holder_and_a_killed_one_holds_nothing(tmp_path):
    path = tmp_path / "a.h5"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, path], stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    expected = f"another preparation writes it .process {holder.pid} on "
    with pytest.raises(InputError, match=expected), lock(path, "preparation"):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    with lock(path, "preparation"):
        assert list(tmp_path.iterdir()) == [tmp_path / "a.h5.lock"]
    assert list(tmp_path.iterdir()) == []


def test_many_wait_for_one_lock_and_none_holds_it_twice(tmp_path):
    """Processes that take the lock in turns add to a number that only its holder may touch."""
    program = (
        "import sys, time; from pathlib import Path; from bigearth.files import lock\n"
        "from bigearth.errors import InputError\n"
        "number, done = Path(sys.argv[1]), 0\n"
        "while done < 30:\n"
        "    try:\n"
        "        with lock(number, 'count'):\n"
        "            number.write_text(str(int(number.read_text()) + 1)); done += 1\n"
        "    except InputError: time.sleep(0.001)\n"
    )
    (tmp_path / "number").write_text("0")
    command = [sys.executable, "-c", program, tmp_path / "number"]
    for process in [subprocess.Popen(command) for _ in range(4)]:
        assert process.wait() == 0
    assert (tmp_path / "number").read_text() == "120"


def test_a_file_system_without_locks_is_written(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with lock(tmp_path / "a", "preparation"):
        pass
