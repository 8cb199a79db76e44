"""Numbers out of JSON, and their mean and deviation: whatever is no finite number counts as missing."""

import math
import sys

import numpy as np


def number(value) -> float:
    """A JSON value as a float; NaN if it is null, infinite, or no number at all."""
    return float(value) if type(value) in (float, int) and abs(value) <= sys.float_info.max else math.nan


def numbers(values) -> np.ndarray:
    """JSON values as an array of float64, each as `number` has it."""
    return np.array([value if type(value) is float and math.isfinite(value) else number(value) for value in values], float)


def statistic(values) -> tuple:
    """Mean, sample standard deviation (NaN for one value) and count of the finite values."""
    values = np.asarray(values, float)
    finite = values[np.isfinite(values)]
    if not len(finite):
        return math.nan, math.nan, 0
    return float(finite.mean()), float(finite.std(ddof=1)) if len(finite) > 1 else math.nan, len(finite)
