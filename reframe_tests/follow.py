"""Shows how far the running job is, from what its program writes to its messages: one line that is
rewritten on a terminal, a plain line now and then elsewhere."""

import re
import sys
import threading
import time
from pathlib import Path

EVERY = 2.0  # seconds between two looks at the messages, on a terminal
PLAIN = 30.0  # and where plain lines are printed
TAIL = 4096  # bytes at the end of the messages that are looked at
# a line of bigearth.progress, which loads more than this may
LINE = re.compile(r"[ -~]{1,80}: \d+/\d+ [a-z ]+, [\d.]+ [a-z ]+/s, [\d:?]+ left[ -~]*")
MESSAGES = "stage/*/*/*/*/rfm_job.err"  # of every job; below system, partition and environment


class Follower(threading.Thread):
    """Follows the job whose messages are newest; use as a context manager.

    Args:
        results: folder of ReFrame's stage.
        out: where the lines go.
    """

    def __init__(self, results: Path, out=sys.stdout):
        super().__init__(daemon=True)
        self._results, self._out = results, out
        self._terminal = out.isatty()
        self._began, self._shown = time.time(), ""
        self._ended, self._lock = threading.Event(), threading.Lock()

    def print(self, line: str) -> None:
        """Prints a line of ReFrame's in place of the progress."""
        with self._lock:
            self._clear()
            print(line, end="", file=self._out, flush=True)

    def run(self) -> None:
        """The thread's work: looks until it is ended."""
        while not self._ended.wait(EVERY if self._terminal else PLAIN):
            line = newest(self._results, self._began)
            if line == self._shown or not line:
                continue
            if self._terminal:
                with self._lock:
                    self._clear()
                    print(f"\r  {line}", end="", file=self._out, flush=True)
            else:
                self.print(f"  {line}\n")
            self._shown = line

    def _clear(self) -> None:
        if self._terminal and self._shown:
            print("\r\033[K", end="", file=self._out)
            self._shown = ""

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self.join()
        self._clear()


def newest(results: Path, since: float) -> str:
    """The last line of progress in the newest messages, with the check's name; "" if there is
    none.

    Args:
        since: seconds of the epoch; older messages are of other sessions.
    """
    try:
        found = max((path.stat().st_mtime, path) for path in results.glob(MESSAGES))
        if found[0] < since:
            return ""
        with open(found[1], "rb") as file:
            file.seek(max(0, found[1].stat().st_size - TAIL))
            lines = file.read().decode(errors="replace").splitlines()
    except (OSError, ValueError):  # no job yet, or a folder that goes as it is looked at
        return ""
    last = next((line for line in reversed(lines) if LINE.fullmatch(line)), "")
    name = re.sub(r"_[0-9a-f]{8}$", "", found[1].parent.name)
    return f"{name}: {last}"[:100] if last else ""
