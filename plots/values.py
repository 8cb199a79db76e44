"""Numbers and words out of JSON, whoever wrote it: what is no finite number counts as missing, what
cannot be printed is replaced."""

import itertools
import json
import math
from functools import lru_cache
from operator import itemgetter

import numpy as np
import orjson

LARGEST = 1e100  # what lies beyond is no measurement (and its square no number)


def number(value) -> float:
    """A JSON value as a float; NaN if it is null, infinite or beyond LARGEST, or no number at
    all."""
    return float(value) if type(value) in (float, int) and abs(value) <= LARGEST else math.nan


def parse(text):
    """JSON, as text or as UTF-8 bytes, four times as fast as the standard library; what is not
    strictly JSON (NaN, say) is left to that.

    An integer beyond 64 bits comes as a float.

    Raises:
        ValueError, RecursionError: it is not JSON.
    """
    try:
        return orjson.loads(text)
    except ValueError:
        return json.loads(text)


def canonical(value) -> str:
    """A JSON value as text that is equal exactly for equal values."""
    return json.dumps(value, sort_keys=True, default=str)


def printable(value):
    """A JSON value whose texts (names too) are one line of characters that fonts, XML and UTF-8
    have; others become a space or a `\ufffd`."""
    if isinstance(value, str):
        return (
            value
            if value.isprintable()
            else "".join(c if c.isprintable() else "\ufffd" for c in " ".join(value.split()))
        )
    if isinstance(value, dict):
        return {printable(key): printable(item) for key, item in value.items()}
    return [printable(item) for item in value] if isinstance(value, list) else value


def numbers(values) -> np.ndarray:
    """JSON values (or a column of `columns`) as an array of float64, each as `number` has it."""
    if not isinstance(values, np.ndarray):
        values = list(values)
        plain = set(map(type, values)) <= {float, int}
        if not plain or not (
            min(values, default=0) >= -LARGEST and max(values, default=0) <= LARGEST
        ):
            return np.array([number(value) for value in values], float)
        values = np.array(values, float)
    return np.where(np.abs(values) <= LARGEST, values, math.nan)


def columns(rows: list) -> dict:
    """A table of JSON turned round: column -> its values, an array where all are floats; small, and
    quick to read over many runs."""
    names = dict.fromkeys(itertools.chain.from_iterable(rows))
    if all(len(row) == len(names) for row in rows) and len(names) > 1:
        return dict(zip(map(printable, names), map(column, zip(*map(itemgetter(*names), rows)))))
    return {printable(name): column([row.get(name) for row in rows]) for name in names}


def column(values):
    """One column of a table, see `columns`."""
    kinds = set(map(type, values))
    if kinds == {float}:
        return np.array(values)
    if kinds == {str}:
        return _texts(tuple(values))
    return list(values) if kinds <= {int, bool, type(None), float} else printable(list(values))


@lru_cache(1000)
def _texts(values: tuple) -> list:
    """One list for all runs that have the same column of texts, e.g. the names of the classes."""
    return printable(list(values))


def statistic(values) -> tuple:
    """Mean, sample standard deviation (NaN for one value) and count of the finite values."""
    values = np.asarray(values, float)
    finite = values[np.isfinite(values)]
    count = len(finite)
    if not count:
        return math.nan, math.nan, 0
    mean = finite.sum() / count
    return (
        float(mean),
        math.sqrt(np.square(finite - mean).sum() / (count - 1)) if count > 1 else math.nan,
        count,
    )
