"""What the report's page is made of: cells, tables, and the marks of verdicts."""

import math
import re
from typing import NamedTuple, Optional

from plots import tables
from reframe_tests.results import verdict
from reframe_tests.results.values import quantity

MARKS = {
    verdict.PASSED: "good",
    verdict.FAILED: "bad",
    verdict.NOT_MEASURED: "bad",
    verdict.NOT_JUDGED: "open",
}
HASH = re.compile(r"(sha256:|sha512:)?([0-9a-f]{40,})(?![0-9a-f])")
HASH_LETTERS = 8  # of a hash that are shown; the pointer shows the whole one


class Cell(NamedTuple):
    """One cell of a table.

    Attributes:
        text: what is shown.
        number: its value, if it is a number.
        mark: "good", "bad", "open" or "".
        whole: the whole text, if only a part is shown.
        href: where it leads, "" if nowhere.
    """

    text: str
    number: Optional[float] = None
    mark: str = ""
    whole: str = ""
    href: str = ""


class Table(NamedTuple):
    title: str
    columns: tuple
    rows: list
    notes: list | tuple = ()


def cell(value, unit: str = "") -> Cell:
    """A table's cell from a value: numbers to four digits with their unit, what is missing as a
    dash, of a hash the beginning."""
    if value is None or value == "" or value != value:
        return Cell("–")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        text = f"{value:,}" if isinstance(value, int) else quantity(value, unit)
        return Cell(text, float(value) if math.isfinite(value) else None)
    text = HASH.sub(lambda found: found.group(2)[:HASH_LETTERS], str(value))
    return Cell(text, whole="" if text == str(value) else str(value))


def state(word: str) -> Cell:
    """The cell of a verdict's state."""
    return Cell(word, None, MARKS[word])


def scores(table: tables.Table) -> Table:
    """One of the paper's tables for the page."""
    rows = []
    for row in table.rows:
        numbers = [None if isinstance(v, str) or v != v else v for v in row]
        rows.append([Cell(tables.text(v), number) for v, number in zip(row, numbers)])
    return Table(table.title, table.columns, rows, notes=table.notes)
