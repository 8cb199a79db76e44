"""Numbers out of JSON, and their mean and deviation: whatever is no finite number counts as missing."""

import itertools
import math
import sys

import numpy as np


def number(value) -> float:
    """A JSON value as a float; NaN if it is null, infinite, or no number at all."""
    return float(value) if type(value) in (float, int) and abs(value) <= sys.float_info.max else math.nan


def numbers(values) -> np.ndarray:
    """JSON values (or a column of `columns`) as an array of float64, each as `number` has it."""
    if isinstance(values, np.ndarray):
        return np.where(np.isfinite(values), values, math.nan)
    return np.array([value if type(value) is float and math.isfinite(value) else number(value) for value in values], float)


def columns(rows: list) -> dict:
    """A table of JSON turned round: column -> its values, an array where all are floats; small, and quick to read over many runs."""
    found = {}
    for name in dict.fromkeys(itertools.chain.from_iterable(rows)):
        values = [row.get(name) for row in rows]
        found[name] = np.array(values) if set(map(type, values)) == {float} else values
    return found


def statistic(values) -> tuple:
    """Mean, sample standard deviation (NaN for one value) and count of the finite values."""
    values = np.asarray(values, float)
    finite = values[np.isfinite(values)]
    if not len(finite):
        return math.nan, math.nan, 0
    return float(finite.mean()), float(finite.std(ddof=1)) if len(finite) > 1 else math.nan, len(finite)
