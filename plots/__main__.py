"""`python -m plots COMMAND --option value …`: see `python -m plots --help`."""

import importlib
import sys
import traceback

import bigearth
from bigearth import cli
from bigearth.errors import InputError

# command -> (the module of this package that has its `Config` and `run`, what it does); only the
# one asked for is imported
COMMANDS = {
    "figures": ("figures", "Draws the figures from the results."),
    "report": ("report", "Writes the acceptance report: one HTML file, readable offline."),
    "publish": ("site.publish", "Builds a static site from the history, for tracking in CI."),
    "history": ("tracking", "Finds what changed; exit code 1 is a regression, 2 not measured."),
}


def _usage() -> str:
    lines = [f"  {name:10} {description}" for name, (_, description) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: python -m plots COMMAND [options]; `python -m plots COMMAND --help` "
            "lists a command's options",
            *lines,
        ]
    )


def main(argv: list) -> int:
    """Runs one command and returns the exit code: 0 done, 2 a mistake of the user's, 1 anything
    else (or a command's own verdict)."""
    if argv[:1] in (["--help"], ["-h"]):
        print(_usage())
        return 0
    if argv[:1] == ["--version"]:
        print(f"bigearth-bench {bigearth.VERSION}")
        return 0
    try:
        if not argv or argv[0] not in COMMANDS:
            found = repr(argv[0]) if argv else "nothing"
            raise InputError(
                f"command line: expected a command ({', '.join(COMMANDS)}), found "
                f"{found}; see `python -m plots --help`"
            )
        module, description = COMMANDS[argv[0]]
        command = importlib.import_module(f"plots.{module}")
        config = cli.parse(
            command.Config,
            argv[1:],
            cli.Program("plots", description, command=f"python -m plots {argv[0]}"),
        )
        return command.run(config) or 0
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Exception:
        traceback.print_exc()
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
