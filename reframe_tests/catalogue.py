"""What the suite measures, read from the classes of the checks: their points and metrics.

A point is one combination of a check's parameters, one ReFrame test case, e.g. "nodes=1 devices=3";
it is also the key of a reference.
"""

import functools
import importlib
from typing import NamedTuple

MODULES = ("preflight", "prepare", "training", "accuracy", "ceilings")


class Check(NamedTuple):
    """One check of reframe_tests/checks/.

    Attributes:
        points: the parameters of each test case.
        metrics: what is judged at each point.
        needs: the features that a partition must have.
    """

    points: tuple
    metrics: tuple
    needs: frozenset


@functools.cache
def checks() -> dict:
    """name -> Check. ReFrame's test name is that of the class: lower case, unlike its bases'."""
    found = {}
    for module in MODULES:
        loaded = importlib.import_module(f"{__package__}.checks.{module}")
        for name, cls in vars(loaded).items():
            if name.islower() and getattr(cls, "metrics", None) is not None:
                found.setdefault(name, Check(points(cls), tuple(cls.metrics), needs(cls)))
    return found


def points(cls) -> tuple:
    """The parameters of every variant of a check's class; the number of nodes comes first."""
    found = []
    for number in range(cls.num_variants):
        parameters = cls.get_variant_info(number)["params"]
        # those with a dot are ReFrame's own, of --repeat and --distribute
        own = {name: value for name, value in parameters.items() if name[0] != "."}
        found.append({"nodes": own.get("nodes") or cls.nodes, **own})
    return tuple(found)


def needs(cls) -> frozenset:
    """The features that the class's `valid_systems` asks for."""
    words = " ".join(cls.valid_systems).split()
    return frozenset(word[1:] for word in words if word[0] == "+")


def names(cls) -> tuple:
    """The partitions that the class's `valid_systems` names; empty if it names none."""
    return tuple(word for word in cls.valid_systems if word[0] not in "+-%*")


def point_name(point: dict) -> str:
    """The key of a point in a reference file, e.g. "nodes=4" or "nodes=1 devices=3"."""
    return " ".join(f"{name}={value}" for name, value in point.items())


def points_on(check: Check, partition) -> list:
    """Names of the points of a check that a partition can run."""
    return [point_name(p) for p in check.points if partition.can_run(set(check.needs), p)]
