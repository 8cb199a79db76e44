"""Ways to spoil a file."""

import os
import re

# what takes the place of a number or a text
TOKENS = (
    b"nan",
    b"1e400",
    b"-1",
    b"0",
    b"99999999999999999999",
    b"349200.5",
    b"1_000",
    "\u0663\u0664".encode(),
    b"\x00",
    b"\x1b[31mred\x1b[0m",
    b"x" * 5000,
    b"\n\n",
    b'"',
    b"[[1]]",
    b"null",
    b"\xff\xfe",
    "\u202e".encode(),
    b"../../x",
    b"=1+1",
)
NESTED = (b"[" * 100_000, b'{"a":' * 100_000)


def mutate(data: bytes, rng, most: int = 1 << 62) -> tuple:
    """(name of what was done, spoiled bytes).

    Args:
        data: the whole file.
        rng: `random.Random`.
        most: only bytes before this place are touched.
    """
    size = max(1, min(len(data), most))
    place, length = rng.randrange(size), rng.choice((1, 2, 8, 64, 1024))
    end = min(place + length, size)
    made = bytearray(data)
    kind = rng.choice(("bit", "bit", "byte", "noise", "cut", "double", "insert", "short", "token"))
    if not data:
        kind = "insert"
    if kind == "bit":
        made[place] ^= 1 << rng.randrange(8)
    elif kind == "byte":
        made[place] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    elif kind == "noise":
        made[place:end] = rng.randbytes(end - place)
    elif kind == "cut":
        del made[place:end]
    elif kind == "double":
        made[place:place] = made[place:end]
    elif kind == "insert":
        made[place:place] = rng.choice((*TOKENS, *NESTED, rng.randbytes(length)))
    elif kind == "short":
        del made[rng.choice((0, 1, place, len(data) - 1)) :]
    else:
        words = [m.span() for m in re.finditer(rb"-?[0-9.]+|\"[^\"]*\"|[A-Za-z_]+", data[:size])]
        first, last = rng.choice(words) if words else (place, end)
        made[first:last] = rng.choice(TOKENS)
    return kind, bytes(made)


def replace_kind(path, rng) -> str:
    """Puts something that is no regular file in a file's place; returns what."""
    kind = rng.choice(("missing", "folder", "pipe", "loop", "device"))
    os.unlink(path)
    if kind == "folder":
        os.mkdir(path)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "loop":
        os.symlink(path, path)
    elif kind == "device":
        os.symlink("/dev/zero", path)  # read only, and for ever
    return kind
