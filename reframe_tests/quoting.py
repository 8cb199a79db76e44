"""Words of the user's in job scripts: the one place that quotes them."""

import shlex

from bigearth.errors import InputError

word = shlex.quote


def words(parts) -> list:
    """Every word quoted as the shell needs it."""
    return [shlex.quote(str(part)) for part in parts]


def inside(text) -> str:
    """Text between double quotes, where ReFrame writes them itself."""
    escaped = str(text)
    for letter in '\\"$`':
        escaped = escaped.replace(letter, f"\\{letter}")
    return escaped


def mount_point(folder) -> tuple:
    """A folder that is the same inside a container, as ReFrame wants it.

    Raises:
        InputError: its name has a letter that separates mount points.
    """
    if any(letter in str(folder) for letter in ":,\n"):
        raise InputError(
            f"{folder}: cannot be shown to a container, its name has a colon, a comma or a new "
            "line; move the file to another folder"
        )
    return (inside(folder), inside(folder))
