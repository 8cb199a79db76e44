"""Imports go down only and in no circle; the ReFrame side and the record load nothing heavy."""

import ast
import sys
from graphlib import TopologicalSorter
from pathlib import Path

BELOW = {"bigearth": "", "benchmarks": "bigearth", "plots": "bigearth reframe_tests.results"}
BELOW["reframe_tests"] = "bigearth.VERSION bigearth.record bigearth.errors bigearth.files bigearth.cli"
LIGHT = {*sys.stdlib_module_names, *BELOW, "reframe", "yaml"}
ROOT = Path(__file__).parents[1]
FILES = {str(p.relative_to(ROOT).with_suffix("")).replace("/", "."): p for p in ROOT.glob("*/**/*.py")}
CODE = {name: ast.parse(p.read_text()) for name, p in FILES.items() if name.split(".")[0] in BELOW}


def imports(name, tree, lazy=True):
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ImportFrom):
            above = name.split(".")[: -node.level] if node.level else []
            start = ".".join([*above, *filter(None, [node.module])])
            yield from (start if start in CODE else f"{start}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif lazy or not isinstance(node, ast.FunctionDef):
            yield from imports(name, node, lazy)


def test_it():
    for name, tree in CODE.items():
        room, light = name.split(".")[0], name.startswith("reframe_tests") or name == "bigearth.record"
        assert not [m for m in imports(name, tree) if m.split(".")[0] in {"ci", "tests", *BELOW} and not m.startswith((room + ".", *BELOW[room].split()))], name
        assert not light or {m.split(".")[0] for m in imports(name, tree, False)} <= LIGHT, name
    TopologicalSorter({n: set(imports(n, t)) & CODE.keys() for n, t in CODE.items()}).prepare()
