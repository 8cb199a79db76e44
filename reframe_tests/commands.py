"""The command `bigearth-bench`: one name for the programs of the suite, from any folder."""

import difflib
import runpy
import sys

import bigearth

# name: the module that runs it, words that come before the user's, what `--help` says
COMMANDS = {
    "run": ("reframe_tests", [], "run the checks at a site and print the verdicts"),
    "list": ("reframe_tests", ["--list"], "list the checks of a site"),
    "figures": ("plots", ["figures"], "draw the figures from the results"),
    "report": ("plots", ["report"], "write the acceptance report, one HTML file"),
    "history": ("plots", ["history"], "find what changed over time"),
    "calibrate": ("reframe_tests.calibrate", [], "propose references from measured runs"),
    "lint": ("reframe_tests.lint", [], "check the references of a site"),
    "doctor": ("reframe_tests.doctor", [], "print what this machine and environment have"),
    "new-site": ("reframe_tests.new_site", [], "write a site's settings from what Slurm says"),
}


def usage() -> str:
    rows = [f"  {name:10} {text}" for name, (_, _, text) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: bigearth-bench COMMAND [options]",
            "",
            *rows,
            "",
            "`bigearth-bench COMMAND --help` lists a command's options.",
        ]
    )


def main() -> int:
    """Runs one command; it ends the process with its own exit code.

    Returns:
        0 after --help or --version, 2 if there is no such command.
    """
    words = sys.argv[1:]
    if words[:1] in (["-h"], ["--help"]):
        print(usage())
        return 0
    if words[:1] == ["--version"]:
        print(f"bigearth-bench {bigearth.VERSION}")
        return 0
    if not words or words[0] not in COMMANDS:
        close = difflib.get_close_matches(words[0], COMMANDS, 1) if words else []
        hint = f"did you mean {close[0]}? " if close else ""
        found = repr(words[0][:60]) if words else "nothing"
        print(
            f"error: command line: expected a command, found {found}; "
            f"{hint}`bigearth-bench --help` lists them",
            file=sys.stderr,
        )
        return 2
    module, before, _ = COMMANDS[words[0]]
    sys.argv = [f"bigearth-bench {words[0]}", *before, *words[1:]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    return 0
