import ast
import sys
from graphlib import TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path

ROOT = Path(__file__).parents[1]
ALSO = {"bigearth": (), "benchmarks": (), "reframe_tests": (), "plots": ("reframe_tests.results",)}
LIGHT = {*sys.stdlib_module_names, *ALSO, "reframe", "yaml"}
FILES = {p.relative_to(ROOT): p for room in ALSO for p in ROOT.glob(f"{room}/**/*.py")}
CODE = {".".join(p.with_suffix("").parts): ast.parse(f.read_text()) for p, f in FILES.items()}


def imports(name, nodes):
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            start = resolve_name("." * node.level + (node.module or ""), name.rpartition(".")[0])
            yield from (start if start in CODE else f"{start}.{a.name}" for a in node.names)
        yield from (a.name for a in node.names) if isinstance(node, ast.Import) else ()


def test_imports():
    """Imports go down only and in no circle; the ReFrame side and the record load nothing heavy."""
    graph, heavy = {name: set(imports(name, ast.walk(tree))) for name, tree in CODE.items()}, {}
    for name in TopologicalSorter(graph).static_order():  # a circle raises
        room, own = name.split(".")[0], CODE[name].body if name in CODE else []
        heavy[name] = {room} - LIGHT | {h for m in imports(name, own) for h in heavy[m]}
        up = [m for m in graph.get(name, ()) if not m.startswith((room, "bigearth", *ALSO[room]))]
        assert not {"ci", "tests", *ALSO} & {m.split(".")[0] for m in up}, (name, up)
        assert room != "reframe_tests" or ".results." in name or not heavy[name], name  # statistics
