"""Runs the suite at a site and prints the verdicts: `python -m reframe_tests --site local --tag
smoke`.

A thin launcher: it checks the references, calls ReFrame with the right settings, and prints a table
from ReFrame's report. Options it does not know go to ReFrame as they are (`-n`, `-S`, `-x`,
`--distribute`, `--max-retries`, ...). Exit code: 0 all passed; 1 a regression or a failed check; 2
it could not run.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from .references import SuiteError

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


def arguments(argv):
    parser = argparse.ArgumentParser(
        prog="python -m reframe_tests",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument(
        "--site",
        help="a name in reframe_tests/settings/, or a settings file (default: found by host name)",
    )
    parser.add_argument(
        "--tag",
        action="append",
        default=[],
        help="run the checks that have this tag: smoke, nightly, acceptance",
    )
    parser.add_argument(
        "--results",
        help="folder of ReFrame's stage, output, reports and database (default: results/reframe)",
    )
    parser.add_argument(
        "--data", help="HDF5 file of patches to use instead of a synthetic one (an absolute path)"
    )
    parser.add_argument(
        "--image",
        help="run in this container image: a .sif file, or a name of "
        "containers/ (default: natively)",
    )
    parser.add_argument("--list", action="store_true", help="list the checks and end")
    parser.add_argument(
        "--dry-run", action="store_true", help="write the job scripts, submit nothing"
    )
    return parser.parse_known_args(argv)


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
        raise SuiteError(
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
        raise SuiteError(
            f"ReFrame ended with exit code {process.returncode}; its messages are above"
        )
    return process.returncode, skipped


def image_fits(image: str, system: dict) -> None:
    """Tries the image here before anything starts; each job tries it again where it runs."""
    able = [partition for partition in system["partitions"] if "container" in partition["environs"]]
    if not able:
        raise SuiteError(
            f"--image {image}: no partition of {system['name']} has the environment "
            "`container`; leave --image out"
        )
    if shutil.which("apptainer") or any(partition["scheduler"] == "local" for partition in able):
        done = subprocess.run(
            [CHECKS.parents[1] / "containers" / "check.sh", image], capture_output=True, text=True
        )
        if done.returncode != 0:
            raise SuiteError(done.stderr.strip().replace("error: ", "", 1))


def earlier_cases(database: Path, session: dict) -> list:
    """What earlier sessions measured; nothing if this is the first."""
    from . import history

    try:
        cases = history.cases(database)
    except SuiteError:
        return []
    return [case for case in cases if case["session_uuid"] != session["session_info"]["uuid"]]


def main(argv) -> int:
    options, passed_on = arguments(argv)
    if options.results:
        os.environ["BIGEARTH_RESULTS"] = str(Path(options.results).absolute())
    from . import lint, sites, verdict  # the settings read BIGEARTH_RESULTS as they are imported
    from .settings.common import RESULTS

    site = options.site or sites.detect()
    system = sites.system_of(site)
    faults = lint.faults(site)
    if faults:
        raise SuiteError(
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
        raise SuiteError(f"ReFrame left out checks that it could not load: {'; '.join(skipped)}")
    if only_shows:
        if code:
            raise SuiteError("ReFrame could not do it; its messages are above")
        return 0
    session = (
        json.loads(report.read_text())
        if report.is_file()
        else {"runs": [], "session_info": {"uuid": None}}
    )
    rows = verdict.rows(session, earlier_cases(RESULTS / "results.db", session))
    if not rows:
        raise SuiteError(
            "no check was run; see the names and tags that `python -m reframe_tests --list` prints"
        )
    print("\n" + verdict.table(rows))
    return 0 if all(row.good for row in rows) else 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except SuiteError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
