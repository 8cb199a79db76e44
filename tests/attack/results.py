"""The doors of training, of ReFrame's side and of the report."""

import json
import shutil
from pathlib import Path

import numpy as np

from bigearth import cli, files
from bigearth.learn import checkpoint
from bigearth.learn.config import TrainConfig
from plots.figures import PANELS
from reframe_tests import partitions, references, sites, slurm
from reframe_tests.results import history, sessions
from reframe_tests.results import runs as measured
from tests.plots import example_results, example_sessions

from .door import Door

ROOT = Path(__file__).parents[2]
SLURM = ROOT / "tests/reframe_tests/slurm"
SETTINGS = """site_configuration = {
    "systems": [{"name": "here", "hostnames": [".*"], "partitions": [
        {"name": "default", "scheduler": "local", "launcher": "mpirun", "environs": ["native"],
         "time_limit": "1h", "extras": {"ranks_per_node": 2, "memory_gb": 8.5}}]}],
    "environments": [{"name": "native", "target_systems": ["here"]}],
}
"""
RECIPE = """from bigearth.learn.config import TrainConfig
config = TrainConfig(data="d.h5", out="results", epochs=3, learning_rate=0.1, network="resnet14")
"""
PROGRAM = cli.Program(
    module="attack", description="Reads a recipe.", recipes=ROOT / "benchmarks/configs"
)


def make_inputs(folder: Path) -> None:
    """Writes one good file of every kind."""
    folder.mkdir()
    state = checkpoint.State(
        config={"data": "d.h5"},
        digest="sha256:1",
        epoch=1,
        samples=0,
        global_batch=8,
        seconds=1.5,
        tables={"metrics": [{"epoch": 1, "time": 2.0}]},
        best_score=0.5,
        variables=[np.arange(60, dtype=np.float32).reshape(2, 30), np.array(3, np.int64)],
        statistics=np.ones((2, 4), np.float32),
        best=[np.zeros((2, 30), np.float32)],
    )
    (checkpoint.save(folder, state, keep=1)).rename(folder / "checkpoint.npz")
    example_results.train(folder / "training")
    night = [
        example_sessions.session(
            example_sessions.case({"time_per_epoch": 20.0 + n / 10}, time=time), time=time
        )
        for n in range(4)
        for time in [example_sessions.START + n * example_sessions.DAY]
    ]
    example_sessions.database(folder / "results.db", night)
    (folder / "report.json").write_text(json.dumps(night[-1]))
    shutil.copy(ROOT / "reframe_tests/references/juwels.yaml", folder / "references.yaml")
    (folder / "site.py").write_text(SETTINGS)
    (folder / "site.json").write_text(json.dumps(_settings()))
    (folder / "recipe.py").write_text(RECIPE)
    for name in ("sinfo-22.05.txt", "nodes-22.05.txt", "nodes-22.05-oneliner.txt"):
        shutil.copy(SLURM / name, folder / name)


def _settings() -> dict:
    found = {}
    exec(SETTINGS, found)
    return found["site_configuration"]


def _state(path: Path) -> tuple:
    state = checkpoint.load(path)
    arrays = [*state.variables, state.statistics, *(state.best or [])]
    whole = [(array.shape, str(array.dtype), array.tobytes()) for array in arrays]
    return state.epoch, state.digest, state.config, state.tables, whole


def _judged(databases: list, reports: list) -> bool:
    cases = sessions.load(databases, reports)
    judged = history.judgement(cases)
    history.exit_code(judged.findings)
    return True


def _tables(folder: Path) -> bool:
    found = measured.load(folder)
    for panel in PANELS:
        panel.rows(found.runs)
    return True


def _references(path: Path) -> bool:
    parts = partitions.of_configuration(sites.system_of("juwels")["partitions"])
    return isinstance(references.lint(references.load(path), parts, "juwels"), list)


def _site(path: Path) -> bool:
    return all(
        partitions.of_configuration(system["partitions"]) is not None
        for system in sites.configuration(str(path))["systems"]
    )


def _recipe(path: Path) -> bool:
    found = cli.parse(TrainConfig, ["--config", str(path)], PROGRAM)
    found.check()
    return isinstance(found, TrainConfig)


def _answer(path: Path) -> str:
    """The text of a command's answer, as `slurm.ask` gives it."""
    return files.read_bytes(path, what="answer", most=1 << 22).decode(errors="replace")


def doors(folder: Path) -> dict:
    """Name -> `Door`, of what `make_inputs` made."""

    def door(name: str, read, **more) -> Door:
        return Door(folder / name, lambda: read(folder / name), **more)

    return {
        "checkpoint": door("checkpoint.npz", _state, exact=True),
        "sample patches": Door(
            folder / "training/samples.npz", lambda: _tables(folder / "training")
        ),
        "training record": Door(
            folder / "training/result.json", lambda: _tables(folder / "training")
        ),
        "results database": door("results.db", lambda path: _judged([path], [])),
        "run report": door("report.json", lambda path: _judged([], [path])),
        "references": door("references.yaml", _references),
        "site settings": door("site.py", _site),
        "site settings JSON": door("site.json", _site),
        "sinfo": door("sinfo-22.05.txt", lambda path: slurm.parse_partitions(_answer(path)) != 1),
        "scontrol": door("nodes-22.05.txt", lambda path: slurm.parse_nodes(_answer(path)) != 1),
        "scontrol, lines": door(
            "nodes-22.05-oneliner.txt", lambda path: slurm.parse_nodes(_answer(path)) != 1
        ),
        "config file": door("recipe.py", _recipe),
    }
