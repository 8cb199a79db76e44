"""`python -m plots COMMAND --option value …`: see `python -m plots --help`."""

import sys
import traceback

from benchmarks import program
from bigearth.errors import InputError
from plots import figures, history, merge, report

COMMANDS = {
    "figures": (figures.FiguresConfig, figures.run, "Draws the figures from the results."),
    "report": (report.ReportConfig, report.run, "Writes the acceptance report: one HTML file, readable offline and printable."),
    "merge": (merge.MergeConfig, merge.run, "Adds the sessions of one results database to another, with lock and backup."),
    "history": (history.HistoryConfig, history.run, "Finds what changed over time; exit code 1 is a regression, 2 could not measure."),
}


def _usage() -> str:
    lines = [f"  {name:10} {description}" for name, (_, _, description) in COMMANDS.items()]
    return "\n".join(["usage: python -m plots COMMAND [options]; `python -m plots COMMAND --help` lists a command's options", *lines])


def main(argv: list) -> int:
    """Runs one command and returns the exit code: 0 done, 2 a mistake of the user's, 1 anything else (or a command's own verdict)."""
    if argv[:1] in (["--help"], ["-h"]):
        print(_usage())
        return 0
    try:
        if not argv or argv[0] not in COMMANDS:
            found = repr(argv[0]) if argv else "nothing"
            raise InputError(f"command line: expected a command ({', '.join(COMMANDS)}), found {found}; see `python -m plots --help`")
        config_class, run, description = COMMANDS[argv[0]]
        config = program.parse(config_class, argv[1:], f"python -m plots {argv[0]}", description)
        return run(config) or 0
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Exception:
        traceback.print_exc()
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
