"""Runs the suite at a site and prints the verdicts: `bigearth-bench run --site local --tag smoke`.

A thin launcher: it checks the references, calls ReFrame with the right settings, and prints a table
from ReFrame's report. Options it does not know go to ReFrame as they are (`-n`, `-S`, `-x`,
`--distribute`, `--max-retries`, ...).
"""

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional

from bigearth import cli
from bigearth.errors import InputError

from . import budget, launch, partitions, quoting

ROOT = Path(__file__).resolve().parents[1]


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
    max_node_hours: float = cli.option(
        1000.0, "ask before more than this is submitted, at the jobs' time limits", least=0
    )
    list: bool = cli.option(False, "list the checks and end")
    dry_run: bool = cli.option(False, "write the job scripts, submit nothing")
    json: bool = cli.option(False, "end with the verdicts as one line of JSON")


PROGRAM = cli.Program(
    module="reframe_tests",
    command="bigearth-bench run",
    description="Run the checks at a site and print the verdicts. Options that are not listed here "
    "go to ReFrame.",
    example="--site local --tag smoke",
    exit_codes="exit codes: 0 all passed; 1 a regression or a failed check; 2 it could not run",
    passes_on=True,
)


def options_for_reframe(options: RunConfig, passed_on: list, system: dict) -> list:
    """The words that choose checks and say what to do with them."""
    words = [word for tag in options.tag for word in ("--tag", f"^{tag}$")]
    names = {name for p in system["partitions"] for name in p["environs"]}
    if "container" in names and names != {"container"} and "-p" not in passed_on:
        words += ["-p", "^container$" if options.image else "^(?!container$)"]
    if any(word.startswith("--distribute") for word in passed_on):
        words += ["-S", "after_preflight=0"]  # ReFrame cannot spread a check's dependencies
    about = partitions.of_configuration(system["partitions"])
    workers = [p for p in system["partitions"] if "compute" in about[p["name"]].features]
    if all(p["scheduler"] == "local" and p.get("max_jobs") != 1 for p in workers):
        words += ["--exec-policy=serial"]  # measurements never beside each other on one node
    return [*words, *passed_on]


def action(options: RunConfig, passed_on: list) -> list:
    if launch.only_shows(passed_on):
        return []
    if options.list:
        return ["--list", *([] if "-E" in passed_on else ["-E", "not missing"])]
    return ["--dry-run", "--keep-stage-files"] if options.dry_run else ["--run"]


def settings_of(options: RunConfig) -> dict:
    """Variables of the checks that the launcher's own options set."""
    given = {"hdf5_file.data": options.data, "image": options.image}
    for name in ("data", "image"):
        path = getattr(options, name)
        if path and ("/" in path or Path(path).is_file()) and not Path(path).is_absolute():
            given = {k: str(Path(v).absolute()) if v == path else v for k, v in given.items()}
    return {name: value for name, value in given.items() if value}


def refuse_or_ask(options: RunConfig, described: list, system: dict, passed_on: list) -> dict:
    """Looks at what would be submitted, says what it costs and asks if that is much.

    Returns:
        further settings: how many synthetic patches are needed.

    Raises:
        InputError: nothing can be run, or it is too much and nobody is there to ask.
    """
    about = partitions.of_configuration(system["partitions"])
    wanted = launch.value_of(passed_on, "--system") or ""
    chosen = budget.cases(described, tuple(filter(None, [wanted.partition(":")[2]])))
    missing = sorted({check["missing"] for _, check in chosen if check.get("missing")})
    able = [case for case in chosen if not case[1].get("missing")]
    # the preflight comes along with what depends on it
    if not able or (missing and all(check.get("check") == "preflight" for _, check in able)):
        why = "; ".join(missing) or "see the names and tags that `bigearth-bench list` prints"
        raise InputError(f"no check was run: {why}")
    runs = 1 + int(launch.value_of(passed_on, "--reruns") or 0)
    patches = None
    ranks = budget.largest(able, about)
    extras = [about[name].extras for name, _ in able]
    if ranks and not options.data and not any("patches" in e for e in extras):
        patches = budget.patches_for(ranks, max(e.get("batch_size", 0) for e in extras))
    cost = budget.at_most(able, about, runs)
    if cost["node_hours"]:
        print(f"to be submitted: {budget.sentence(cost, patches)}", flush=True)
    if cost["node_hours"] > options.max_node_hours:
        ask(cost, options.max_node_hours)
    return {"hdf5_file.patches": patches} if patches else {}


def ask(cost: dict, limit: float) -> None:
    """Goes on only if the user says so."""
    much = f"{cost['node_hours']:.0f} node-hours are more than --max-node-hours {limit:g}"
    if not sys.stdin.isatty():
        raise InputError(f"{much}; nothing is submitted; choose fewer checks, or raise the limit")
    if input(f"{much}; submit all the same? [y/N] ").strip().lower() not in ("y", "yes"):
        raise InputError(f"{much}; nothing is submitted")


def check_references(system: dict) -> None:
    from . import references

    content = references.load_site(system["name"])
    about = partitions.of_configuration(system["partitions"])
    faults = references.lint(content, about, system["name"])
    if faults:
        path = references.path_of(system["name"])
        lines = [f"{len(faults)} fault(s) in the references; nothing is run"]
        raise InputError("\n       ".join([*lines, *(f"{path}: {fault}" for fault in faults)]))


def post_mortem(rows: list, again: list) -> list:
    """A line for each case that failed: its node, its files, and the command that repeats it.

    Args:
        again: the words of that command, without the case.
    """
    failed = {}
    for row in rows:
        if not row.good and row.case.jobid:
            failed.setdefault((row.case.name, row.case.jobid), row.case)
    return [
        f"{case.name}: job {case.jobid} on {', '.join(case.nodelist) or 'an unknown node'}; files: "
        f"{case.output}; messages: {case.stderr or 'rfm_job.err'}; again: "
        f"{' '.join(quoting.words([*again, '-n', f'/{case.hash}']))}"
        for case in failed.values()
    ]


def write_sign_off(rows: list, cases: list, results: Path) -> str:
    """Writes the page that an acceptance is signed on; returns the sentence that says where."""
    from .results import alarms, export, history, runs, signoff

    if not any(signoff.asked_for(case.command) for case in cases):
        return ""
    # what the history says regressed is failed here as it is in the report
    try:
        known = alarms.read_acknowledgements(alarms.acknowledgements(results))
        judged = history.judgement(runs.load(str(results)).cases, known)
    except InputError as error:
        return f"sign-off: not made: {error}"
    sessions = {case.session for case in cases}
    with_history = [row for row in judged.rows if row.case.session in sessions]
    page = signoff.sign_off(with_history or rows, cases)
    path = results / "sign-off.md"
    export.write_text(path, signoff.markdown(page))
    return f"sign-off: {page.headline}; the page to sign: {path}"


def judge(report: Path, results: Path, *, again: list, seconds: float, as_json: bool) -> int:
    """Prints the verdicts of a session; returns the exit code."""
    from .results import sessions, spread, verdict

    if not report.is_file():
        raise InputError("no check was run; ReFrame's messages are above")
    cases = sessions.of_report(report)
    rows = verdict.rows(cases, sessions.before(results / "results.db", cases))
    if not rows:
        raise InputError(
            "no check was run; see the names and tags that `bigearth-bench list` prints"
        )
    colour = verdict.wants_colour(sys.stdout)
    page = launch.write_report(results)
    print("\n" + verdict.screen(rows, report=page, seconds=seconds, colour=colour))
    for sentence in [*post_mortem(rows, again), *spread.sentences(rows)]:
        print(f"   {sentence}")
    signed = write_sign_off(rows, cases, results)
    if signed:
        print(f"   {signed}")
    last = verdict.as_json if as_json else verdict.line
    print(last(rows, str(report)))
    return 0 if all(row.good for row in rows) else 1


def main(options: RunConfig, passed_on: list) -> int:
    """Runs the suite; returns the exit code."""
    began = time.monotonic()
    if options.results:
        os.environ["BIGEARTH_RESULTS"] = str(Path(options.results).absolute())
    from . import images, sites  # the settings read BIGEARTH_RESULTS as they are imported
    from .settings.common import RESULTS

    site = options.site or sites.detect()
    system = sites.system_of(site, launch.value_of(passed_on, "--system"))
    shows = options.list or options.dry_run or launch.only_shows(passed_on)
    report = RESULTS / "reports" / f"run-{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}.json"
    environment, dropped = launch.environment(RESULTS)
    if dropped:
        print(f"not used here: {', '.join(dropped)} of your environment", file=sys.stderr)
    words = options_for_reframe(options, passed_on, system)
    words = launch.restored(words, RESULTS / "reports")

    def command(settings: dict, more: list) -> list:
        return launch.command(
            site_files=sites.files(site),
            system=system["name"],
            results=RESULTS,
            report=report,
            settings=settings,
            words=[*more, *words],
        )

    settings = settings_of(options)
    if shows:
        code, skipped = launch.run(
            command(settings, action(options, passed_on)), environment, RESULTS
        )
    else:
        check_references(system)
        sites.check_scheduler(system)
        if options.image:
            images.check(options.image, system)
        else:
            images.check_native(sites.configuration(site)["environments"])
        with launch.lock(RESULTS):
            restores = any(word.startswith("--restore-session") for word in words)
            if not restores:
                described = launch.chosen(command(settings, []), environment)
                settings.update(refuse_or_ask(options, described, system, passed_on=passed_on))
            code, skipped = launch.run(command(settings, ["--run"]), environment, RESULTS)
    if skipped:
        raise InputError(f"ReFrame left out checks that it could not load: {'; '.join(skipped)}")
    if not shows:
        again = ["bigearth-bench", "run", "--site", site, "--results", str(RESULTS)]
        seconds = time.monotonic() - began
        return judge(report, RESULTS, again=again, seconds=seconds, as_json=options.json)
    if code:
        raise InputError("ReFrame could not do it; its messages are above")
    return 0


if __name__ == "__main__":
    cli.main(RunConfig, main, PROGRAM)
