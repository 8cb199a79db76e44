"""What single nodes did: runs per check and node, values per node, and which node stands out."""

import math
import statistics
from dataclasses import dataclass

from bigearth.record import METRICS

from .sessions import Case
from .values import quantity
from .verdict import STANDS_OUT, is_accuracy

# How many robust standard deviations (1.4826 x the median distance from the median) the worst of n
# nodes must lie on the bad side to stand out: (nodes at least, limit). With normal noise one in 100
# healthy series, at most, has a node beyond it (simulated for 6 to 1,000 nodes; a test repeats it).
LIMITS = ((48, 4.5), (24, 5.0), (16, 5.5), (12, 6.5), (9, 8.0), (6, 9.5))
FEWEST = LIMITS[-1][0]  # nodes that are needed to name one
RULE = (
    "A node stands out if its median lies on the bad side of the median of all nodes by 5 % and by "
    "4.5 to 9.5 robust standard deviations (fewer nodes need more). Of 100 healthy series with "
    f"normal noise at most one names a node. Fewer than {FEWEST} nodes name none."
)
STEP = "step_time"  # of a node in a job of several: the median of its ranks


@dataclass(frozen=True)
class Spread:
    """One metric of one check on the nodes that ran it.

    Attributes:
        name: the check, in words.
        metric, unit: what was measured.
        nodes: node -> its values, one per run.
        lower_is_better: the metric's direction.
    """

    name: str
    metric: str
    unit: str
    nodes: dict
    lower_is_better: bool

    @property
    def medians(self) -> dict:
        """Node -> the median of its runs."""
        return {node: statistics.median(values) for node, values in self.nodes.items()}

    @property
    def middle(self) -> float:
        """The median of all nodes."""
        return statistics.median(self.medians.values())

    @property
    def deviation(self) -> float:
        """The robust standard deviation of the nodes' medians, relative to their median."""
        away = [abs(value - self.middle) for value in self.medians.values()]
        return 1.4826 * statistics.median(away) / self.middle

    def worse(self, value: float) -> float:
        """By which part of the nodes' median a value is worse; negative if it is better."""
        return (value / self.middle - 1) * (1 if self.lower_is_better else -1)

    @property
    def outliers(self) -> dict:
        """Node -> by which part it is worse, for those that stand out, worst first."""
        limit = next((z for least, z in LIMITS if len(self.nodes) >= least), math.inf)
        least = max(STANDS_OUT - 1, limit * self.deviation)
        found = {node: self.worse(value) for node, value in self.medians.items()}
        worst = sorted(found.items(), key=lambda pair: -pair[1])
        return {node: part for node, part in worst if limit < math.inf and part >= least}


def spreads(cases: list) -> list:
    """The metrics of speed that two or more nodes have: of checks on one node each node's value, of
    larger jobs the step time of each node's ranks."""
    found: dict = {}
    for case in cases:
        for metric, unit, node, value in _samples(case):
            if value > 0:
                series = found.setdefault((*case.key, metric), (case.name, unit, {}))
                series[2].setdefault(node, []).append(value)
    return [
        Spread(
            name=name,
            metric=key[-1],
            unit=unit,
            nodes=dict(sorted(nodes.items())),
            lower_is_better=key[-1] == STEP or METRICS[key[-1]].better == "lower",
        )
        for key, (name, unit, nodes) in sorted(found.items())
        if len(nodes) > 1
    ]


def _samples(case: Case) -> list:
    """(metric, unit, node, value) of one case."""
    if case.nodes == 1 and len(case.nodelist) == 1:
        return [
            (metric, value.unit, case.nodelist[0], value.value)
            for metric, value in case.values.items()
            if metric in METRICS and METRICS[metric].better and not is_accuracy(metric)
        ]
    times: dict = {}
    for rank in case.evidence["ranks"]:
        seconds = rank.get(STEP)
        if isinstance(seconds, (int, float)) and rank.get("hostname"):
            times.setdefault(str(rank["hostname"]), []).append(seconds)
    return [(STEP, "s", node, statistics.median(some)) for node, some in times.items()]


def advice(found: list) -> list:
    """A sentence for every node that stands out."""
    told = []
    for one in found:
        for node, part in one.outliers.items():
            values = one.nodes[node]
            bad = sum(one.worse(value) >= STANDS_OUT - 1 for value in values)
            told.append(
                f"drain {node}: {one.metric} {100 * part:.0f} % worse than the median of "
                f"{len(one.nodes)} nodes in {bad} of {len(values)} runs ({one.name})"
            )
    return told


def summary(one: Spread) -> str:
    """The spread between the nodes in words."""
    return (
        f"{one.name}, {one.metric}: {len(one.nodes)} nodes, median "
        f"{quantity(one.middle, one.unit)}, spread {100 * one.deviation:.1f} %"
    )


@dataclass(frozen=True)
class Rate:
    """How often a check passed on a node (on any, if `node` is "")."""

    name: str
    node: str
    runs: int
    passed: int


def rates(rows: list) -> list:
    """The rates per check, and per check and node, of the rows of a verdict. A run passes if all of
    its rows do; of a job on several nodes each node counts."""
    runs: dict = {}
    for row in rows:
        case, good = runs.get(id(row.case), (row.case, True))
        runs[id(row.case)] = (case, good and row.good)
    counted: dict = {}
    for case, good in runs.values():
        for node in ("", *case.nodelist):
            counted.setdefault((case.name, node), []).append(good)
    return [
        Rate(name=name, node=node, runs=len(ends), passed=sum(ends))
        for (name, node), ends in sorted(counted.items())
    ]


def sentences(rows: list) -> list:
    """What the terminal says of nodes: rates if a check ran more than once, the spread between
    nodes, and which to drain."""
    per_node: dict = {}
    found = rates(rows)
    for rate in found:
        if rate.node and rate.passed < rate.runs:
            failed = f"{rate.node} {rate.runs - rate.passed} of {rate.runs}"
            per_node.setdefault(rate.name, []).append(failed)
    told = []
    for rate in found:
        if not rate.node and rate.runs > 1:
            failed = ", ".join(per_node.get(rate.name, []))
            more = f"; failed on {failed}" if failed else ""
            told.append(f"{rate.name}: {rate.passed} of {rate.runs} runs passed{more}")
    between = [one for one in spreads(cases_of(rows)) if len(one.nodes) >= FEWEST]
    return [*told, *map(summary, between), *advice(between)]


def cases_of(rows: list) -> list:
    """The cases of some rows, each once, in order."""
    return list({id(row.case): row.case for row in rows}.values())
