"""What a door is."""

from pathlib import Path
from typing import Callable, NamedTuple


class Door(NamedTuple):
    """One kind of input.

    Attributes:
        path: the file that is spoiled.
        read: reads it, and returns something that compares.
        exact: what is read must be what was written: the format has checksums. Else it must only be
            in order (`read` checks that), since nothing can tell another number from the right one.
        most: only bytes before this place are spoiled.
        library: a crash or a hang in it is the library's, and documented as not promised.
    """

    path: Path
    read: Callable
    exact: bool = False
    most: int = 1 << 62
    library: bool = False
