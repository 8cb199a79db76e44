"""Notices a training step that does not end, because a rank was stopped, hangs or is cut off, and
ends the job with the names of the ranks that are missing.

Horovod cannot: its coordinator itself waits for a process that is stopped. So a thread of every
rank watches its own steps. One that sees no end leaves a note in the output folder; some seconds
later the lowest rank that left one says which ranks did not. Nothing is written while steps end.
"""

import contextlib
import os
import sys
import threading
import time
from pathlib import Path
from typing import Callable

from bigearth.errors import InputError

LEAST_SECONDS = 60.0  # no step is given up before
FACTOR = 10  # nor before this many times the longest step so far
ANSWER_SECONDS = 15.0  # for the notes of all ranks, whose steps did not begin at the same moment
STEP, DATA = "step", "data"  # what a rank does


def leave(sentence: str) -> None:
    """Ends this process at once, whatever its other threads wait for."""
    if sentence:
        print(f"error: {InputError(sentence)}", file=sys.stderr, flush=True)
    os._exit(2)


class Watchdog:
    """Watches the steps of one rank, from the end of the first step on: that one holds tracing.

    A rank that waits for its data is alive: the others go on waiting for it.

    Attributes:
        doing: what this rank does now, `STEP` or `DATA`.
    """

    def __init__(
        self,
        folder,
        rank: int,
        hosts: list,
        least: float = LEAST_SECONDS,
        answer: float = ANSWER_SECONDS,
        end: Callable = leave,
    ):
        """Sets the watch up.

        Args:
            folder: for the notes; all ranks see it.
            rank: this one.
            hosts: name of every rank's host.
            least, answer: seconds, see `LEAST_SECONDS` and `ANSWER_SECONDS`.
            end: is called with the sentence, which is empty on all ranks but one.
        """
        self.doing = STEP
        self._folder, self._rank, self._hosts = Path(folder), rank, hosts
        self._least, self._answer, self._end = least, answer, end
        self._last, self._longest = time.monotonic(), None
        self._over = threading.Event()

    def clear(self) -> None:
        """Removes the notes of an earlier job; rank 0 calls it before any rank watches."""
        with contextlib.suppress(OSError):
            for rank in range(len(self._hosts)):
                (self._folder / str(rank)).unlink(missing_ok=True)
            self._folder.rmdir()

    @contextlib.contextmanager
    def watching(self):
        """Watches while the block runs; a single rank waits for nobody."""
        if len(self._hosts) == 1:
            yield
            return
        self._last = time.monotonic()
        self._over.clear()
        thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def step_done(self) -> None:
        """A step has ended."""
        now = time.monotonic()
        # the first one only starts the watch
        self._longest = 0.0 if self._longest is None else max(self._longest, now - self._last)
        self._last = now

    def _watch(self) -> None:
        pause = self._least / 60
        before = time.monotonic()
        while not self._over.wait(pause):
            now = time.monotonic()
            if (
                now - before > self._least / 2
            ):  # this process was stopped itself, maybe with all others
                self._last = now
            before = now
            if self._longest is None:
                continue
            if now - self._last > max(self._least, FACTOR * self._longest):
                if self._call():
                    return
                before = time.monotonic()

    def _call(self) -> bool:
        """Leaves a note and, when the others had time for theirs, ends the job if it must.

        Returns:
            whether the job ends; the note then stays, as other ranks may still look for it.
        """
        began, note = self._last, self._folder / str(self._rank)
        with contextlib.suppress(OSError):
            self._folder.mkdir(exist_ok=True)
            note.write_text(self.doing)
        self._over.wait(self._answer)
        if self._last == began and not self._over.is_set():
            found = {rank: self._note(rank) for rank in range(len(self._hosts))}
            found[self._rank] = self.doing
            if DATA not in found.values():
                there = [rank for rank, doing in found.items() if doing]
                if there[0] == self._rank:
                    self._end(self._sentence([r for r, doing in found.items() if not doing]))
                else:
                    self._over.wait(self._answer)  # the one that speaks ends first
                    self._end("")
                return True
        with contextlib.suppress(OSError):
            note.unlink()
        return False

    def _note(self, rank: int) -> str:
        try:
            return (self._folder / str(rank)).read_text()
        except OSError:
            return ""

    def _sentence(self, missing: list) -> str:
        seconds = time.monotonic() - self._last
        who = ", ".join(f"rank {rank} on {self._hosts[rank]}" for rank in missing[:8])
        if len(missing) > 8:
            who += f" and {len(missing) - 8} more"
        what = f"no sign of {who}" if missing else "all ranks wait for each other"
        return (
            f"a training step has not ended for {seconds:.0f} s: {what}; expected its end within "
            f"{max(self._least, FACTOR * self._longest):.0f} s; check those nodes and the network, "
            "then resume from the last checkpoint"
        )
