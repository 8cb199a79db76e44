"""Numbers and words out of JSON, whoever wrote it: what is no finite number counts as missing, what
cannot be printed is replaced."""

import datetime
import json
import math

LARGEST = 1e100  # what lies beyond is no measurement (and its square no number)


def number(value) -> float:
    """A JSON value as a float; NaN if it is null, infinite or beyond LARGEST, or no number at
    all."""
    return float(value) if type(value) in (float, int) and abs(value) <= LARGEST else math.nan


def numbers(values) -> list:
    """Each of some JSON values as `number` has it."""
    return [number(value) for value in values]


def canonical(value) -> str:
    """A JSON value as text that is equal exactly for equal values."""
    return json.dumps(value, sort_keys=True, default=str)


def printable(value):
    """A JSON value whose texts (names too) are one line of characters that fonts, XML and UTF-8
    have; others become a space or a `\ufffd`."""
    if isinstance(value, str):
        if value.isprintable():
            return value
        return "".join(c if c.isprintable() else "\ufffd" for c in " ".join(value.split()))
    if isinstance(value, dict):
        return {printable(key): printable(item) for key, item in value.items()}
    return [printable(item) for item in value] if isinstance(value, list) else value


def statistic(values) -> tuple:
    """Mean, sample standard deviation (NaN for one value) and count of the finite values."""
    finite = [value for value in values if math.isfinite(value)]
    count = len(finite)
    if not count:
        return math.nan, math.nan, 0
    mean = math.fsum(finite) / count
    if count < 2:
        return mean, math.nan, count
    squares = math.fsum((value - mean) ** 2 for value in finite)
    return mean, math.sqrt(squares / (count - 1)), count


def quantity(value: float, unit: str) -> str:
    """A value with its unit, four digits; the unit 1 is left out."""
    return f"{value:.4g}" if unit in ("", "1") else f"{value:.4g} {unit}"


def percent(effect: float) -> str:
    """A relative change in words."""
    if not math.isfinite(effect):
        return "from 0"
    return f"{100 * effect:+.1f} %" if abs(effect) < 1e4 else f"{100 * effect:+.3g} %"


def iso(time: float) -> str:
    """A Unix time as ISO 8601, UTC."""
    moment = datetime.datetime.fromtimestamp(time, datetime.timezone.utc)
    return moment.isoformat(timespec="seconds")


def day(time: float) -> str:
    """The date (UTC) of a Unix time."""
    return iso(time)[:10]
