"""The one exception for a user's mistake or a broken input: shown as one sentence, never as a
traceback."""

from contextlib import contextmanager
from typing import Callable

MOST_LETTERS = 380  # of a sentence, with "error: " before it below 400
FIRST = 80  # letters that stay before the cut in one that is too long: mostly a path


def _printable(text) -> str:
    words = " ".join(str(text).split())
    return "".join(c if c.isprintable() else "\ufffd" for c in words)


def one_line(text, most: int = 200) -> str:
    """Foreign text for a sentence: one line, no control characters, at most `most` letters."""
    shown = _printable(text)
    return shown if len(shown) <= most else shown[: most - 1] + "…"


class InputError(Exception):
    """What was wrong, where, what was expected and what to do, in one sentence.

    Programs catch it at the top, print `error: <sentence>` once (rank 0) and end with exit code 2.
    Whatever foreign text the sentence was made with, it is one line without control characters; of
    a sentence that is too long a part near its start goes, which mostly is the middle of a path.
    """

    def __init__(self, sentence):
        shown = _printable(sentence)
        if len(shown) > MOST_LETTERS:
            shown = f"{shown[:FIRST]}…{shown[1 + FIRST - MOST_LETTERS :]}"
        super().__init__(shown)


def disk_error(path, action: str, error: OSError) -> InputError:
    """The sentence for an operating-system error (full disk, read-only folder, missing file) while
    doing `action` on `path`."""
    reason = error.strerror or str(error)
    return InputError(
        f"{path}: cannot {action}: {reason}; check that the folder exists, is "
        "writable and has free space"
    )


@contextmanager
def together(allgather: Callable):
    """Makes a failure on one rank the failure of all, so that no rank is left waiting in a
    collective call.

    Every rank runs the block; if it raises InputError on any rank, every rank raises that of the
    lowest such rank.

    Args:
        allgather: a collective that takes one object and returns the list of all ranks' objects,
            e.g. `comm.allgather`.
    """
    message = None
    try:
        yield
    except InputError as error:
        message = str(error)
    first = next((m for m in allgather(message) if m is not None), None)
    if first is not None:
        raise InputError(first)
