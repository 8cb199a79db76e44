"""A progress bar with a rate and an ETA on standard error: a bar on a terminal, a plain line now
and then elsewhere."""

import sys
import time

from tqdm import tqdm


class Progress:
    """Counts work done; use as a context manager.

    Args:
        total: how much work there is, in `unit`s.
        label: what is being done.
        unit: e.g. "img" or "patches".
        show: False on every rank but 0.
        every: seconds between plain lines when standard error is not a terminal.
        later: work of the same kind that follows; it counts for the time that is left.
    """

    def __init__(
        self,
        total: int,
        label: str,
        unit: str,
        show: bool = True,
        every: float = 10.0,
        later: int = 0,
    ):
        self._tty = sys.stderr.isatty()
        self._show = show
        self._every = every
        self._later = later
        self._last = time.monotonic()
        self._bar = tqdm(
            total=total,
            desc=label,
            unit=unit,
            disable=not (show and self._tty),
            file=sys.stderr,
            smoothing=0.1,
        )
        self._label, self._unit, self._total, self._done, self._start = (
            label,
            unit,
            total,
            0,
            self._last,
        )

    def update(self, count: int, note: str = "") -> None:
        """Adds finished work; `note` (e.g. the loss) stands at the end of the line."""
        self._done += count
        if note and self._tty:
            self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(count)
        now = time.monotonic()
        if self._show and not self._tty and (now - self._last >= self._every):
            self._last = now
            self._line(now, note)

    def _line(self, now: float, note: str) -> None:
        rate = self._done / max(now - self._start, 1e-9)
        work = self._total - self._done + self._later
        left = tqdm.format_interval(work / rate) if rate > 0 else "?"
        print(
            f"{self._label}: {self._done}/{self._total} {self._unit}, {rate:.1f} {self._unit}/s, "
            f"{left} left{', ' if note else ''}{note}",
            file=sys.stderr,
            flush=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._bar.close()
