"""What every workload program has in common: typed options, one-sentence errors, exit codes.

A program's options are the fields of a dataclass. Each can be set on the command line (`--epochs
3`) or in a Python file (`--config FILE`, which defines `config`, an instance of that dataclass);
the command line wins. Exit codes: 0 the result record is complete; 2 a mistake of the user's, said
in one sentence; 1 anything else, with its traceback.
"""

import argparse
import dataclasses
import os
import runpy
import sys
import time
import traceback
import typing

from bigearth.errors import InputError

REQUIRED = "(required)"
# a launcher may kill all ranks when the first has ended: the others give rank 0 this long to say
# why
HEARD_SECONDS = 5
# TensorFlow turns oneDNN on by itself only on CPUs with AVX-512; it is the faster choice on the
# others, too (docs/training.md)
TENSORFLOW_ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "2", "TF_ENABLE_ONEDNN_OPTS": "1"}


def option(default, help: str):
    """A dataclass field that is a command-line option; its default is `REQUIRED` if there is
    none."""
    return dataclasses.field(default=default, metadata={"help": help})


def launcher_rank() -> int:
    """This process's rank as the launcher (mpirun, srun, horovodrun) set it; 0 without one. Needs
    no MPI."""
    for name in ("OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID", "HOROVOD_RANK"):
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name])
    return 0


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise InputError(f"command line: {message}; `{self.prog} --help` lists the options")


def _argument(parser, field, kind) -> None:
    """Adds one dataclass field as an option; `Optional[X]` reads an X, `Literal` gives choices,
    `bool` gives --x / --no-x."""
    flag = "--" + field.name.replace("_", "-")
    shown = "required" if field.default is REQUIRED else f"default: {field.default}"
    keywords = {
        "help": f"{field.metadata['help']} ({shown})".replace("%", "%%"),
        "default": argparse.SUPPRESS,
        "dest": field.name,
    }
    if typing.get_origin(kind) is typing.Union:
        kind = next(k for k in typing.get_args(kind) if k is not type(None))
    if kind is bool:
        parser.add_argument(flag, action=argparse.BooleanOptionalAction, **keywords)
    elif typing.get_origin(kind) is typing.Literal:
        parser.add_argument(flag, choices=typing.get_args(kind), **keywords)
    else:
        parser.add_argument(flag, type=kind, metavar=kind.__name__.upper(), **keywords)


def _from_file(path: str, config_class):
    if not os.path.isfile(path):
        raise InputError(
            f"{path}: no such config file; expected a Python file that defines "
            "`config`; see benchmarks/configs/"
        )
    try:
        config = runpy.run_path(path).get("config")
    # the file is the user's program: whatever it raises is its own mistake
    except Exception as error:
        raise InputError(
            f"{path}: {type(error).__name__}: {error}; expected a Python file that defines "
            "`config`; `--help` lists the fields that "
            f"{config_class.__name__} has"
        ) from error
    if not isinstance(config, config_class):
        raise InputError(
            f"{path}: defines no `config = {config_class.__name__}(...)`; see benchmarks/configs/"
        )
    for name, kind in typing.get_type_hints(config_class).items():
        if not _fits(getattr(config, name), kind):
            expected = (
                getattr(kind, "__name__", None)
                if isinstance(kind, type)
                else str(kind).replace("typing.", "")
            )
            raise InputError(
                f"{path}: {name} is {getattr(config, name)!r}; expected {expected}; "
                "correct it there"
            )
    return config


def _fits(value, kind) -> bool:
    """Whether a field's value is of its declared type; a whole number will do for a float."""
    if typing.get_origin(kind) is typing.Union:
        return any(_fits(value, k) for k in typing.get_args(kind))
    if typing.get_origin(kind) is typing.Literal:
        return value in typing.get_args(kind)
    if kind is float:
        return type(value) in (int, float)
    return type(value) is kind or value is REQUIRED


def parse(config_class, argv, prog: str, description: str):
    """Reads the command line (and `--config FILE`, if the class allows it) into an instance of
    `config_class`.

    Raises:
        InputError: an unknown option, a value of the wrong type, or a required option that is
            missing.
    """
    parser = _Parser(prog=prog, description=description, allow_abbrev=False)
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="a Python file that defines `config`; options given here override it",
    )
    kinds = typing.get_type_hints(config_class)
    for field in dataclasses.fields(config_class):
        _argument(parser, field, kinds[field.name])
    given = vars(parser.parse_args(argv))
    path = given.pop("config")
    config = _from_file(path, config_class) if path else config_class()
    config = dataclasses.replace(config, **given)
    for field in dataclasses.fields(config_class):
        if getattr(config, field.name) is REQUIRED:
            parser.error(f"--{field.name.replace('_', '-')} is required: {field.metadata['help']}")
    return config


def main(config_class, run, module: str, description: str) -> None:
    """Parses the options, calls `run(config)` and ends the process with the right exit code.

    `run` may return an exit code of its own (None is 0). An InputError must be the same on every
    rank (see bigearth.errors.together): rank 0 alone prints it. Any other exception ends the
    process at once, without waiting in MPI_Finalize for ranks that will never come, so that the
    launcher stops them.
    """
    # read when TensorFlow is imported: the site's own values win
    os.environ.update({**TENSORFLOW_ENVIRONMENT, **os.environ})
    try:
        code = run(parse(config_class, sys.argv[1:], f"python -m {module}", description)) or 0
    except InputError as error:
        if launcher_rank() == 0:
            print(f"error: {error}", file=sys.stderr, flush=True)
        elif not {"mpi4py.MPI", "horovod"} & set(sys.modules):  # with MPI, its end waits for rank 0
            time.sleep(HEARD_SECONDS)
        code = 2
    except Exception:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    sys.exit(code)
