"""Proposes references from what was measured: `bigearth-bench calibrate --site SITE`.

Reads ReFrame's results database, takes for every cell the runs that are alike (same image, data and
node count as the latest one), and proposes their median and a band as wide as their noise. Writes a
diff to review and apply with `git apply`. Exit code: 0 a diff was written, or nothing would change;
2 it could not be made.
"""

import copy
import datetime
import difflib
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from bigearth import cli, record
from bigearth.errors import InputError
from bigearth.files import new_file

from . import partitions, references, sites
from .results import sessions
from .settings.common import RESULTS, ROOT


def proposal(metric: str, runs: list, band) -> dict:
    """A cell from like runs.

    Args:
        runs: (value, Unix time, evidence) of each.
        band: a `calibration.Band` of their values.
    """
    unit, better = record.METRICS[metric].unit, record.METRICS[metric].better
    evidence = runs[-1][2]
    days = sorted(datetime.date.fromtimestamp(when) for _, when, _ in runs)
    value = float(f"{band.value:.4g}")
    worse, good = (math.ceil(1000 * abs(edge / value - 1)) / 1000 for edge in (band.red, band.good))
    return {
        "value": value,
        "lower": -min(good if better == "lower" else worse, 1.0),
        "upper": worse if better == "lower" else good,
        "unit": unit,
        "origin": "measured",
        "date": days[-1],
        "runs": len(runs),
        "image": evidence["image"],
        "dataset": evidence["dataset"],
        "patches": evidence["patches"],
        "source": f"median of {len(runs)} runs, {days[0]} to {days[-1]}",
        "band": band.sentence(),
    }


def gate(cell: dict, better: str) -> float:
    """The worst value that a cell still accepts."""
    return cell["value"] * (1 + cell["upper" if better == "lower" else "lower"])


def loosens(old: dict, new: dict, better: str) -> bool:
    """Whether a proposal would accept a result that the present reference refuses, without resting
    on more runs of the same work."""
    if old["origin"] == "unknown":
        return False
    more = new["runs"] > old.get("runs", 0) and old["origin"] == "measured"
    if more and all(old.get(name) == new[name] for name in ("image", "dataset", "patches")):
        return False
    if better == "lower":
        return gate(new, better) > gate(old, better)
    return gate(new, better) < gate(old, better)


def collect(cases: list, system: str) -> dict:
    """(partition, check, point, metric) -> (value, Unix time, evidence) of the runs that are like
    the latest one, on the machine of that one.

    Args:
        system: the site's name.
    """
    usable = [case for case in cases if case.sound and case.system.split(":")[0] == system]
    latest = {case.key: case.like for case in usable}
    runs = {}
    for case in usable:
        if latest[case.key] != case.like:
            continue
        partition = case.system.split(":")[1]
        for metric, value in case.values.items():
            if math.isfinite(value.value) and math.isfinite(case.time):
                found = runs.setdefault((partition, case.check, case.point, metric), [])
                found.append((value.value, case.time, case.evidence))
    return runs


def machine(cases: list, site: str) -> str:
    """The system of that name that was measured last; a site of many machines, as `local`, has a
    name for each.

    Raises:
        InputError: none was measured.
    """
    names = [case.system.split(":")[0] for case in cases if case.sound]
    found = [name for name in names if name.split("@")[0] == site]
    if not found:
        raise InputError(
            f"no finished measurement of {site} in the results database; run the suite first"
        )
    return found[-1]


def bands(runs: dict) -> dict:
    """The band of every cell, or a sentence why there is none; arguments as of `propose`."""
    from .results import calibration

    found = {}
    for metric in dict.fromkeys(where[3] for where in runs):
        cells = {
            where: [value for value, _, _ in measured]
            for where, measured in runs.items()
            if where[3] == metric
        }
        found.update(calibration.calibrate(cells, record.METRICS[metric].better == "lower"))
    return found


def propose(content: dict, runs: dict, accept_slower: bool) -> tuple:
    """New references and a sentence for every cell that was left as it is.

    Args:
        runs: what `collect` returned.

    Raises:
        InputError: no cell has enough runs.
    """
    new, left, changed = copy.deepcopy(content), [], 0
    for key, band in sorted(bands(runs).items()):
        partition, check, point, metric = key
        where = "/".join(key)
        if isinstance(band, str):
            left.append(f"{where}: {band}")
            continue
        cell, better = proposal(metric, runs[key], band), record.METRICS[metric].better
        old = references.cell(new, partition=partition, check=check, point=point, metric=metric)
        if loosens(old, cell, better) and not accept_slower:
            left.append(
                f"{where}: would accept {gate(cell, better):.4g}, now "
                f"{gate(old, better):.4g}; --accept-slower to allow it"
            )
            continue
        checks = new["partitions"].setdefault(partition, {})
        checks.setdefault(check, {}).setdefault(point, {})[metric] = cell
        new["image"] = cell["image"]
        changed += 1
    if not changed and not any("--accept-slower" in sentence for sentence in left):
        why = f": {left[0]}" if left else ""
        raise InputError(
            f"no cell has enough like runs in the results database{why}; run the suite more often "
            "with the same image and data"
        )
    return new, left


@dataclass(frozen=True)
class CalibrateConfig:
    site: str = cli.option(cli.REQUIRED, "a name in reframe_tests/settings/, or a settings file")
    database: str = cli.option(str(RESULTS / "results.db"), "ReFrame's results database")
    out: Optional[str] = cli.option(None, "the diff to write (beside the database if not given)")
    accept_slower: bool = cli.option(False, "let a reference become looser than it is")


PROGRAM = cli.Program(
    module="reframe_tests.calibrate",
    command="bigearth-bench calibrate",
    description="Propose references from what was measured, as a diff to review.",
    example="--site local",
    exit_codes="exit codes: 0 a diff was written, or nothing would change; 2 it could not be made",
)


def main(options: CalibrateConfig) -> None:
    system = sites.system_of(options.site)
    about = partitions.of_configuration(system["partitions"])
    path = references.path_of(system["name"])
    content = references.load_site(system["name"])
    before = path.read_text() if path.exists() else ""
    cases = sessions.load([options.database], [])
    runs = collect(cases, machine(cases, system["name"]))
    new, left = propose(content, runs, options.accept_slower)
    for sentence in left:
        print(f"left: {sentence}", file=sys.stderr)
    after = references.dump(new, references.comment_of(before))
    name = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path.name
    diff = "".join(
        difflib.unified_diff(
            before.splitlines(True),
            after.splitlines(True),
            f"a/{name}" if before else "/dev/null",
            f"b/{name}",
        )
    )
    for fault in references.lint(new, about, system["name"]):
        print(f"to do after applying: {fault}", file=sys.stderr)
    if not diff:
        print("no reference would change", file=sys.stderr)
        return
    out = Path(options.out or Path(options.database).with_name(f"calibrate-{system['name']}.diff"))
    if out.exists() and out.samefile(options.database):
        raise InputError(f"--out {out}: is the results database itself; give another file")
    with new_file(out, "write the diff") as partial:
        partial.write_text(diff)
    print(diff)
    print(f"review, then: git apply {out}", file=sys.stderr)


if __name__ == "__main__":
    cli.main(CalibrateConfig, main, PROGRAM)
