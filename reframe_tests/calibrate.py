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
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from bigearth import cli, record
from bigearth.errors import InputError
from bigearth.files import new_file

from . import partitions, references, sites
from .references import MIN_RUNS
from .results import sessions
from .settings.common import RESULTS, ROOT

SIGMAS = 4.0  # the band holds this many robust standard deviations
NARROWEST = 0.01  # relative; a handful of equal runs does not prove that there is no noise
# the good side's limit, in widths of the band: further off is an error, not an improvement
TOO_GOOD = 3.0


def band(values: list) -> tuple:
    """Median and relative half width of some measurements.

    The width is 4 robust standard deviations (1.4826 times the median absolute deviation), at least
    1 %, and never so narrow that it would have refused one of these runs.
    """
    centre = statistics.median(values)
    deviations = [abs(value - centre) / centre for value in values]
    return centre, max(SIGMAS * 1.4826 * statistics.median(deviations), max(deviations), NARROWEST)


def proposal(metric: str, runs: list) -> dict:
    """A cell from like runs.

    Args:
        runs: (value, Unix time, evidence) of each.
    """
    values = [value for value, _, _ in runs]
    centre, width = band(values)
    width, good = (
        round(math.ceil(width * 1000) / 1000, 3),
        round(TOO_GOOD * math.ceil(width * 1000) / 1000, 3),
    )
    unit, better = record.METRICS[metric].unit, record.METRICS[metric].better
    evidence = runs[-1][2]
    days = sorted(datetime.date.fromtimestamp(when) for _, when, _ in runs)
    return {
        "value": float(f"{centre:.4g}"),
        "lower": -min(good, 1.0) if better == "lower" else -min(width, 1.0),
        "upper": width if better == "lower" else good,
        "unit": unit,
        "origin": "measured",
        "date": days[-1],
        "runs": len(values),
        "image": evidence["image"],
        "dataset": evidence["dataset"],
        "patches": evidence["patches"],
        "source": f"median of {len(values)} runs, {days[0]} to {days[-1]}",
        "band": f"{SIGMAS:g} robust standard deviations, every run inside, at least "
        f"{NARROWEST:.0%}; {TOO_GOOD:g} times that on the good side",
    }


def gate(cell: dict, better: str) -> float:
    """The worst value that a cell still accepts."""
    return cell["value"] * (1 + cell["upper" if better == "lower" else "lower"])


def loosens(old: dict, new: dict, better: str) -> bool:
    """Whether a proposal would accept a result that the present reference refuses."""
    if old["origin"] == "unknown":
        return False
    return (
        gate(new, better) > gate(old, better)
        if better == "lower"
        else gate(new, better) < gate(old, better)
    )


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


def propose(content: dict, runs: dict, accept_slower: bool) -> tuple:
    """New references and a sentence for every cell that was left as it is.

    Raises:
        InputError: no cell has enough runs.
    """
    new, left, changed = copy.deepcopy(content), [], 0
    for (partition, check, point, metric), found in sorted(runs.items()):
        where = f"{partition}/{check}/{point}/{metric}"
        if len(found) < MIN_RUNS:
            left.append(f"{where}: {len(found)} run(s), expected {MIN_RUNS} or more")
            continue
        cell, better = proposal(metric, found), record.METRICS[metric].better
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
        raise InputError(
            f"no cell has {MIN_RUNS} like runs in the results database; run the suite {MIN_RUNS} "
            "times with the same image and data"
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
