"""Files that have their name only when they are complete."""

import contextlib
from pathlib import Path

from bigearth.errors import disk_error


@contextlib.contextmanager
def new_file(path, action: str):
    """A temporary name to write to, which becomes `path` when the block ends without an error and is removed otherwise.

    Args:
        path: the final name; missing folders on the way to it are made, and a file that has it is replaced.
        action: what cannot be done if the disk fails, e.g. "write the result record".

    Yields:
        Path of the file under its temporary name.

    Raises:
        InputError: the folder is not writable or the disk is full.
    """
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    except OSError as error:
        raise disk_error(path, action, error) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()
