"""The one way a program takes options, reports a mistake and ends.

A program's options are the fields of a dataclass; each field declares its default, help, limits,
choices, group, and what it means for comparing and resuming runs. An option can be set on the
command line (`--epochs 3`) or in a recipe (`--config NAME` or `--config FILE.py`, which defines
`config`, an instance of that dataclass); the command line wins.
"""

import argparse
import dataclasses
import difflib
import math
import os
import re
import runpy
import sys
import time
import traceback
import typing
from pathlib import Path
from typing import NamedTuple, Optional

import bigearth
from bigearth import launcher
from bigearth.errors import InputError, one_line

REQUIRED = "(required)"
# a launcher may kill all ranks when the first has ended: the others give rank 0 this long to speak
HEARD_SECONDS = 5
# TensorFlow turns oneDNN on by itself only on CPUs with AVX-512; it is the faster choice on the
# others, too (docs/training.md)
TENSORFLOW_ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "2", "TF_ENABLE_ONEDNN_OPTS": "1"}
EXIT_CODES = (
    "exit codes: 0 done; 1 an error of the program, with its traceback; 2 a mistake in the input"
)


class Program(NamedTuple):
    """What a program says of itself.

    Attributes:
        module: e.g. "benchmarks.train".
        description: one sentence.
        example: a command line that works, without `python -m MODULE`.
        exit_codes: sentence for the end of `--help`.
        recipes: folder in which `--config NAME` finds NAME.py; None: the program has no `--config`.
        command: how it is called, if not by `python -m MODULE`.
        passes_on: words that are no options of ours are handed to `run(config, words)`.
    """

    module: str
    description: str
    example: str = ""
    exit_codes: str = EXIT_CODES
    recipes: Optional[Path] = None
    command: str = ""
    passes_on: bool = False

    @property
    def name(self) -> str:
        return self.command or f"python -m {self.module}"


def option(
    default,
    help: str,
    least: Optional[float] = None,
    most: Optional[float] = None,
    group: str = "options",
    repeats: bool = False,
    resumes: bool = False,
):
    """A dataclass field that is a command-line option.

    Its type gives the choices (`Literal`), a switch with --no-x (`bool`), an option that may be
    missing (`Optional`) or given several times (`List[str]`).

    Args:
        default: its value if it is not given; `REQUIRED` if it must be.
        least, most: limits of a number, both allowed values.
        group: heading under which `--help` lists it.
        repeats: runs that differ only in this option are repetitions of each other.
        resumes: the option may change when a run resumes from its checkpoint.
    """
    about = dict(help=help, least=least, most=most, group=group, repeats=repeats, resumes=resumes)
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: list(default), metadata=about)
    return dataclasses.field(default=default, metadata=about)


def repeats(config_class) -> tuple:
    """Names of the options in which repetitions of one run may differ."""
    return _names(config_class, "repeats")


def resumes(config_class) -> tuple:
    """Names of the options that may change when a run resumes."""
    return _names(config_class, "resumes")


def _names(config_class, key: str) -> tuple:
    return tuple(f.name for f in dataclasses.fields(config_class) if f.metadata.get(key))


def flag(name: str) -> str:
    """The option of a field, e.g. "--batch-size" of "batch_size"."""
    return "--" + name.replace("_", "-")


class _Parser(argparse.ArgumentParser):
    """Complains with an InputError, and names the option that a mistyped one is close to."""

    def error(self, message):
        raise InputError(
            f"command line: {one_line(message)}; `{self.prog} --help` lists the options"
        )

    def unknown(self, words: list):
        flags = [flag for action in self._actions for flag in action.option_strings]
        given = [word for word in words if word.startswith("-")]
        hints = [difflib.get_close_matches(word.split("=")[0], flags, 1) for word in given]
        meant = next((f"; did you mean {found[0]}?" for found in hints if found), "")
        self.error(f"unrecognized arguments: {' '.join(words)}{meant}")


def _parser(config_class, program: Program) -> _Parser:
    example = f"example:\n  {program.name} {program.example}\n\n" if program.example else ""
    parser = _Parser(
        prog=program.name,
        description=program.description,
        epilog=example + program.exit_codes,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"bigearth-bench {bigearth.VERSION}")
    if program.recipes:
        names = ", ".join(sorted(p.stem for p in program.recipes.glob("[a-z]*.py")))
        text = f"a recipe ({names}), or a Python file that defines `config`; options override it"
        parser.add_argument("--config", metavar="NAME", help=text)
    groups, kinds = {}, typing.get_type_hints(config_class)
    for field in dataclasses.fields(config_class):
        title = field.metadata["group"]
        if title not in groups:
            groups[title] = parser.add_argument_group(title)
        _argument(groups[title], field, kinds[field.name])
    return parser


def _argument(group, field, kind) -> None:
    """Adds one dataclass field as an option."""
    default = _default(field)
    shown = "required" if default is REQUIRED else f"default: {default}"
    limits = _limits(field)
    keywords = {
        "help": f"{field.metadata['help']} ({limits}{shown})".replace("%", "%%"),
        "default": argparse.SUPPRESS,
        "dest": field.name,
    }
    kind = _inner(kind)
    if kind is bool:
        keywords["action"] = argparse.BooleanOptionalAction
    elif typing.get_origin(kind) is typing.Literal:
        keywords["choices"] = typing.get_args(kind)
    elif typing.get_origin(kind) is list:
        keywords.update(action="append", metavar="TEXT")
    else:
        convert = {int: _whole, float: _real}.get(kind, kind)
        keywords.update(type=convert, metavar=kind.__name__.upper())
    group.add_argument(flag(field.name), **keywords)


def _default(field):
    if field.default is not dataclasses.MISSING:
        return field.default
    return field.default_factory()


def _inner(kind):
    """X of Optional[X]."""
    if typing.get_origin(kind) is typing.Union:
        return next(k for k in typing.get_args(kind) if k is not type(None))
    return kind


def _whole(text: str) -> int:
    if not re.fullmatch("[+-]?[0-9]+", text):  # int() takes "1_000" and digits of any script
        raise argparse.ArgumentTypeError(f"invalid int value: {text[:60]!r}")
    return int(text)


def _real(text: str) -> float:
    if not text.isascii() or "_" in text:
        raise argparse.ArgumentTypeError(f"invalid float value: {text[:60]!r}")
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"invalid float value: {text[:60]!r}") from None


def _limits(field) -> str:
    least, most = field.metadata["least"], field.metadata["most"]
    if least is None and most is None:
        return ""
    if most is None:
        return f"at least {least}; "
    return f"at most {most}; " if least is None else f"{least} to {most}; "


def check(config) -> None:
    """Refuses values outside the limits that the fields declare.

    Raises:
        InputError: names the option.
    """
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        limits = _limits(field)
        if value is None or not limits:
            continue
        low = -math.inf if field.metadata["least"] is None else field.metadata["least"]
        high = math.inf if field.metadata["most"] is None else field.metadata["most"]
        if not (low <= value <= high and math.isfinite(value)):
            raise InputError(
                f"command line: {flag(field.name)} is {value}; expected {limits.rstrip('; ')}; "
                "correct the option or the recipe"
            )


def _recipe(name: str, folder: Path) -> Path:
    """The file of a recipe that is given by its name or its path."""
    path = Path(name)
    if re.fullmatch(r"[a-z][a-z0-9_]*", name) and (folder / f"{name}.py").is_file():
        return folder / f"{name}.py"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in folder.glob("[a-z]*.py")))
        raise InputError(
            f"{name}: no such config file; expected one of {known}, or a Python file that defines "
            f"`config`; see {folder}"
        )
    return path


def _from_file(path: Path, config_class):
    try:
        config = runpy.run_path(os.fspath(path)).get("config")
    except (Exception, SystemExit) as error:  # the file is the user's program: its own mistake
        raise InputError(
            f"{path}: {type(error).__name__}: {one_line(error)}; expected a Python file that "
            f"defines `config`; `--help` lists the fields that {config_class.__name__} has"
        ) from error
    if not isinstance(config, config_class):
        raise InputError(
            f"{path}: defines no `config = {config_class.__name__}(...)`; see the recipes that "
            "`--help` names"
        )
    for name, kind in typing.get_type_hints(config_class).items():
        if not _fits(getattr(config, name), kind):
            plain = isinstance(kind, type)
            expected = kind.__name__ if plain else str(kind).replace("typing.", "")
            value = getattr(config, name)
            raise InputError(f"{path}: {name} is {value!r}; expected {expected}; correct it there")
    return config


def _fits(value, kind) -> bool:
    """Whether a field's value is of its declared type; a whole number will do for a float."""
    if typing.get_origin(kind) is typing.Union:
        return any(_fits(value, k) for k in typing.get_args(kind))
    if typing.get_origin(kind) is typing.Literal:
        return value in typing.get_args(kind)
    if typing.get_origin(kind) is list:
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    if kind is float:
        return type(value) in (int, float)
    return type(value) is kind or value is REQUIRED


def parse(config_class, argv: list, program: Program):
    """Reads the command line (and the recipe, if the program has any).

    Returns:
        an instance of `config_class`; with `program.passes_on`, a pair: that, and the words that
        are not ours.

    Raises:
        InputError: an unknown option, a value of the wrong type or outside its limits, or a
            required option that is missing.
    """
    parser = _parser(config_class, program)
    known, rest = parser.parse_known_args(argv)
    if rest and not program.passes_on:
        parser.unknown(rest)
    given = vars(known)
    name = given.pop("config", None)
    config = _from_file(_recipe(name, program.recipes), config_class) if name else config_class()
    config = dataclasses.replace(config, **given)
    for field in dataclasses.fields(config_class):
        if getattr(config, field.name) is REQUIRED:
            parser.error(f"{flag(field.name)} is required: {field.metadata['help']}")
    check(config)
    return (config, rest) if program.passes_on else config


def main(config_class, run, program: Program, argv: Optional[list] = None) -> None:
    """Parses the options, calls `run(config)` and ends the process with the right exit code.

    `run` may return an exit code of its own (None is 0). An InputError must be the same on every
    rank (see bigearth.errors.together): rank 0 alone prints it. Any other exception ends the
    process at once, without waiting in MPI_Finalize for ranks that will never come, so that the
    launcher stops them.

    Args:
        argv: the command line without the program's name; by default the process's own.
    """
    # read when TensorFlow is imported: the site's own values win
    os.environ.update({**TENSORFLOW_ENVIRONMENT, **os.environ})
    try:
        parsed = parse(config_class, sys.argv[1:] if argv is None else argv, program)
        code = (run(*parsed) if program.passes_on else run(parsed)) or 0
        sys.stdout.flush()
    except InputError as error:
        code = _report(error)
    except BrokenPipeError:  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except KeyboardInterrupt:
        code = 130
    except Exception:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    sys.exit(code)


def _report(error: InputError) -> int:
    if launcher.rank() == 0:
        print(f"error: {error}", file=sys.stderr, flush=True)
    elif not {"mpi4py.MPI", "horovod"} & set(sys.modules):  # with MPI, its end waits for rank 0
        time.sleep(HEARD_SECONDS)
    return 2
