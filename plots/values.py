"""Numbers and words out of JSON, whoever wrote it: what is no finite number counts as missing, what cannot be printed is replaced."""

import itertools
import json
import math

import numpy as np

LARGEST = 1e100  # what lies beyond is no measurement (and its square no number)


def number(value) -> float:
    """A JSON value as a float; NaN if it is null, infinite or beyond LARGEST, or no number at all."""
    return float(value) if type(value) in (float, int) and abs(value) <= LARGEST else math.nan


def canonical(value) -> str:
    """A JSON value as text that is equal exactly for equal values."""
    return json.dumps(value, sort_keys=True, default=str)


def printable(value):
    """A JSON value whose texts (names too) are one line of characters that fonts, XML and UTF-8 have; others become a space or a `\ufffd`."""
    if isinstance(value, str):
        return value if value.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in " ".join(value.split()))
    if isinstance(value, dict):
        return {printable(key): printable(item) for key, item in value.items()}
    return [printable(item) for item in value] if isinstance(value, list) else value


def numbers(values) -> np.ndarray:
    """JSON values (or a column of `columns`) as an array of float64, each as `number` has it."""
    if isinstance(values, np.ndarray):
        return np.where(np.abs(values) <= LARGEST, values, math.nan)
    return np.array([value if type(value) in (float, int) and -LARGEST <= value <= LARGEST else number(value) for value in values], float)


def columns(rows: list) -> dict:
    """A table of JSON turned round: column -> its values, an array where all are floats; small, and quick to read over many runs."""
    names = dict.fromkeys(itertools.chain.from_iterable(rows))
    return {printable(name): column([row.get(name) for row in rows]) for name in names}


def column(values: list):
    """One column of a table, see `columns`."""
    kinds = set(map(type, values))
    if kinds == {float}:
        return np.array(values)
    return values if kinds <= {int, bool, type(None), float} else printable(values)


def statistic(values) -> tuple:
    """Mean, sample standard deviation (NaN for one value) and count of the finite values."""
    values = np.asarray(values, float)
    finite = values[np.isfinite(values)]
    if not len(finite):
        return math.nan, math.nan, 0
    return float(finite.mean()), float(finite.std(ddof=1)) if len(finite) > 1 else math.nan, len(finite)
