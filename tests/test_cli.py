"""bigearth/cli.py: options from a dataclass, a config file and the command line; errors as
one sentence."""

import dataclasses
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Literal, Optional

import pytest

from bigearth.cli import REQUIRED, Program, option, parse, repeats, resumes
from bigearth.errors import InputError


@dataclasses.dataclass
class Config:
    data: str = option(REQUIRED, "the file", group="inputs", repeats=True, resumes=True)
    epochs: int = option(3, "how many", least=0, most=1000)
    rate: Optional[float] = option(None, "learning rate")
    bands: Literal["rgb", "multispectral"] = option("multispectral", "input bands")
    mixup: bool = option(False, "mix-up")


RECIPES = Path(__file__).resolve().parents[1] / "benchmarks" / "configs"
PROGRAM_ABOUT = Program(
    module="example", description="An example.", example="--data x.h5", recipes=RECIPES
)


def read(*argv):
    return parse(Config, list(argv), PROGRAM_ABOUT)


@pytest.fixture
def config_file(tmp_path):
    def write(text):
        path = tmp_path / "config.py"
        path.write_text(f"from {__name__} import Config\n{text}\n" if "Config" in text else text)
        sys.modules[__name__] = sys.modules[Config.__module__]
        return str(path)

    return write


def test_defaults_and_command_line():
    assert read("--data", "x.h5") == Config(data="x.h5")
    given = read("--data", "x.h5", "--epochs", "5", "--rate", "1e-3", "--bands", "rgb", "--mixup")
    assert given == Config("x.h5", 5, 1e-3, "rgb", True)


def test_command_line_overrides_the_config_file(config_file):
    path = config_file("config = Config(data='a.h5', epochs=7, mixup=True)")
    assert read("--config", path, "--epochs", "9", "--no-mixup") == Config("a.h5", 9)


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (
            ["--data", "x", "--epoch", "3"],
            "unrecognized arguments: --epoch 3; did you mean --epochs",
        ),
        (["--data", "x", "--epochs", "-1"], "--epochs is -1; expected 0 to 1000; correct"),
        (["--data", "x", "--epochs", "1_0"], "invalid int value"),
        (["--data", "x", "--epochs", "\u0663"], "invalid int value"),
        (["--data", "x", "--rate", "1_0.5"], "invalid float value"),
        (["--data", "x", "--epochs", "many"], "argument --epochs: invalid int value: 'many'"),
        (["--data", "x", "--bands", "sar"], "invalid choice: 'sar'"),
        ([], "--data is required"),
        (["--config", "nowhere.py"], "nowhere.py: no such config file"),
    ],
)
def test_a_mistake_is_one_sentence_with_the_way_on(argv, sentence):
    with pytest.raises(InputError, match=sentence) as caught:
        read(*argv)
    assert "\n" not in str(caught.value)


def test_unknown_field_in_a_config_file_is_an_error(config_file):
    with pytest.raises(InputError, match="unexpected keyword argument 'epoch'"):
        read("--config", config_file("config = Config(epoch=3)"))


def test_config_file_without_config_is_an_error(config_file):
    with pytest.raises(InputError, match=r"defines no `config = Config\(\.\.\.\)`"):
        read("--config", config_file("epochs = 3"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("import nowhere", "ModuleNotFoundError: No module named 'nowhere'"),
        ("1 / 0", "ZeroDivisionError"),
        ("import sys; sys.exit(0)", "SystemExit: 0"),
        ("config = Config(epochs=-2)", "--epochs is -2; expected 0 to 1000"),
        ("config = Config(epochs='ten')", "epochs is 'ten'; expected int"),
        ("config = Config(epochs=2.5)", "epochs is 2.5; expected int"),
        ("config = Config(epochs=True)", "epochs is True; expected int"),
        ("config = Config(bands='sar')", "bands is 'sar'; expected Literal"),
        ("config = Config(rate='fast')", "rate is 'fast'; expected Optional"),
        ("config = Config(mixup=1)", "mixup is 1; expected bool"),
    ],
)
def test_odd_config_file_is_one_sentence(config_file, text, sentence):
    with pytest.raises(InputError, match=sentence) as caught:
        read("--data", "x", "--config", config_file(text))
    assert "\n" not in str(caught.value)


def test_config_file_may_give_a_whole_number_for_a_float(config_file):
    assert read("--config", config_file("config = Config(data='a.h5', rate=1)")).rate == 1


PROGRAM = textwrap.dedent("""
    import dataclasses, time
    from bigearth import launcher
    from bigearth.cli import Program, main, option
    from bigearth.errors import InputError

    @dataclasses.dataclass
    class Config:
        fault: str = option("none", "what goes wrong")

    def run(config):
        if config.fault == "late" and launcher.rank() == 0:
            time.sleep(1)  # mpirun kills all ranks when the first has ended
        if config.fault in ("input", "late"):
            raise InputError("a.tif: cut short")
        if config.fault == "bug":
            raise ZeroDivisionError("oops")
        return 75 if config.fault == "requeue" else None

    main(Config, run, Program("example", ""))
""")


@pytest.mark.parametrize(
    ("fault", "code", "stderr"),
    [("none", 0, ""), ("input", 2, "error: a.tif: cut short\n"), ("requeue", 75, "")],
)
def test_exit_codes(fault, code, stderr):
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, "--fault", fault], capture_output=True, text=True
    )
    assert (result.returncode, result.stderr) == (code, stderr)


def test_a_bug_keeps_its_traceback():
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, "--fault", "bug"], capture_output=True, text=True
    )
    assert result.returncode == 1
    assert "ZeroDivisionError: oops" in result.stderr


@pytest.mark.mpi
@pytest.mark.parametrize("fault", ["input", "late"])
def test_every_rank_ends_and_rank_0_alone_speaks(mpirun, fault):
    result = mpirun(3, "-c", PROGRAM, "--fault", fault)
    assert result.returncode == 2
    assert result.stderr.count("error: a.tif: cut short") == 1


def test_tensorflow_finds_its_environment_set_and_the_sites_own_values_win(tmp_path):
    script = tmp_path / "show.py"
    script.write_text(
        f"import os, sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
        "import dataclasses\nfrom bigearth import cli\n"
        "Empty = dataclasses.make_dataclass('Empty', [])\n"
        "cli.main(Empty, lambda _: print(os.environ['TF_ENABLE_ONEDNN_OPTS'], "
        "os.environ['TF_CPP_MIN_LOG_LEVEL']), cli.Program('show', ''))\n"
    )
    environment = {"PATH": os.environ["PATH"], "TF_CPP_MIN_LOG_LEVEL": "0"}
    done = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["1", "0"]


def test_help_has_groups_limits_an_example_and_exit_codes(capsys):
    with pytest.raises(SystemExit) as ended:
        read("--help")
    text = capsys.readouterr().out
    assert ended.value.code == 0
    for part in ("inputs:", "0 to 1000", "python -m example --data x.h5", "exit codes", "local"):
        assert part in text


def test_version(capsys):
    with pytest.raises(SystemExit):
        read("--version")
    assert capsys.readouterr().out == "bigearth-bench 0.2.0\n"


def test_what_options_mean_for_comparing_and_resuming():
    assert repeats(Config) == resumes(Config) == ("data",)


def test_words_that_are_not_ours_are_passed_on():
    program = PROGRAM_ABOUT._replace(passes_on=True)
    config, rest = parse(Config, ["--data", "x", "-n", "check", "--epochs", "4"], program)
    assert config.epochs == 4 and rest == ["-n", "check"]


def test_a_reader_that_has_enough_is_no_error():
    script = PROGRAM.replace("def run(config):", "def run(config):\n    print('x' * 10**6)")
    command = f'{sys.executable} -c "$SCRIPT" | head -c 1; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(
        ["bash", "-c", command], env={**os.environ, "SCRIPT": script}, capture_output=True
    )
    assert (done.returncode, done.stderr) == (0, b"")
