"""Runs the suite at a site and prints the verdicts: `bigearth-bench run --site local --tag smoke`.

A thin launcher: it checks the references, calls ReFrame with the right settings, and prints a table
from ReFrame's report. Options it does not know go to ReFrame as they are (`-n`, `-S`, `-x`,
`--distribute`, `--max-retries`, ...).
"""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional

from bigearth import cli
from bigearth.errors import InputError

CHECKS = Path(__file__).resolve().parent / "checks"
NOT_RUNNING = (
    "-l",
    "-L",
    "--list",
    "--list-detailed",
    "--dry-run",
    "--ci-generate",
    "--describe",
    "--list-tags",
)


@dataclass(frozen=True)
class RunConfig:
    """What the launcher itself takes."""

    site: Optional[str] = cli.option(
        None, "a name in reframe_tests/settings/, or a settings file; found by host name if missing"
    )
    tag: List[str] = cli.option([], "run the checks that have this tag: smoke, nightly, acceptance")
    results: Optional[str] = cli.option(
        None, "folder of ReFrame's stage, output, reports and database (results/reframe)"
    )
    data: Optional[str] = cli.option(
        None, "HDF5 file of patches to use instead of a synthetic one (an absolute path)"
    )
    image: Optional[str] = cli.option(
        None, "run in this container image: a .sif file, or a name of containers/"
    )
    list: bool = cli.option(False, "list the checks and end")
    dry_run: bool = cli.option(False, "write the job scripts, submit nothing")


PROGRAM = cli.Program(
    module="reframe_tests",
    command="bigearth-bench run",
    description="Run the checks at a site and print the verdicts. Options that are not listed here "
    "go to ReFrame.",
    example="--site local --tag smoke",
    exit_codes="exit codes: 0 all passed; 1 a regression or a failed check; 2 it could not run",
    passes_on=True,
)


def command(site_file: Path, system: str, options, passed_on: list, report: Path) -> list:
    """The ReFrame command line."""
    action = (
        ["--list"]
        if options.list
        else ["--dry-run", "--keep-stage-files"]
        if options.dry_run
        else ["--run"]
    )
    action = [] if any(option.split("=")[0] in NOT_RUNNING for option in passed_on) else action
    variables = [("hdf5_file.data", options.data), ("image", options.image)]
    settings = [word for name, value in variables if value for word in ("-S", f"{name}={value}")]
    environment = "^container$" if options.image else "^(?!container$)"
    tags = [argument for tag in options.tag for argument in ("--tag", f"^{tag}$")]
    files = [
        "-C",
        str(site_file),
        f"--system={system}",
        "-c",
        str(CHECKS),
        "-R",
        f"--report-file={report}",
    ]
    return [reframe(), *files, "-p", environment, *tags, *settings, *action, *passed_on]


def reframe() -> str:
    """ReFrame's own command: the one beside this Python, else the first on the PATH."""
    found = shutil.which(
        "reframe",
        path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
    )
    if not found:
        raise InputError(
            "there is no `reframe` beside this Python or on the PATH; run `make "
            "setup`, or load the site's module"
        )
    return found


def run_reframe(arguments: list) -> tuple:
    """Runs ReFrame and shows what it prints.

    Returns:
        its exit code, and what made it leave out test files: those warnings do not fail a run.
    """
    skipped = []
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            if "skipping test" in line:
                skipped.append(line.strip())
    if process.returncode not in (0, 1):
        raise InputError(
            f"ReFrame ended with exit code {process.returncode}; its messages are above"
        )
    return process.returncode, skipped


def image_fits(image: str, system: dict) -> None:
    """Tries the image here before anything starts; each job tries it again where it runs."""
    able = [partition for partition in system["partitions"] if "container" in partition["environs"]]
    if not able:
        raise InputError(
            f"--image {image}: no partition of {system['name']} has the environment "
            "`container`; leave --image out"
        )
    if shutil.which("apptainer") or any(partition["scheduler"] == "local" for partition in able):
        done = subprocess.run(
            [CHECKS.parents[1] / "containers" / "check.sh", image], capture_output=True, text=True
        )
        if done.returncode != 0:
            raise InputError(done.stderr.strip().replace("error: ", "", 1))


def main(options: RunConfig, passed_on: list) -> int:
    """Runs the suite; returns the exit code."""
    if options.results:
        os.environ["BIGEARTH_RESULTS"] = str(Path(options.results).absolute())
    from . import lint, sites  # the settings read BIGEARTH_RESULTS as they are imported
    from .results import sessions, verdict
    from .settings.common import RESULTS

    site = options.site or sites.detect()
    system = sites.system_of(site)
    faults = lint.faults(site)
    if faults:
        raise InputError(
            "\n       ".join([f"{len(faults)} fault(s) in the references; nothing is run", *faults])
        )
    only_shows = (
        options.list
        or options.dry_run
        or any(option.split("=")[0] in NOT_RUNNING for option in passed_on)
    )
    if not only_shows:
        sites.check_scheduler(system)
        if options.image:
            image_fits(options.image, system)
    report = RESULTS / "reports" / f"run-{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}.json"
    code, skipped = run_reframe(
        command(sites.settings_path(site).absolute(), system["name"], options, passed_on, report)
    )
    if skipped:
        raise InputError(f"ReFrame left out checks that it could not load: {'; '.join(skipped)}")
    if only_shows:
        if code:
            raise InputError("ReFrame could not do it; its messages are above")
        return 0
    cases = sessions.of_report(report)
    rows = verdict.rows(cases, sessions.before(RESULTS / "results.db", cases))
    if not rows:
        raise InputError(
            "no check was run; see the names and tags that `bigearth-bench list` prints"
        )
    print("\n" + verdict.table(rows))
    return 0 if all(row.good for row in rows) else 1


if __name__ == "__main__":
    cli.main(RunConfig, main, PROGRAM)
