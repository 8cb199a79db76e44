"""What the suite measures: every check, its points (one ReFrame test case each) and the metrics
judged there.

The checks take their parameters from here and the lint demands a reference cell for every entry, so
that neither can know something that the other does not.
"""

import itertools
from dataclasses import dataclass
from typing import Tuple

NODES = (1, 2, 4, 8, 12, 16, 24)  # the paper's node counts (Figures 4 to 6)
DEVICES = (1, 2, 3, 4)  # on one node (Figure 3)
INPUTS = ("multispectral", "rgb", "bilinear")  # what the network sees (Tables 2 and 3, Figure 6)

SPEED = ("time_per_epoch", "throughput")
SCORES = ("f1_micro", "precision_micro", "recall_micro")


@dataclass(frozen=True)
class Check:
    """One check of reframe_tests/checks/.

    Attributes:
        points: the parameters of each test case, in the order in which they are written in a
            point's name.
        metrics: what is judged at each point.
        feature: the feature a partition must have for the check to be valid there; "" if none.
    """

    points: Tuple[dict, ...]
    metrics: Tuple[str, ...]
    feature: str = ""


def _over(**parameters) -> tuple:
    """Every combination of parameter values, as points."""
    return tuple(
        dict(zip(parameters, values)) for values in itertools.product(*parameters.values())
    )


CHECKS = {
    "preflight": Check(_over(nodes=NODES), ()),
    "prepare": Check(_over(nodes=(1,)), ("patch_throughput", "write_bandwidth", "imbalance")),
    "training": Check(_over(nodes=(1,)), ("f1_micro", *SPEED)),
    "single_node": Check(_over(nodes=(1,), devices=DEVICES), SPEED, "gpu"),
    "scaling": Check(_over(nodes=NODES), (*SPEED, "scaling_efficiency"), "multinode"),
    "weak_scaling": Check(_over(nodes=NODES), (*SPEED, "scaling_efficiency"), "multinode"),
    "accuracy": Check(_over(nodes=NODES, input=INPUTS), (*SCORES, "training_time"), "multinode"),
}


def point_name(point: dict) -> str:
    """The key of a point in a reference file, e.g. "nodes=4" or "nodes=1 devices=3"."""
    return " ".join(f"{name}={value}" for name, value in point.items())


def points_on(check: Check, features, extras: dict) -> list:
    """Names of the points of a check that a partition can run.

    Args:
        features, extras: of the partition, as in the site's ReFrame settings.
    """
    if not {"compute", check.feature} - {""} <= set(features):
        return []
    limits = {"nodes": extras.get("max_nodes", 1), "devices": extras.get("devices_per_node", 1)}
    return [
        point_name(point)
        for point in check.points
        if all(point.get(name, 0) <= limit for name, limit in limits.items())
    ]
