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
            throughput: {value: null, unit: img/s, origin: unknown}

`lower` and `upper` are relative tolerances as ReFrame takes them (-0.1 is 10 % below); null is no
limit on that side; `band` says how they were chosen.
`origin` is `published`, `measured`, `predicted` or `unknown`; an unknown cell has no value and is
recorded, not judged. Optional, and compared with the run before any number is: `image`, `dataset`
(content digest), `patches` (how many, to 1 %).
"""

import datetime
import itertools
import math
import os
from pathlib import Path
from typing import Optional

import yaml

from bigearth import record
from bigearth.errors import InputError

from . import catalogue

SCHEMA = 1
FOLDER = Path(os.environ.get("BIGEARTH_REFERENCES", Path(__file__).resolve().parent / "references"))
ORIGINS = ("published", "measured", "predicted", "unknown")
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
    "source",
    "band",
}


class _StrictLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """YAML that refuses a key given twice, instead of keeping the last."""


def _mapping(loader, node):
    keys = [loader.construct_object(key) for key, _ in node.value]
    for key in keys:
        if keys.count(key) > 1:
            raise yaml.constructor.ConstructorError(
                None, None, f"key {key!r} is given twice", node.start_mark
            )
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def path_of(site: str) -> Path:
    return FOLDER / f"{site}.yaml"


def load(path) -> dict:
    """Reads a reference file.

    Raises:
        InputError: it cannot be read, is not YAML, gives a key twice, or has another schema.
    """
    try:
        content = yaml.load(Path(path).read_text(), _StrictLoader)
    except OSError as error:
        raise InputError(
            f"{path}: cannot read the references: {error.strerror}; make it with `bigearth-bench "
            "site add`"
        ) from error
    except yaml.YAMLError as error:
        raise InputError(
            f"{path}: not a valid reference file: {' '.join(str(error).split())}; see "
            "reframe_tests/references.py"
        ) from error
    found = content.get("schema", "missing") if isinstance(content, dict) else "missing"
    if found != SCHEMA:
        raise InputError(
            f"{path}: reference schema is {found}, expected {SCHEMA}; bring the file "
            "to this version's schema"
        )
    return content


def lint(content: dict, partitions: dict, site: str, today: Optional[datetime.date] = None) -> list:
    """Everything that is wrong with a site's references, one sentence each; empty if nothing is.

    Args:
        content: what `load` returned.
        partitions: name -> (features, extras) of each of the site's partitions.
        site: the site's name.
        today: the day that ages are counted to.
    """
    today = today or datetime.date.today()
    faults = [
        f"unknown key {key!r} at the top; expected {', '.join(sorted(_FILE_KEYS))}"
        for key in sorted(set(content) - _FILE_KEYS)
    ]
    faults += [f"key {key!r} is missing at the top" for key in sorted(_FILE_KEYS - set(content))]
    if faults:
        return faults
    if content["site"] != site:
        faults.append(f"site is {content['site']!r}, expected {site!r}, as the settings file says")
    if not isinstance(content["max_age_days"], int) or content["max_age_days"] < 1:
        faults.append(f"max_age_days is {content['max_age_days']!r}, expected a number of days")
        return faults
    wanted = set()
    for name, (features, extras) in partitions.items():
        for check, plan in catalogue.CHECKS.items():
            wanted |= {
                (name, check, point, metric)
                for point in catalogue.points_on(plan, features, extras)
                for metric in plan.metrics
            }
    cells = dict(_walk(content["partitions"], faults))
    strange = sorted({key[0] for key in cells} - set(partitions))
    faults += [
        f"{name}: orphan: the site's settings have no such partition, only "
        f"{', '.join(partitions)}; correct the name"
        for name in strange
    ]
    for key in sorted(key for key in set(cells) - wanted if key[0] not in strange):
        faults.append(
            f"{'/'.join(key)}: orphan: no check measures this; correct the name or delete the cell"
        )
    for key in sorted(wanted - set(cells)):
        faults.append(
            f"{'/'.join(key)}: missing; add the cell, with `origin: unknown` if nobody "
            "has measured it"
        )
    for key in sorted(set(cells) & wanted):
        faults += [
            f"{'/'.join(key)}: {fault}" for fault in _lint_cell(key[3], cells[key], content, today)
        ]
    return faults


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
    for key in sorted(set(cell) - _CELL_KEYS):
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
    if not isinstance(cell.get("runs"), int) or cell["runs"] < 1:
        yield f"runs is {cell.get('runs')!r}, expected how many runs the number rests on"
    elif origin == "measured" and cell["runs"] < MIN_RUNS:
        yield (
            f"rests on {cell['runs']} runs, expected {MIN_RUNS} or more; run `python -m "
            "reframe_tests.calibrate` when there are"
        )
    date = cell.get("date")
    if not isinstance(date, datetime.date):
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


def checked(site: str, partitions: dict) -> dict:
    """The site's references, if they have no fault at all: nothing is judged by a file that does
    not pass the lint.

    Args:
        partitions: as for `lint`.

    Raises:
        InputError: the first fault, and how many there are.
    """
    path = path_of(site)
    content = load(path)
    faults = lint(content, partitions, site)
    if faults:
        raise InputError(
            f"{path}: {faults[0]} ({len(faults)} fault(s); `bigearth-bench "
            f"lint --site {site}` lists all)"
        )
    return content


def unlike(cell: dict, run: dict) -> list:
    """Why a run may not be compared with a reference, one phrase each; empty if it may.

    Args:
        cell: one cell of a reference file.
        run: `image`, `dataset` and `patches` of the run.
    """

    stated = [key for key in ("image", "dataset", "patches") if cell.get(key) is not None]
    if cell["origin"] == "measured" and "image" not in stated:
        stated.append("image")  # measured natively
    return [
        f"{key} was {cell.get(key) or 'none (native)'} for the reference and is "
        f"{run.get(key) or 'none (native)'} in this run"
        for key in stated
        if cell.get(key) != run.get(key)
        and (key != "patches" or abs(run[key] - cell[key]) > 0.01 * cell[key])
    ]


def slowest(cell: dict) -> Optional[float]:
    """The largest value that a lower-is-better cell still accepts; None if it is unknown."""
    return None if cell["origin"] == "unknown" else cell["value"] * (1 + cell["upper"])


def empty(site: str, partitions: dict) -> dict:
    """References of a site where nothing has been measured yet: every cell is there and unknown.

    Args:
        partitions: as for `lint`.
    """
    tree = {}
    for name, (features, extras) in partitions.items():
        for check, plan in catalogue.CHECKS.items():
            for point in catalogue.points_on(plan, features, extras):
                cells = {
                    m: {"value": None, "unit": record.METRICS[m].unit, "origin": "unknown"}
                    for m in plan.metrics
                }
                tree.setdefault(name, {}).setdefault(check, {})[point] = cells
    return {"schema": SCHEMA, "site": site, "image": None, "max_age_days": 365, "partitions": tree}


def dump(content: dict, comment: str = "") -> str:
    """The text of a reference file, a line a cell: a change of one number is a change of one
    line."""
    lines = [f"# {line}".rstrip() for line in comment.splitlines()]
    lines += [
        f"{key}: {_flow(content[key])}" for key in ("schema", "site", "image", "max_age_days")
    ] + ["partitions:"]
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
