"""Writes the settings and the empty references of a new site: `bigearth-bench site add
--name SITE`, on its login node.

Slurm is asked for its partitions and nodes (slurm.py), what to write is judged (site_plan.py), and
both files are tried in a copy of the suite, with the lint and a dry run, before they are kept.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from bigearth import cli
from bigearth.errors import InputError, one_line
from bigearth.files import new_file

from . import budget, launch, partitions, references, site_plan, sites, slurm
from .settings.common import LOGIN

ROOT = Path(__file__).resolve().parents[1]
DRY_RUN_SECONDS = 300
HEAD = '''"""{name}: written by `bigearth-bench site add`, what Slurm {version} says of itself.

{text}
"""

from .common import LOGIN, configuration

PARTITIONS = {partitions}

site_configuration = configuration(
    {{
        "name": "{name}",
        "descr": "{name}",
        "hostnames": {hostnames},
        "partitions": [LOGIN, *PARTITIONS],
    }}
)
'''


@dataclass(frozen=True)
class SiteConfig:
    name: str = cli.option(cli.REQUIRED, "the site's name: lower-case letters, digits, underscore")
    hostnames: Optional[str] = cli.option(
        None, "pattern of the host names it claims (made of this host's name if not given)"
    )


PROGRAM = cli.Program(
    module="reframe_tests.site_add",
    command="bigearth-bench site add",
    description="Write the settings and the references of a new site from what its Slurm says.",
    example="--name mysite --hostnames 'login[0-9]+'",
    exit_codes="exit codes: 0 written; 2 it could not be, and nothing was written",
)


def literal(value, indent: int = 0) -> str:
    """Python's text of dictionaries, lists, strings, numbers and truths, as ruff formats it."""
    inside = " " * (indent + 4)
    if isinstance(value, dict):
        rows = [f"{literal(k)}: {literal(v, indent + 4)}" for k, v in value.items()]
    elif isinstance(value, (list, tuple)):
        rows = [literal(item, indent + 4) for item in value]
        line = f"[{', '.join(rows)}]"
        # a dictionary's own lines are short: 60 letters are left beside indent and key
        if "\n" not in line and len(line) <= 60:
            return line
    else:
        return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
    first, last = "{}" if isinstance(value, dict) else "[]"
    return "\n".join([first, *(f"{inside}{row}," for row in rows), " " * indent + last])


def comment(plan) -> str:
    """To-dos, numbered, and what was left out, for people."""
    rows = [("", "To do:"), *((f"{i}. ", text) for i, text in enumerate(plan.todos, start=1))]
    if plan.notes:
        rows += [("", ""), ("", "Left out:"), *(("- ", text) for text in plan.notes)]
    lines = []
    for mark, text in rows:
        shown = mark + one_line(text, 2000)
        lines += textwrap.wrap(shown, 96, subsequent_indent=" " * len(mark)) or [""]
    return "\n".join(lines)


def settings(name: str, hostnames: list, plan, version: str) -> str:
    """The text of the settings file."""
    text = comment(plan).replace("\\", "/").replace('"""', "'''")
    return HEAD.format(
        name=name,
        version=version,
        text=text,
        partitions=literal(plan.partitions),
        hostnames=literal(hostnames),
    )


def check_name(name: str) -> list:
    """The two files of a site.

    Raises:
        InputError: the name cannot be one of a site, or is taken.
    """
    if not re.fullmatch("[a-z][a-z0-9_]{0,39}", name):
        raise InputError(
            f"--name is {one_line(name, 60)!r}; expected at most 40 lower-case letters, digits "
            "and underscores, a letter first; choose another"
        )
    files = [references.path_of(name), sites.settings_path(name)]
    for path in files:
        if path.exists():
            raise InputError(f"{path}: is there already; choose another --name, or edit it")
    return files


def check_hostnames(pattern: str, hosts: list) -> None:
    """Whether a pattern claims what it should.

    Raises:
        InputError: it is no regular expression, claims every host, or a host that is another
            site's.
    """
    try:
        claims = re.compile(pattern).match
    except re.error as error:
        raise InputError(
            f"--hostnames is {one_line(pattern, 60)!r}: {error}; expected a regular expression of "
            "the login nodes' names, e.g. 'login[0-9]+'"
        ) from error
    if claims("") or not pattern.isprintable():
        raise InputError(
            f"--hostnames is {one_line(pattern, 60)!r}, which claims every host; expected a "
            "pattern of the login nodes' names, e.g. 'login[0-9]+'"
        )
    other = sites.detect(hosts)
    if other != sites.FALLBACK and any(claims(host) for host in hosts):
        raise InputError(
            f"{hosts[0]}: claimed by the sites {other} and the new one; give other --hostnames, or "
            "correct those of the other"
        )


def rehearse(name: str, files: dict) -> list:
    """Tries both files where they disturb nobody: lint and dry run in a copy of the suite.

    Args:
        files: path relative to reframe_tests -> text.

    Returns:
        the checks that the site can run, as ReFrame's --describe has them.

    Raises:
        InputError: one of them fails.
    """
    with tempfile.TemporaryDirectory(prefix="site-add-") as temporary:
        copy = Path(temporary)
        package = copy / "reframe_tests"
        shutil.copytree(
            ROOT / "reframe_tests", package, ignore=shutil.ignore_patterns("__pycache__")
        )
        for folder in ("bigearth", "benchmarks", "containers", "plots"):
            (copy / folder).symlink_to(ROOT / folder)
        for path, text in files.items():
            (package / path).write_text(text)
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([temporary, os.environ.get("PYTHONPATH", "")]),
            "BIGEARTH_RESULTS": str(copy / "results"),
            "BIGEARTH_REFERENCES": str(package / "references"),
        }
        for words in (["reframe_tests.lint"], ["reframe_tests", "--dry-run"]):
            _try([sys.executable, "-m", *words, "--site", name], copy, environment)
        words = launch.command(
            site_files=[package / "settings" / f"{name}.py"],
            system=name,
            results=copy / "results",
            report=copy / "report.json",
            settings={},
            words=["-c", str(package / "checks"), "-R", "-p", "^(?!container$)"],
        )
        return launch.chosen(words, environment)


def _try(command: list, folder: Path, environment: dict) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=DRY_RUN_SECONDS,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise InputError(f"the new site could not be tried: {one_line(error)}") from error
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
        raise InputError(
            f"the new site does not pass `{' '.join(command[2:])}`, nothing was written: "
            f"{one_line(said.replace('error: ', '', 1), 400)}"
        )


def container_engine() -> Optional[str]:
    """ "Apptainer", "Singularity", or None if neither is on the PATH."""
    return next((name for name in ("Apptainer", "Singularity") if shutil.which(name.lower())), None)


def has_pmix() -> bool:
    """Whether srun says that it has PMIx; an srun that does not answer has not."""
    try:
        return slurm.has_pmix(slurm.ask(slurm.MPI_TYPES))
    except InputError:
        return False


def budgets(described: list, entries: list) -> list:
    """A line for each set of checks: what it would cost at most.

    Args:
        described: every check of the site, as ReFrame's --describe has it.
        entries: the site's partitions.
    """
    about = partitions.of_configuration([LOGIN, *entries])
    lines = []
    for tag in ("smoke", "nightly", "acceptance"):
        cases = budget.cases([check for check in described if tag in check["tags"]])
        able = [(name, check) for name, check in cases if not check.get("missing")]
        ranks = budget.largest(able, about)
        patches = budget.patches_for(ranks) if ranks else None
        lines.append(f"  {tag:10} {budget.sentence(budget.at_most(able, about), patches)}")
    return lines


def main(options: SiteConfig) -> None:
    paths = check_name(options.name)
    hosts = [socket.gethostname(), socket.getfqdn()]
    # digits count the login nodes
    pattern = options.hostnames or re.sub("[0-9]+", "[0-9]+", re.escape(hosts[0]))
    check_hostnames(pattern, hosts)
    plan = site_plan.make(
        slurm.parse_partitions(slurm.ask(slurm.SINFO)),
        slurm.parse_nodes(slurm.ask(slurm.SCONTROL)),
        engine=container_engine(),
        pmix=has_pmix(),
    )
    text = references.dump(
        references.empty(options.name),
        f"{options.name}: nothing has been measured yet; see docs/adding-a-site.md.",
    )
    version = one_line(slurm.ask(slurm.VERSION).strip().rpartition(" ")[2], 20)
    files = {
        f"references/{options.name}.yaml": text,
        f"settings/{options.name}.py": settings(options.name, [pattern], plan, version=version),
    }
    described = rehearse(options.name, files)
    for path, content in zip(paths, files.values()):
        with new_file(path, "write the site") as partial:
            partial.write_text(content)
    print(comment(plan))
    print("\n".join(["", "At most:", *budgets(described, plan.partitions)]))
    print(
        f"\nwritten: {paths[1]} and {paths[0]}\n"
        f"next: bigearth-bench run --site {options.name} --tag smoke --dry-run"
    )


if __name__ == "__main__":
    cli.main(SiteConfig, main, PROGRAM)
