"""Files that have their name only when they are complete."""

import contextlib
import io
import os
from pathlib import Path

import numpy as np

from bigearth.errors import disk_error


@contextlib.contextmanager
def new_file(path, action: str):
    """A temporary name to write to, which becomes `path` when the block ends without an error and
    is removed otherwise.

    Args:
        path: the final name; missing folders on the way to it are made, and a file that has it is
            replaced.
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


def save_arrays(path, action: str, arrays: dict, compress: bool = False) -> None:
    """Writes an .npz file that is on the disk as a whole when it has its name; arguments and errors
    as in `new_file`.

    Args:
        arrays: name -> array.
        compress: with deflate.
    """
    # not straight to the disk: a ZipFile that found it full complains again when it is collected
    memory = io.BytesIO()
    (np.savez_compressed if compress else np.savez)(memory, **arrays)
    with new_file(path, action) as partial, open(partial, "wb") as file:
        file.write(memory.getbuffer())
        file.flush()
        os.fsync(file.fileno())
