"""Spoils inputs at random and counts what the programs do with them.

    python -m tests.attack --cases 2000 --seed 1

A case is clean (one sentence), right (read as it is), wrong (another content, or something
destroyed, without a word), a traceback, a hang, or a crash of the process. Cases run in a child
process, so that a crash or a hang in a library is counted and the campaign goes on.
"""

import collections
import contextlib
import dataclasses
import os
import random
import select
import signal
import sys
import tempfile
from pathlib import Path

from bigearth import cli
from bigearth.errors import InputError

from . import doors, mutations

OUTCOMES = ("clean", "right", "wrong", "traceback", "hang", "crash")
OTHERS = ("command line", "environment", "output")
PATIENCE = 20  # seconds without an answer: a hang
MOST_LETTERS = 393  # with "error: " 400


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of the program."""

    cases: int = cli.option(300, "number of cases", least=1, most=1_000_000)
    seed: int = cli.option(0, "of the choice of cases", least=0)


def spoil(door: doors.Door, good: bytes, rng) -> str:
    """Puts something else in place of a door's file; returns what."""
    if rng.random() < 0.03:
        return mutations.replace_kind(door.path, rng)
    if door.most >= 0:
        kind, content = mutations.mutate(good, rng, door.most)
    else:  # only what lies behind the header
        kind, content = mutations.mutate(good[-door.most :], rng)
        content = good[: -door.most] + content
    door.path.write_bytes(content)
    return kind


def restore(door: doors.Door, good: bytes) -> None:
    """Puts the good file back."""
    if door.path.is_dir() and not door.path.is_symlink():
        door.path.rmdir()
    with contextlib.suppress(FileNotFoundError):
        door.path.unlink()
    door.path.write_bytes(good)


def judge(read) -> tuple:
    """(outcome, detail) of reading: "read" if there was no error."""
    try:
        return "read", read()
    except InputError as error:
        text = str(error)
        if len(text) > MOST_LETTERS or not text.isprintable():
            return "traceback", f"not one clean sentence: {text[:80]!r}"
        return "clean", text
    except SystemExit as error:  # --help and --version
        return ("right" if error.code in (0, None) else "traceback"), "exit"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return "traceback", f"{type(error).__name__}: {error}"[:200]


class Child:
    """Does the cases from some number on, and writes one line per case to a pipe."""

    def __init__(self, folder: Path, config: Config):
        self._folder, self._config = folder, config
        self._doors = doors.doors(folder)
        self._good = {name: door.path.read_bytes() for name, door in self._doors.items()}
        self._truth = {name: door.read() for name, door in self._doors.items()}
        assert all(self._truth.values()), "a good input is not read"

    def case(self, number: int) -> tuple:
        """(door, what was done, outcome, detail)."""
        rng = random.Random(f"{self._config.seed} {number}")
        name = rng.choice((*self._doors, *OTHERS))
        if name not in self._doors:
            return (name, "words", *self._other(name, rng))
        door = self._doors[name]
        try:
            kind = spoil(door, self._good[name], rng)
            outcome, detail = judge(door.read)
        finally:
            restore(door, self._good[name])
        if outcome == "read":
            same = detail == self._truth[name] if door.exact else bool(detail)
            outcome, detail = ("right" if same else "wrong"), ""
        return name, kind, outcome, detail

    def _other(self, name: str, rng) -> tuple:
        if name == "output":
            outcome, detail = judge(lambda: doors.output(self._folder / "output", rng))
            return (detail if outcome == "read" else outcome), detail
        run = doors.command_line if name == "command line" else doors.environment
        outcome, detail = judge(lambda: run(rng))
        return ("right" if outcome == "read" else outcome), detail


def door_of(config: Config, number: int, names: tuple) -> str:
    """The door of a case that ended its process."""
    return random.Random(f"{config.seed} {number}").choice(names)


def work(child: Child, first: int, cases: int, pipe: int) -> None:
    """The child's life."""
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    for number in range(first, cases):
        line = "\t".join(str(part) for part in child.case(number))
        os.write(pipe, (f"{number}\t{' '.join(line.split(chr(10)))}\n").encode(errors="replace"))
    os._exit(0)


def campaign(folder: Path, config: Config) -> list:
    """(door, what was done, outcome, detail) of every case."""
    found = []
    while len(found) < config.cases:
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            work(Child(folder, config), len(found), config.cases, writer)
        os.close(writer)
        ended = _listen(reader, found)
        os.close(reader)
        if ended == "hang":
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        if len(found) < config.cases:
            names = (*doors.doors(folder), *OTHERS)
            _put_back(folder, config)
            found.append((door_of(config, len(found), names), "?", ended, ""))
    return found


def _listen(reader: int, found: list) -> str:
    """Takes lines until the child has ended ("crash" if that was too early) or is silent."""
    rest = b""
    while select.select([reader], [], [], PATIENCE)[0]:
        chunk = os.read(reader, 1 << 16)
        if not chunk:
            return "crash"
        *lines, rest = (rest + chunk).split(b"\n")
        found += [tuple(line.decode().split("\t")[1:5]) for line in lines]
    return "hang"


def _put_back(folder: Path, config: Config) -> None:
    """The good files again after a child that could not do it."""
    for path in (folder / "good").rglob("*"):
        if path.is_file():
            target = folder / path.relative_to(folder / "good")
            if target.is_symlink() or not target.is_file():
                with contextlib.suppress(OSError):
                    target.rmdir() if target.is_dir() else target.unlink()
            target.write_bytes(path.read_bytes())


def table(found: list) -> str:
    """Outcomes of each door, as Markdown."""
    counts = collections.Counter((name, outcome) for name, _, outcome, *_ in found)
    lines = [f"| door | cases | {' | '.join(OUTCOMES)} |", "|---|" + "---|" * (len(OUTCOMES) + 1)]
    names = sorted({name for name, _ in counts})
    for name in names:
        row = [counts[name, outcome] for outcome in OUTCOMES]
        lines.append(f"| {name} | {sum(row)} | {' | '.join(map(str, row))} |")
    total = [sum(counts[name, outcome] for name in names) for outcome in OUTCOMES]
    lines.append(f"| all | {len(found)} | {' | '.join(map(str, total))} |")
    return "\n".join(lines)


def run(config: Config) -> int:
    """Prints the table and every case that went wrong; 1 if any did."""
    with tempfile.TemporaryDirectory(prefix="attack-") as name:
        folder = Path(name) / "inputs"
        folder.mkdir()
        doors.make_inputs(folder)
        library = {door for door, about in doors.doors(folder).items() if about.library}
        _keep(folder)
        found = campaign(folder, config)
    print(table(found))
    bad = [
        case
        for case in found
        if case[2] in ("wrong", "traceback")
        or (case[2] in ("hang", "crash") and case[0] not in library)
    ]
    for door, kind, outcome, *detail in bad:
        print(f"{outcome}: {door}, {kind}: {' '.join(detail)}", file=sys.stderr)
    return 1 if bad else 0


def _keep(folder: Path) -> None:
    for door in doors.doors(folder).values():
        target = folder / "good" / door.path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(door.path.read_bytes())


if __name__ == "__main__":
    cli.main(
        Config,
        run,
        cli.Program(
            module="tests.attack",
            description="Spoils inputs at random and counts what the programs do with them.",
            example="--cases 2000 --seed 1",
        ),
    )
