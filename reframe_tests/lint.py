"""Checks the settings and references of one site or of all: `bigearth-bench lint [--site SITE]`."""

from dataclasses import dataclass
from typing import Optional

from bigearth import cli
from bigearth.errors import InputError

from . import partitions, references, sites


@dataclass(frozen=True)
class LintConfig:
    site: Optional[str] = cli.option(None, "one site only (all if not given)")


PROGRAM = cli.Program(
    module="reframe_tests.lint",
    command="bigearth-bench lint",
    description="Check the settings and references of one site or of all.",
    example="--site local",
    exit_codes="exit codes: 0 no fault; 1 faults, one line each; 2 a mistake on the command line",
)


def faults(site: str) -> list:
    """Every fault of a site's settings and references, one sentence each."""
    try:
        system = sites.system_of(site)
        content = references.load_site(system["name"])
    except InputError as error:
        return [str(error)]
    about = partitions.of_configuration(system["partitions"])
    path = references.path_of(system["name"])
    return [f"{path}: {fault}" for fault in references.lint(content, about, system["name"])]


def main(options: LintConfig) -> int:
    chosen = [options.site] if options.site else sites.names()
    found = [fault for name in chosen for fault in faults(name)]
    print("\n".join(found) if found else f"references of {', '.join(chosen)}: no fault")
    return 1 if found else 0


if __name__ == "__main__":
    cli.main(LintConfig, main, PROGRAM)
