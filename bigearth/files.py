"""One door for what is read, one writer: files have their name only when they are complete."""

import contextlib
import csv
import errno
import fcntl
import glob
import io
import json
import os
import re
import secrets
import shutil
import socket
import stat
import zipfile
import zlib
from pathlib import Path
from typing import Iterable

from bigearth.errors import InputError, disk_error, one_line

# what a damaged .npz file makes its libraries raise
DAMAGED = (
    OSError,
    EOFError,
    KeyError,
    ValueError,
    TypeError,
    AttributeError,
    SyntaxError,
    MemoryError,
    NotImplementedError,
    RecursionError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


def open_regular(path, what: str):
    """A regular file, open for reading as bytes.

    Args:
        what: names the kind of file in the message, e.g. "result record".

    Raises:
        InputError: it is missing, unreadable or not a regular file (a folder, a pipe, a device).
    """
    try:
        # a pipe without a writer would wait for ever without O_NONBLOCK
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"{path}: cannot read the {what}: {reason}; check the path and that it may be read"
        ) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InputError(f"{path}: not a regular file; expected a {what}; give its path")
    return open(descriptor, "rb")


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
        with open_regular(path, what) as file:
            data = file.read(most + 1)
    except OSError as error:
        raise InputError(
            f"{path}: cannot read the {what}: {error.strerror}; check that it may be read"
        ) from error
    if len(data) > most:
        raise InputError(f"{path}: larger than {most:,} bytes; expected a {what}; check the path")
    return data


def read_text(path, what: str, most: int, remedy: str = "save it again") -> str:
    """The content of a small text file in UTF-8, with or without a byte order mark.

    Args:
        what, most: as of `read_bytes`.
        remedy: what the user can do if it is another kind of file.

    Raises:
        InputError: as of `read_bytes`, or it is not UTF-8.
    """
    try:
        return read_bytes(path, what, most).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: not text in UTF-8 ({error.reason} at byte {error.start}); expected a {what}; "
            f"{remedy}"
        ) from error


def read_json(path, what: str, most: int, remedy: str = "save it again"):
    """The content of a small JSON file; arguments and errors as of `read_text`."""
    try:
        return json.loads(read_text(path, what, most, remedy=remedy), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        why = "nested too deeply" if isinstance(error, RecursionError) else one_line(error, 80)
        raise InputError(f"{path}: malformed JSON ({why}); expected a {what}; {remedy}") from error


def _no_constant(word: str):
    raise ValueError(f"{word} is no number of JSON")


def read_csv(path, what: str, most: int, remedy: str = "save it again") -> list:
    """(line number, cells) of every line of a CSV file that is not blank, cells without blanks
    around them; arguments and errors as of `read_text`."""
    reader = csv.reader(io.StringIO(read_text(path, what, most, remedy=remedy), newline=""))
    rows = []
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                rows.append((reader.line_num, cells))
    except csv.Error as error:
        raise InputError(
            f"{path}, line {reader.line_num}: not CSV ({error}); expected a {what}; {remedy}"
        ) from error
    return rows


def read_arrays(path, what: str, most: int, remedy: str = "save it again") -> dict:
    """Name -> array of an .npz file, every member read to its end: only there is its CRC compared.

    Args:
        what, remedy: as of `read_text`.
        most: bytes that all arrays together can have: a small file may unpack to a large one.

    Raises:
        InputError: as of `read_bytes`, or the file is damaged or larger.
    """
    import numpy as np  # only here: records are read where there is no NumPy

    arrays = {}
    with open_regular(path, what) as file:
        try:
            with zipfile.ZipFile(file) as members:
                size = sum(member.file_size for member in members.infolist())
                if size > most:
                    raise ValueError(f"it holds {size:,} bytes, more than {most:,}")
                for member in members.infolist():
                    name, data = member.filename.removesuffix(".npy"), members.read(member)
                    stream = io.BytesIO(data)
                    if name in arrays:
                        raise ValueError(f"{name} is there twice")
                    arrays[name] = np.lib.format.read_array(stream, allow_pickle=False)
                    if stream.read(1):
                        raise ValueError(f"{name} is longer than its header says")
        except DAMAGED as error:
            raise InputError(
                f"{path}: not a readable {what} ({type(error).__name__}: {one_line(error, 80)}); "
                f"{remedy}"
            ) from error
    return arrays


def regular(path, what: str, remedy: str) -> None:
    """Refuses a path that a library would open, and wait for ever at, if it is not a regular file.

    Raises:
        InputError: it is missing, a folder, a pipe or a device.
    """
    try:
        about = os.stat(path)
    except FileNotFoundError as error:
        raise InputError(f"{path}: missing; expected a {what}; {remedy}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path}: cannot read the {what}: {reason}; {remedy}") from error
    if not stat.S_ISREG(about.st_mode):
        raise InputError(f"{path}: not a regular file; expected a {what}; {remedy}")


def check_output(path, inputs: Iterable = (), action: str = "write it") -> Path:
    """Refuses a name that must not be written to; programs that work for long ask at their start.

    Args:
        path: the name of a file or folder to write; it need not exist.
        inputs: files and folders that the program reads.
        action: what cannot be done, for the sentence.

    Returns:
        the path with links followed: a link stays, what it points at is written.

    Raises:
        InputError: it is a device, pipe or socket, or is (or lies inside) one of the inputs.
    """
    try:
        target = Path(os.path.realpath(path))
        about = os.stat(target)
    except FileNotFoundError:
        return target
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        raise _unwritable(path, action, error) from error
    if not (stat.S_ISREG(about.st_mode) or stat.S_ISDIR(about.st_mode)):
        raise InputError(
            f"{path}: is a device, pipe or socket; expected the name of a file; give another name"
        )
    places = [target, *target.parents]
    for given in inputs:
        if any(_same(place, given) for place in places):
            raise InputError(
                f"{path}: is one of the inputs or lies among them ({given}); expected a name of "
                "its own; give another name"
            )
    return target


def _same(one, other) -> bool:
    try:
        return os.path.samefile(one, other)
    except (OSError, ValueError):
        return False


def _unwritable(path, action: str, error: Exception) -> InputError:
    if isinstance(error, OSError):
        return disk_error(path, action, error)
    return InputError(f"{path}: cannot {action}: {error}; give another name")


def _partial(target: Path) -> Path:
    """A name beside `target` that nobody can guess, and which says whose it is."""
    host = re.sub("[^A-Za-z0-9-]", "-", socket.gethostname())[:40]
    token = secrets.token_hex(8)
    return target.with_name(f".{target.name[:30]}.{host}.{os.getpid()}.{token}.partial")


def _clear_stale(target: Path) -> None:
    """Removes what killed processes of this host left half-written under names for `target`."""
    mine = _partial(target).name.split(".")
    for other in target.parent.glob(f".{glob.escape(target.name[:30])}.*.*.*.partial"):
        host, pid = other.name.split(".")[-4:-2]
        if host != mine[-4] or not pid.isdecimal() or Path("/proc", pid).exists():
            continue
        if other.is_dir() and not other.is_symlink():
            shutil.rmtree(other, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                other.unlink()


@contextlib.contextmanager
def new_file(path, action: str, inputs: Iterable = ()):
    """A temporary name to write to, which becomes `path` when the block ends without an error and
    is removed otherwise.

    The temporary file lies in the folder of the final one, is made exclusively and has a random
    name; when it gets its final name it is on the disk. A link stays: what it points at is written.

    Args:
        path: the final name; missing folders on the way to it are made, and a file that has it is
            replaced.
        action: what cannot be done if the disk fails, e.g. "write the result record".
        inputs: files and folders that the program reads: none of these is ever replaced.

    Yields:
        Path of the file under its temporary name.

    Raises:
        InputError: the folder is not writable, the disk is full, or `path` is a folder, a device, a
            pipe or one of the inputs.
    """
    target = check_output(path, inputs, action)
    if target.is_dir():
        raise InputError(f"{path}: is a folder; expected the name of a file; give another name")
    partial = _partial(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _clear_stale(target)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        os.close(os.open(partial, flags, 0o666))
        yield partial
        _to_disk(partial)
        partial.replace(target)
    except OSError as error:
        raise disk_error(path, action, error) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path, action: str, text: str, inputs: Iterable = ()) -> None:
    """Writes a text file in UTF-8; arguments and errors as of `new_file`."""
    with new_file(path, action, inputs) as partial:
        partial.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def new_folder(path, inputs: Iterable = (), mark: str = ""):
    """A folder to fill, which gets its final name when the block ends without an error and is
    removed otherwise; its temporary name is made as in `new_file`.

    Args:
        path: the final name; must not exist yet, or be an empty folder.
        inputs: files and folders that the program reads.
        mark: a folder that holds a file of this name is an older one of the same kind: it is
            replaced.

    Yields:
        Path of the folder under its temporary name.

    Raises:
        InputError: `path` is taken, its parent is not writable, or the disk is full.
    """
    target = check_output(path, inputs)
    partial, older = _partial(target), None
    try:
        if mark and (target / mark).is_file():
            older = _partial(target)
        elif target.exists() and not (target.is_dir() and not any(target.iterdir())):
            raise InputError(
                f"{path}: already there; expected a new folder; choose another name or remove it "
                "first"
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        _clear_stale(target)
        partial.mkdir()
        yield partial
        if older:
            target.rename(older)
        partial.rename(target)
    except OSError as error:
        raise disk_error(path, "write it", error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if older and not target.exists():
            older.rename(target)
        elif older:
            shutil.rmtree(older, ignore_errors=True)


@contextlib.contextmanager
def lock(path, purpose: str):
    """Keeps others out while `path` is written: one holder at a time, on all nodes that share the
    file system. A holder that was killed holds nothing: the system lets go of its lock.

    Args:
        path: what is written; the lock is the file `<path>.lock` beside it, which goes at the end.
        purpose: who holds it, for the other's message, e.g. "preparation".

    Raises:
        InputError: another process holds it; names its host and process.
    """
    try:
        place = Path(f"{os.path.realpath(path)}.lock")
        place.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _locked(place)
    except BlockingIOError as error:
        raise InputError(
            f"{path}: another {purpose} writes it ({_holder(place)}); wait for its end, or give "
            "another name"
        ) from error
    except (OSError, ValueError) as error:
        raise _unwritable(path, "lock it", error) from error
    try:
        about = f"process {os.getpid()} on {socket.gethostname()}\n"
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, about.encode(), 0)
        yield
    finally:
        with contextlib.suppress(OSError):
            place.unlink()  # first this, then the lock goes: nobody can hold a file without a name
        os.close(descriptor)


def _locked(place: Path) -> int:
    """The descriptor of the lock file, locked; on a file system without locks only opened.

    Raises:
        BlockingIOError: another process holds the lock.
    """
    while True:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(place, flags, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise
        except OSError as error:
            if error.errno not in NO_LOCKS:
                os.close(descriptor)
                raise
        try:
            if os.path.samestat(os.fstat(descriptor), os.stat(place)):
                return descriptor
        except FileNotFoundError:
            pass
        os.close(descriptor)  # its holder has just removed it


def _holder(place: Path) -> str:
    try:
        text = read_bytes(place, what="lock", most=1000).decode(errors="replace").strip()
    except InputError:
        text = ""
    return text or "just started"


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
    with new_file(path, action) as partial:
        partial.write_bytes(memory.getbuffer())


def make_folder(path) -> Path:
    """Makes the folder that results go to, with the folders on the way to it.

    Raises:
        InputError: it cannot be made or written to.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(folder, "make the output folder", error) from error
    if not os.access(folder, os.W_OK):
        raise InputError(
            f"{folder}: the output folder is not writable; choose another with --out, or change "
            "its permissions"
        )
    return folder
