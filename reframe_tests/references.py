"""References: what a metric should be at a site, and where that number comes from.

reframe_tests/references/<site>.yaml:

    schema: 1
    site: juwels
    image: null              # digest of the container image in use ("sha256:..."), or null if the
        programs run natively
    max_age_days: 365        # a measured reference older than this is stale
    partitions:
      gpu:
        scaling:                         # check
          nodes=4:                       # point: the check's parameters
            time_per_epoch:              # metric
              {value: 86, lower: null, upper: 0.06, unit: s, origin: published, date: 2019-12-17,
              runs: 2, source: "...", band: "..."}

`lower` and `upper` are relative tolerances as ReFrame takes them (-0.1 is 10 % below); null is no
limit on that side; `band` says how they were chosen.
`origin` is `published`, `measured` or `predicted`. A metric without a cell is unknown: recorded and
counted, not judged. A cell may state the work it is of: `image`, `dataset` (content digest),
`patches` and `train_patches` (how many, to 1 %); a run of other work is not judged by it.
"""

import datetime
import itertools
import math
import os
from pathlib import Path
from typing import Optional

import yaml

from bigearth import record
from bigearth.errors import InputError, one_line
from bigearth.files import read_bytes

from . import catalogue, yaml_reader

SCHEMA = 1
FOLDER = Path(os.environ.get("BIGEARTH_REFERENCES", Path(__file__).resolve().parent / "references"))
ORIGINS = ("published", "measured", "predicted", "unknown")
UNKNOWN = {"value": None, "origin": "unknown"}
MOST_BYTES = 64 << 20
WORK = ("image", "dataset", "patches", "train_patches")  # what a reference may state
MIN_RUNS = 5  # a measured reference rests on at least this many runs
_FILE_KEYS = {"schema", "site", "image", "max_age_days", "partitions"}
_CELL_KEYS = {
    "value",
    "lower",
    "upper",
    "unit",
    "origin",
    "date",
    "runs",
    "image",
    "dataset",
    "patches",
    "train_patches",
    "source",
    "band",
}


def path_of(site: str) -> Path:
    return FOLDER / f"{site}.yaml"


def load(path) -> dict:
    """Reads a reference file.

    Raises:
        InputError: it cannot be read, is not YAML, gives a key twice, or has another schema.
    """
    data = read_bytes(path, what="reference file", most=MOST_BYTES)
    try:
        content = yaml_reader.read(data.decode())
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise InputError(
            f"{path}: not a valid reference file: {one_line(error)}; see "
            "reframe_tests/references.py"
        ) from error
    found = content.get("schema", "missing") if isinstance(content, dict) else "missing"
    if found != SCHEMA:
        raise InputError(
            f"{path}: reference schema is {one_line(found, 20)}, expected {SCHEMA}; bring the file "
            "to this version's schema"
        )
    return content


def load_site(site: str) -> dict:
    """A site's references; none at all where it has no file."""
    path = path_of(site)
    return load(path) if path.exists() else empty(site)


def cell(content: dict, partition: str, check: str, point: str, metric: str) -> dict:
    """One reference, its date as text; one of origin `unknown` if there is none."""
    found = content["partitions"]
    for key in (partition, check, point, metric):
        found = found.get(key) or {}
    found = found or {**UNKNOWN, "unit": record.METRICS[metric].unit}
    return {key: str(value) if key == "date" else value for key, value in found.items()}


def beside(cell: dict, unlike: list) -> dict:
    """A reference of other work, as a cell that judges nothing and says so."""
    return {
        **UNKNOWN,
        "unit": cell["unit"],
        "source": f"{cell['value']:g} ({cell['origin']}) is of other work: {'; '.join(unlike)}",
    }


def lint(
    content: dict,
    partitions: dict,
    site: str,
    complete: bool = True,
    today: Optional[datetime.date] = None,
) -> list:
    """Everything that is wrong with a site's references, one sentence each; empty if nothing is.

    Args:
        content: what `load` returned.
        partitions: name -> Partition of the site's partitions.
        site: the site's name.
        complete: whether these are all; else cells of others are left alone.
        today: the day that ages are counted to.
    """
    today = today or datetime.date.today()
    faults = [
        f"unknown key {key!r} at the top; expected {', '.join(sorted(_FILE_KEYS))}"
        for key in sorted(map(str, set(content) - _FILE_KEYS))
    ]
    faults += [f"key {key!r} is missing at the top" for key in sorted(_FILE_KEYS - set(content))]
    if faults:
        return faults
    if content["site"] != site:
        faults.append(f"site is {content['site']!r}, expected {site!r}, as the settings file says")
    if type(content["max_age_days"]) is not int or content["max_age_days"] < 1:
        faults.append(f"max_age_days is {content['max_age_days']!r}, expected a number of days")
        return faults
    cells = dict(_walk(content["partitions"], faults))
    strange = sorted({key[0] for key in cells} - set(partitions))
    if complete:
        faults += [
            f"{name}: orphan: the site's settings have no such partition, only "
            f"{', '.join(partitions)}; correct the name"
            for name in strange
        ]
    known = _measured(partitions)
    for key in sorted(key for key in cells if key[0] in partitions):
        where = "/".join(key)
        if key not in known:
            faults.append(
                f"{where}: orphan: no check measures this; correct the name or delete the cell"
            )
        else:
            faults += [
                f"{where}: {f}" for f in _lint_cell(key[3], cells[key], content, today=today)
            ]
    return faults


def _measured(partitions: dict) -> set:
    """(partition, check, point, metric) of everything that the checks can measure."""
    return {
        (name, check, point, metric)
        for name, partition in partitions.items()
        for check, plan in catalogue.checks().items()
        for point in catalogue.points_on(plan, partition)
        for metric in plan.metrics
    }


def _walk(partitions, faults):
    """((partition, check, point, metric), cell) of every cell; what is not a mapping is a fault."""

    def items(node, where):
        if not isinstance(node, dict):
            faults.append(f"{'/'.join(where) or 'partitions'}: expected a mapping, found {node!r}")
            return ()
        return ((str(key), value) for key, value in node.items())

    for partition, checks in items(partitions, ()):
        for check, points in items(checks, (partition,)):
            for point, metrics in items(points, (partition, check)):
                for metric, cell in items(metrics, (partition, check, point)):
                    if isinstance(cell, dict):
                        yield (partition, check, point, metric), cell
                    else:
                        faults.append(
                            f"{partition}/{check}/{point}/{metric}: expected a mapping, "
                            f"found {cell!r}"
                        )


def _number(value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _lint_cell(metric: str, cell: dict, content: dict, today: datetime.date):
    unit, better = record.METRICS[metric].unit, record.METRICS[metric].better
    for key in sorted(map(str, set(cell) - _CELL_KEYS)):
        yield f"unknown key {key!r}; expected {', '.join(sorted(_CELL_KEYS))}"
    if cell.get("unit") != unit:
        yield f"unit is {cell.get('unit')!r}, expected {unit!r}"
    origin = cell.get("origin")
    if origin not in ORIGINS:
        yield f"origin is {origin!r}, expected one of {', '.join(ORIGINS)}"
        return
    if origin == "unknown":
        extra = sorted(set(cell) - {"value", "unit", "origin"})
        if cell.get("value") is not None or extra:
            yield (
                "origin is unknown but the cell has a value, a limit or a date; say where it "
                "comes from or delete it"
            )
        return
    if not _number(cell.get("value")) or cell["value"] <= 0:
        yield f"value is {cell.get('value')!r}, expected a positive number"
    yield from _lint_limits(cell, better)
    for key, what in (
        ("source", "where the number comes from"),
        ("band", "how the limits were chosen"),
    ):
        if not (isinstance(cell.get(key), str) and cell[key].strip()):
            yield f"no {key}; say in words {what}"
    if type(cell.get("runs")) is not int or cell["runs"] < 1:
        yield f"runs is {cell.get('runs')!r}, expected how many runs the number rests on"
    elif origin == "measured" and cell["runs"] < MIN_RUNS:
        yield (
            f"rests on {cell['runs']} runs, expected {MIN_RUNS} or more; run "
            "`bigearth-bench calibrate` when there are"
        )
    for key in ("patches", "train_patches"):
        if cell.get(key) is not None and type(cell[key]) is not int:
            yield f"{key} is {cell[key]!r}, expected a whole number"
    date = cell.get("date")
    if type(date) is not datetime.date:  # a moment of a day is one, too, and does not compare
        yield f"date is {date!r}, expected YYYY-MM-DD"
    elif date > today + datetime.timedelta(days=1):  # a day's grace: time zones
        yield f"date {date} is in the future"
    elif origin == "measured" and (today - date).days > content["max_age_days"]:
        yield (
            f"stale: measured {(today - date).days} days ago, at most {content['max_age_days']} "
            "allowed; calibrate anew"
        )
    if origin == "measured" and cell.get("image") != content["image"]:
        yield (
            f"stale: measured with image {cell.get('image')}, the site now uses "
            f"{content['image']}; calibrate anew"
        )


def _lint_limits(cell: dict, better: str):
    for side, sign in (("lower", -1), ("upper", 1)):
        limit = cell.get(side)
        if limit is not None and not (
            _number(limit) and 0 <= sign * limit <= (1 if side == "lower" else 10)
        ):
            yield (
                f"{side} is {limit!r}, expected a relative tolerance "
                f"({'-1 to 0' if side == 'lower' else '0 to 10'}) or null"
            )
    worse = "upper" if better == "lower" else "lower"
    if cell.get(worse) is None:
        yield f"no {worse} limit, though {better} is better: a regression could not fail"


def checked(site: str, partitions: dict, complete: bool = True) -> dict:
    """The site's references, if they have no fault at all: nothing is judged by a file that does
    not pass the lint.

    Args:
        partitions, complete: as for `lint`.

    Raises:
        InputError: the first fault, and how many there are.
    """
    content = load_site(site)
    faults = lint(content, partitions, site, complete=complete)
    if faults:
        raise InputError(
            f"{path_of(site)}: {faults[0]} ({len(faults)} fault(s); `bigearth-bench lint --site "
            f"{site}` lists all)"
        )
    return content


def unlike(cell: dict, run: dict) -> list:
    """Why a run may not be compared with a reference, one phrase each; empty if it may.

    Args:
        cell: one cell of a reference file.
        run: what the run says of the same.
    """

    stated = [key for key in WORK if cell.get(key) is not None]
    if cell["origin"] == "measured" and "image" not in stated:
        stated.append("image")  # measured natively
    return [
        f"{key} was {cell.get(key) or 'none (native)'} for the reference and is "
        f"{run.get(key) or 'none (native)'} in this run"
        for key in stated
        if not _same(key, cell.get(key), run.get(key))
    ]


def _same(key: str, stated, found) -> bool:
    if key.endswith("patches") and found is not None:
        return abs(found - stated) <= 0.01 * stated
    return found == stated


def slowest(cell: dict) -> Optional[float]:
    """The largest value that a lower-is-better cell still accepts; None if it is unknown."""
    return None if cell["origin"] == "unknown" else cell["value"] * (1 + cell["upper"])


def empty(site: str) -> dict:
    """References of a site where nothing has been measured yet."""
    return {"schema": SCHEMA, "site": site, "image": None, "max_age_days": 365, "partitions": {}}


def dump(content: dict, comment: str = "") -> str:
    """The text of a reference file, one line per cell: a change of one number is a change of one
    line."""
    lines = [f"# {line}".rstrip() for line in comment.splitlines()]
    lines += [
        f"{key}: {_flow(content[key])}" for key in ("schema", "site", "image", "max_age_days")
    ] + ["partitions:" if content["partitions"] else "partitions: {}"]
    for partition, checks in content["partitions"].items():
        lines.append(f"  {partition}:")
        for check, points in checks.items():
            lines.append(f"    {check}:")
            for point, cells in points.items():
                lines.append(f"      {point}:" if cells else f"      {point}: {{}}")
                lines += [f"        {metric}: {_flow(cell)}" for metric, cell in cells.items()]
    return "\n".join(lines) + "\n"


def _flow(value) -> str:
    text = yaml.safe_dump(
        value, default_flow_style=True, width=math.inf, sort_keys=False, allow_unicode=True
    )
    return text.removesuffix("\n").removesuffix("\n...")


def comment_of(text: str) -> str:
    """The comment lines that a reference file begins with."""
    lines = itertools.takewhile(lambda line: line.startswith("#"), text.splitlines())
    return "\n".join(line.removeprefix("#").removeprefix(" ") for line in lines)
