"""One door for what is read, one writer: files have their name only when they are complete."""

import contextlib
import io
import os
import shutil
import stat
from pathlib import Path

from bigearth.errors import InputError, disk_error


def read_bytes(path, what: str, most: int) -> bytes:
    """The content of a small file.

    Args:
        what: names the kind of file in the message, e.g. "result record".
        most: bytes that such a file can have.

    Raises:
        InputError: it is missing, unreadable, not a regular file (a folder, a pipe, a device) or
            larger than `most`.
    """
    try:
        # a pipe without a writer would wait for ever without O_NONBLOCK
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            about = os.fstat(descriptor)
            if not stat.S_ISREG(about.st_mode):
                raise InputError(f"{path}: not a regular file; expected a {what}; give its path")
            data = file.read(most + 1)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"{path}: cannot read the {what}: {reason}; check the path and that it may be read"
        ) from error
    if len(data) > most:
        raise InputError(f"{path}: larger than {most:,} bytes; expected a {what}; check the path")
    return data


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


def save_arrays(path, action: str, arrays: dict, compress: bool = False) -> None:
    """Writes an .npz file that is on the disk as a whole when it has its name; arguments and errors
    as in `new_file`.

    Args:
        arrays: name -> array.
        compress: with deflate.
    """
    import numpy as np  # only here: records are read where there is no NumPy

    # not straight to the disk: a ZipFile that found it full complains again when it is collected
    memory = io.BytesIO()
    (np.savez_compressed if compress else np.savez)(memory, **arrays)
    with new_file(path, action) as partial, open(partial, "wb") as file:
        file.write(memory.getbuffer())
        file.flush()
        os.fsync(file.fileno())
