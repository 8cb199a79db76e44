"""Starts ReFrame for the suite: its command line, its environment, its end."""

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Optional

from bigearth import files
from bigearth.errors import InputError, one_line

from .follow import Follower
from .results.verdict import wants_colour

ROOT = Path(__file__).resolve().parents[1]
CHECKS = ROOT / "reframe_tests" / "checks"
# what ReFrame does instead of running checks
SHOWS = (
    "-l",
    "-L",
    "--list",
    "--list-detailed",
    "--list-tags",
    "--describe",
    "--dry-run",
    "--ci-generate",
    "--show-config",
    "--detect-host-topology",
    "--list-stored-sessions",
    "--list-stored-testcases",
    "--describe-stored-sessions",
    "--describe-stored-testcases",
    "--delete-stored-sessions",
    "--performance-compare",
)
# a user's settings that this run keeps: where ReFrame is and how it looks
KEPT = ("RFM_INSTALL_PREFIX", "RFM_COLORIZE", "RFM_VERBOSE", "RFM_REMOTE_WORKDIR")
PATIENCE = 60  # seconds that ReFrame has to cancel its jobs when a signal ends it


def only_shows(words: list) -> bool:
    """Whether ReFrame's options ask for something else than a run."""
    return any(word.split("=")[0] in SHOWS for word in words)


def value_of(words: list, option: str) -> Optional[str]:
    """An option's last value on ReFrame's command line."""
    found = None
    for word, following in zip(words, [*words[1:], None]):
        name, sign, value = word.partition("=")
        if name == option:
            found = value if sign else following
    return found


def environment(results: Path) -> tuple:
    """The environment that ReFrame gets, and the names of the user's settings that are left out:
    they would send the results elsewhere."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RFM_") or k in KEPT}
    dropped = sorted(set(os.environ) - set(kept) - {"RFM_CONFIG_FILES"})
    ours = {
        "RFM_GENERATE_FILE_REPORTS": "1",
        "RFM_ENABLE_RESULTS_STORAGE": "1",
        "RFM_SQLITE_DB_FILE": str(results / "results.db"),
        # of a restored session, ReFrame loads the checks by their modules' names
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), kept.get("PYTHONPATH")])),
    }
    colour = {"RFM_COLORIZE": "y" if wants_colour(sys.stdout) else "n"}
    return {**colour, **kept, **ours}, dropped


def command(
    site_files: list, system: str, results: Path, report: Path, settings: dict, words: list
) -> list:
    """The ReFrame command line.

    Args:
        settings: variable of a check -> value.
        words: further options.
    """
    configuration = [word for path in site_files for word in ("-C", str(path))]
    if not value_of(words, "--system"):
        configuration.append(f"--system={system}")
    places = [f"--prefix={results}", f"--report-file={report}", f"--perflogdir={results}/perflogs"]
    variables = [word for name, value in settings.items() for word in ("-S", f"{name}={value}")]
    checks = [] if {"-c", "--checkpath"} & set(words) else ["-c", str(CHECKS), "-R"]
    return [reframe(), *configuration, *places, *checks, *variables, *words]


def reframe() -> str:
    """ReFrame's own command: the one beside this Python, else the first on the PATH."""
    places = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    found = shutil.which("reframe", path=os.pathsep.join(places))
    if not found:
        raise InputError(
            "there is no `reframe` beside this Python or on the PATH; run `pip install -e .`, or "
            "load the site's module"
        )
    return found


def restored(words: list, reports: Path) -> list:
    """The same words, with the newest report where `--restore-session` names none.

    Raises:
        InputError: there is no report.
    """
    if "--restore-session" not in words:
        return words
    place = words.index("--restore-session")
    following = words[place + 1 : place + 2]
    if following and not following[0].startswith("-"):
        return words
    found = sorted(reports.glob("run-*.json"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise InputError(f"--restore-session: no session in {reports}; give its results folder")
    return [*words[:place], f"--restore-session={found[-1]}", *words[place + 1 :]]


def run(words: list, variables: dict, results: Path) -> tuple:
    """Runs ReFrame and shows what it prints and how far its job is. A signal that ends this process
    ends ReFrame first, which cancels its jobs.

    Args:
        variables: the environment.
        results: folder of ReFrame's stage.

    Returns:
        its exit code, and what made it leave out test files: those warnings do not fail a run.

    Raises:
        InputError: it ended with another exit code than 0 and 1.
    """
    skipped = []
    process = subprocess.Popen(
        words,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    with process, _ending(process), Follower(results) as follower:
        for line in process.stdout:
            follower.print(line)
            if "skipping test" in line:
                skipped.append(line.strip())
    if process.returncode not in (0, 1):
        raise InputError(
            f"ReFrame ended with exit code {process.returncode}; its messages are above"
        )
    return process.returncode, skipped


@contextlib.contextmanager
def _ending(process):
    """While it lasts, a signal interrupts `process`, waits for it and ends this one."""

    def end(number, _frame):
        sessions = _sessions_under(process.pid)
        process.send_signal(signal.SIGINT)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        # ReFrame ends the job's process group; a killed mpirun leaves ranks in groups of their own
        for pid, _, session in _processes():
            if session in sessions:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
        sys.exit(128 + number)

    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _processes():
    """(pid, parent, session) of every process that /proc shows."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has just ended
            words = path.read_text(errors="replace").rpartition(")")[2].split()
            yield int(path.parent.name), int(words[1]), int(words[3])


def _sessions_under(pid: int) -> set:
    """Sessions of a process's descendants: ReFrame gives each local job one of its own."""
    rows, family, before = list(_processes()), {pid}, 0
    while len(family) > before:
        before = len(family)
        family |= {child for child, parent, _ in rows if parent in family}
    return {session for child, _, session in rows if child in family}


def write_report(results: Path) -> str:
    """Writes the report of all sessions; returns its path, or why there is none."""
    missing = [name for name in ("jinja2", "matplotlib") if not importlib.util.find_spec(name)]
    if missing:
        return f"not made: {', '.join(missing)} not installed; `pip install -e .` brings it along"
    out = results / "report.html"
    words = ["report", "--results", str(results), "--out", str(out)]
    done = subprocess.run(
        [sys.executable, "-m", "plots", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return f"not made: {one_line(said)}"
    return os.path.relpath(out) if out.is_relative_to(Path.cwd()) else str(out)


def chosen(words: list, variables: dict) -> list:
    """The checks that a command line selects, each a dictionary of its variables (ReFrame's
    --describe)."""
    done = subprocess.run(
        [*words, "--describe"], env=variables, capture_output=True, text=True, errors="replace"
    )
    start = done.stdout.find("[\n")
    try:
        found, _ = json.JSONDecoder().raw_decode(done.stdout[start:] if start >= 0 else "")
    except ValueError:
        if done.returncode == 0 and "[]" in done.stdout:
            return []
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        why = next((line for line in said if "ERROR" in line or "error:" in line), said[-1:])
        raise InputError(f"ReFrame cannot load the checks: {one_line(why)}") from None
    return found


@contextlib.contextmanager
def lock(folder: Path):
    """Keeps a second session out of a results folder.

    Raises:
        InputError: another session holds it, or its name cannot stand in a job script.
    """
    strange = sorted(set(str(folder)) & set('"$`\\:,\n'))
    if strange:
        raise InputError(
            f"--results {one_line(folder)}: job scripts cannot have {one_line(''.join(strange))} "
            "in this name; choose another folder"
        )
    with files.lock(folder, "session"):
        yield
