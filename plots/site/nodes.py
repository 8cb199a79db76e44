"""The site's pages of nodes: what each took part in, and how its steps compare with the others'."""

import math
import statistics
from typing import NamedTuple

from plots.cells import Cell, Table, cell
from plots.figure import short
from plots.panels.ranks import SLOW
from plots.site import chart, grid, names
from plots.site.pages import MOST_RUNS, UP, session_name
from reframe_tests.results.sessions import GOOD, Case
from reframe_tests.results.values import number

LABEL = "step time / median of all ranks"
COLUMNS = ("session", "check", "system", "result", LABEL)


class Visit(NamedTuple):
    """One case that a node took part in; `ratio` is its median step over that of all ranks, NaN if
    it is not known or there was no other node."""

    case: Case
    ratio: float


def _ratios(case: Case) -> dict:
    """Node -> its ranks' median step time over the median of all ranks."""
    times: dict = {}
    for rank in case.evidence["ranks"]:
        seconds = number(rank.get("step_time"))
        if seconds > 0:
            times.setdefault(str(rank.get("hostname")), []).append(seconds)
    if len(times) < 2:
        return {}
    middle = statistics.median_low(seconds for some in times.values() for seconds in some)
    return {node: statistics.median(some) / middle for node, some in times.items()}


def visits(cases: list) -> dict:
    """Node -> its visits, oldest first; nodes in the order of their names."""
    found: dict = {}
    for case in cases:
        ratios = _ratios(case)
        for node in case.nodelist:
            found.setdefault(node, []).append(Visit(case, ratios.get(node, math.nan)))
    return dict(sorted(found.items()))


def _ratio(value: float) -> Cell:
    if math.isnan(value):
        return Cell("–")
    return Cell(f"{value:.3f}", value, "bad" if value >= SLOW else "")


def page(node: str, seen: list) -> dict:
    """The page of one node."""
    newest = list(reversed(seen))[:MOST_RUNS]
    rows = [
        [
            Cell(session_name(visit.case), href=UP + names.session(visit.case.session)),
            grid.word(f"{visit.case.check} {visit.case.point}".strip()),
            grid.word(visit.case.system),
            Cell(visit.case.result, None, "" if visit.case.result in GOOD else "bad"),
            _ratio(visit.ratio),
        ]
        for visit in newest
    ]
    known = [(visit.case, visit.ratio) for visit in seen if not math.isnan(visit.ratio)]
    content = chart.of_node(LABEL, known, UP)
    more = len(seen) - len(newest)
    notes = [f"The newest {len(newest)} of {len(seen)} runs."] if more else []
    bad = sum(visit.case.result not in GOOD for visit in seen)
    return {
        "title": node,
        "summary": f"{len(seen)} runs on this node, {bad} did not end well.",
        "content": content and chart.data(content),
        "runs": Table("Runs, newest first", COLUMNS, rows, notes=notes),
    }


def overview(found: dict) -> dict:
    """The list of all nodes; the slowest ones first."""
    lines = []
    for node, seen in found.items():
        known = [visit.ratio for visit in seen if not math.isnan(visit.ratio)]
        last = known[-1] if known else math.nan
        cells = [
            Cell(short(node), href=names.node(node)),
            cell(len(seen)),
            cell(sum(visit.case.result not in GOOD for visit in seen)),
            _ratio(last),
            Cell(session_name(seen[-1].case), href=names.session(seen[-1].case.session)),
        ]
        lines.append((-last if last == last else 0.0, node, cells))
    columns = ("node", "runs", "not good", f"newest {LABEL}", "last seen")
    rows = [cells for _, _, cells in sorted(lines, key=lambda line: line[:2])]
    return {
        "title": "Nodes",
        "summary": f"{len(found)} nodes, the slowest first.",
        "rows": Table("All nodes", columns, rows),
    }
