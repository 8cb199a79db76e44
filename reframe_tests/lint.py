"""Checks the references of one site or of all: `python -m reframe_tests.lint [--site SITE]`. Exit
code 1 if there is any fault."""

import argparse
import sys

from . import references, sites
from .references import SuiteError


def faults(site: str) -> list:
    """Every fault of a site's settings and references, one sentence each."""
    try:
        system = sites.system_of(site)
        path = references.path_of(system["name"])
        return [
            f"{path}: {fault}"
            for fault in references.lint(
                references.load(path), sites.partitions(system), system["name"]
            )
        ]
    except SuiteError as error:
        return [str(error)]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m reframe_tests.lint", description=__doc__)
    parser.add_argument("--site", help="one site only (default: all)")
    site = parser.parse_args().site
    chosen = [site] if site else sites.names()
    found = [fault for name in chosen for fault in faults(name)]
    print("\n".join(found) if found else f"references of {', '.join(chosen)}: no fault")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
