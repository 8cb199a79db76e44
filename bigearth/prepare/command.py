"""What the small command-line tools of this package share: one-sentence errors and folders that
appear only when complete."""

import argparse
import contextlib
import shutil
import sys
from pathlib import Path
from typing import Callable

from bigearth.errors import InputError, disk_error


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are InputErrors."""

    def error(self, message):
        raise InputError(f"command line: {message}; `{self.prog} --help` lists the options")


def main(run: Callable) -> None:
    """Calls `run()` and ends the process: exit code 0, or 2 after one sentence about a user's
    mistake."""
    try:
        run()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


@contextlib.contextmanager
def new_folder(out):
    """A folder to fill, which gets its final name when the block ends without an error and is
    removed otherwise.

    Args:
        out: the final name; must not exist yet, or be an empty folder.

    Yields:
        Path of the folder under its temporary name.

    Raises:
        InputError: `out` is taken, its parent is not writable, or the disk is full.
    """
    out = Path(out)
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(
            f"{out}: already there; expected a new folder; choose another name or remove it first"
        )
    partial = out.with_name(out.name + ".partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)  # what a killed run left
        partial.mkdir(parents=True)
        yield partial
        if out.exists():
            out.rmdir()
        partial.rename(out)
    except OSError as error:
        raise disk_error(out, "write it", error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
