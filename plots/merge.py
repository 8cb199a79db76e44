"""`python -m plots merge`: adds the sessions of one results database to another, safely, so that CI
carries one database from run to run.

The database is never changed in place: a copy is made, the sessions are added to the copy, it is
checked, the old database is kept as a backup and the copy takes its name. All of it under the lock
that ReFrame itself takes (`.db.lock` beside the database), after a trial that the file system
honours locks at all.
"""

import errno
import fcntl
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bigearth.cli import REQUIRED, option
from bigearth.errors import InputError, disk_error
from plots import database

LOCK_NAME = ".db.lock"  # ReFrame's own
WAIT_S = 300
TRIAL = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'r+b'), fcntl.LOCK_EX | fcntl.LOCK_NB)"


@dataclass(frozen=True)
class Config:
    """Options of `python -m plots merge`."""

    database: str = option(REQUIRED, "the results database to add to; made if it is not there yet")
    add: str = option(REQUIRED, "the results database whose sessions are added")
    backups: int = option(5, "how many earlier states of the database are kept beside it")


def _try_lock(file, path: Path) -> bool:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise InputError(
            f"{path}: the file system does not support locks ({error.strerror}), so two jobs could "
            "write at once; keep the database elsewhere"
        ) from error


@contextmanager
def locked(path: Path, wait: float = WAIT_S):
    """Holds the lock of a results database, alone.

    Raises:
        InputError: another process keeps it for longer than `wait` seconds, or the file system
            grants it to two at once or to none.
    """
    lock = path.parent / LOCK_NAME
    try:
        file = open(lock, "a+b")  # noqa: SIM115  # closed below; closing it gives the lock back
    except OSError as error:
        raise disk_error(lock, "open the lock", error) from error
    with file:
        end = time.monotonic() + wait
        while not _try_lock(file, lock):
            if time.monotonic() > end:
                raise InputError(
                    f"{lock}: another process has held the lock for {wait:.0f} s; "
                    "wait for it to end, or find it with `fuser`"
                )
            time.sleep(0.1)
        if (
            subprocess.run(
                [sys.executable, "-c", TRIAL, str(lock)], stderr=subprocess.DEVNULL
            ).returncode
            == 0
        ):
            raise InputError(
                f"{lock}: the file system grants one lock to two processes, so locks mean nothing "
                "here; keep the database elsewhere"
            )
        yield


def _copy(source: Path, target: Path) -> None:
    with closing(database.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)


def _add_sessions(target: Path, source: Path) -> int:
    """Copies the sessions (and their test cases) that the target lacks; returns how many."""
    here, there = database.read_database(target), database.read_database(source)
    for uuid in here.keys() & there.keys():
        if here[uuid] != there[uuid]:
            raise InputError(
                f"{source}: session {uuid} differs from the one of that id in {target}; an id "
                "names one session; nothing was merged"
            )
    fresh = [(uuid,) for uuid in there if uuid not in here]
    with closing(database.connect(target, writable=True)) as connection, connection:
        connection.execute("ATTACH DATABASE ? AS other", (str(source),))
        connection.executemany(
            "INSERT INTO sessions SELECT * FROM other.sessions WHERE uuid = ?", fresh
        )
        connection.executemany(
            "INSERT INTO testcases SELECT * FROM other.testcases WHERE session_uuid = ?", fresh
        )
    return len(fresh)


def _backup(path: Path, keep: int) -> None:
    """Keeps the database under a dated name, and of those names the newest `keep`."""
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    same_second = sorted(path.parent.glob(f"{path.name}.{stamp}-*.backup"))
    # never a deleted one's: names sort by age
    number = int(same_second[-1].stem[-3:]) + 1 if same_second else 0
    os.link(path, path.with_name(f"{path.name}.{stamp}-{number:03d}.backup"))
    for old in sorted(path.parent.glob(f"{path.name}.*.backup"))[: -keep or None]:
        old.unlink()


def merge(path: Path, add: Path, backups: int = 5) -> int:
    """Adds the sessions of database `add` to database `path`.

    Returns:
        How many sessions were new.

    Raises:
        InputError: one of them is not a results database, they disagree about a session, the lock
            cannot be had, or the disk is full.
    """
    database.connect(add).close()
    if path.exists() and path.samefile(add):
        raise InputError(
            f"{add}: cannot be added to itself; give the other run's database with --add"
        )
    partial = path.with_name(f"{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path):
            partial.unlink(missing_ok=True)
            _copy(path if path.exists() else add, partial)
            new = _add_sessions(partial, add) if path.exists() else len(database.read_database(add))
            with closing(database.connect(partial)) as connection:
                (state,) = connection.execute("PRAGMA quick_check").fetchone()
            if state != "ok":
                raise InputError(
                    f"{partial}: the merged database is damaged ({state}); the old "
                    "one was left as it was"
                )
            if path.exists() and backups:
                _backup(path, backups)
            partial.replace(path)
    except (OSError, sqlite3.Error) as error:
        reason = error if isinstance(error, OSError) else OSError(None, str(error))
        raise disk_error(path, "merge results databases", reason) from error
    finally:
        with suppress(OSError):
            partial.unlink()
    return new


def run(config: Config) -> None:
    """Merges, and prints how many sessions were new."""
    if config.backups < 0:
        raise InputError(f"--backups is {config.backups}, expected 0 or more")
    new = merge(Path(config.database), Path(config.add), config.backups)
    print(f"{new} new session{'s' * (new != 1)} in {config.database}")
