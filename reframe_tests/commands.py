"""The command `bigearth-bench`: finds the program of a subcommand and hands the rest over.

Nothing is imported before the subcommand is known, so that `--help` answers at once. Each program
also runs alone, as `python -m MODULE`.
"""

import difflib
import importlib.util
import runpy
import sys

import bigearth

# subcommand -> (module, words put before the user's, one line)
COMMANDS = {
    "run": ("reframe_tests", (), "run the checks at a site and print the verdicts"),
    "list": ("reframe_tests", ("--list",), "list the checks that a site can run"),
    "report": ("plots", ("report",), "write the acceptance report, one HTML file"),
    "figures": ("plots", ("figures",), "draw the figures from the results"),
    "history": ("plots", ("history",), "find what changed over time"),
    "publish": ("plots", ("publish",), "build a static site from the history"),
    "predict": ("benchmarks.predict", (), "predict a result from a machine's microbenchmarks"),
    "calibrate": ("reframe_tests.calibrate", (), "propose references from what was measured"),
    "lint": ("reframe_tests.lint", (), "check settings and references of the sites"),
    "site add": ("reframe_tests.site_add", (), "write the settings of a new site from its Slurm"),
    "clean": ("reframe_tests.clean", (), "remove what old runs left on the disk"),
    "doctor": ("reframe_tests.doctor", (), "print what this machine and environment have"),
}


def known() -> dict:
    """The subcommands whose programs are installed."""
    return {name: row for name, row in COMMANDS.items() if _is_there(row[0])}


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def usage() -> str:
    lines = [f"  {name:10} {line}" for name, (_, _, line) in known().items()]
    head = "usage: bigearth-bench COMMAND [options]"
    tail = "`bigearth-bench COMMAND --help` lists the options of a command."
    return "\n".join([head, "", *lines, "", tail])


def find(words: list) -> tuple:
    """(module, arguments) of a command line; (None, sentence) if there is no such command."""
    commands = known()
    for length in (2, 1):
        name = " ".join(words[:length])
        if name in commands:
            module, before, _ = commands[name]
            return module, [*before, *words[length:]]
    given = " ".join(words[:1])
    close = difflib.get_close_matches(given, commands, 1)
    more = [name for name in commands if name.startswith(f"{given} ")]
    meant = next(iter(more + close), None)
    hint = f"; did you mean `bigearth-bench {meant}`?" if meant else ""
    return None, (
        f"command line: unknown command {given[:60]!r}{hint or '; expected one of '}"
        f"{'' if hint else ', '.join(commands)}"
    )


def main() -> int:
    """The entry point. Returns an exit code for what has no program of its own."""
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help"):
        print(usage())
        return 0 if words else 2
    if words[0] == "--version":
        print(f"bigearth-bench {bigearth.VERSION}")
        return 0
    module, rest = find(words)
    if module is None:
        print(f"error: {rest}; see `bigearth-bench --help`", file=sys.stderr)
        return 2
    sys.argv = [f"bigearth-bench {words[0]}", *rest]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
