"""plots/merge.py: nothing lost, nothing twice, nothing half-written."""

import fcntl
import multiprocessing
import sqlite3
import subprocess
import time
from types import SimpleNamespace

import pytest

from bigearth.errors import InputError
from plots import database, merge
from tests.plots import example_sessions as sessions


def make(path, *names):
    reports = [
        sessions.session(
            sessions.case({"time_per_epoch": 1.0}), uuid_=name, time=sessions.START + i
        )
        for i, name in enumerate(names)
    ]
    return sessions.database(path, reports)


def test_a_merge_holds_every_session_of_both_once(tmp_path):
    a, b = make(tmp_path / "a.db", "1", "2"), make(tmp_path / "b.db", "2x", "3")
    assert merge.merge(a, b) == 2
    assert merge.merge(a, b) == 0
    assert sorted(database.read_database(a)) == ["1", "2", "2x", "3"]
    with sqlite3.connect(a) as connection:
        assert connection.execute(
            "SELECT count(*), count(DISTINCT uuid) FROM testcases"
        ).fetchone() == (4, 4)


def test_the_first_merge_makes_the_database(tmp_path):
    b = make(tmp_path / "b.db", "1")
    assert merge.merge(tmp_path / "new/store.db", b) == 1
    assert list(database.read_database(tmp_path / "new/store.db")) == ["1"]


def test_earlier_states_are_kept_as_backups(tmp_path):
    store = make(tmp_path / "store.db", "0")
    for i in range(1, 6):
        merge.merge(store, make(tmp_path / f"{i}.db", str(i)), backups=2)
    kept = sorted(tmp_path.glob("store.db.*.backup"))
    assert [sorted(database.read_database(path)) for path in kept] == [list("0123"), list("01234")]


def test_a_session_that_differs_is_refused_and_nothing_changes(tmp_path):
    a, b = make(tmp_path / "a.db", "1"), make(tmp_path / "b.db", "9")
    sessions.database(
        tmp_path / "c.db", [sessions.session(sessions.case({"time_per_epoch": 2.0}), uuid_="1")]
    )
    before = a.read_bytes()
    with pytest.raises(InputError, match="session 1 differs"):
        merge.merge(a, tmp_path / "c.db")
    with pytest.raises(InputError, match="itself"):
        merge.merge(b, b)
    assert a.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"a.db", "b.db", "c.db", merge.LOCK_NAME}


def _add(store, path):
    merge.merge(store, path)


def test_many_at_once_lose_nothing(tmp_path):
    store = make(tmp_path / "store.db", "first")
    paths = [make(tmp_path / f"{i}.db", f"session {i}") for i in range(6)]
    processes = [
        multiprocessing.get_context("fork").Process(target=_add, args=(store, path))
        for path in paths
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert len(database.read_database(store)) == 7


def test_a_lock_that_is_held_is_waited_for_and_then_named(tmp_path):
    store = make(tmp_path / "store.db", "1")
    held = multiprocessing.get_context("fork").Event()

    def hold():
        with open(tmp_path / merge.LOCK_NAME, "a+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX)
            held.set()
            time.sleep(30)

    process = multiprocessing.get_context("fork").Process(target=hold)
    process.start()
    held.wait()
    try:
        with (
            pytest.raises(InputError, match="another process has held the lock"),
            merge.locked(store, wait=0.3),
        ):
            pass
    finally:
        process.terminate()
        process.join()


def test_a_file_system_whose_locks_mean_nothing_is_detected(tmp_path, monkeypatch):
    store = make(tmp_path / "store.db", "1")
    # the trial got the lock too
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: SimpleNamespace(returncode=0))
    with pytest.raises(InputError, match="two processes"):
        merge.merge(store, make(tmp_path / "b.db", "2"))

    def refuse(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    with pytest.raises(InputError, match="does not support locks"):
        merge.merge(store, tmp_path / "b.db")


def test_a_place_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot merge"):
        merge.merge(tmp_path / "file/store.db", make(tmp_path / "b.db", "1"))
