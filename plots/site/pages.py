"""What stands on the site's pages, but for those of sessions and nodes: the grid, the series and
the regressions."""

import shlex
from typing import NamedTuple

from bigearth.record import METRICS
from plots.cells import MARKS, Cell, Table, cell
from plots.figure import short
from plots.site import chart, grid, names
from reframe_tests.results import verdict
from reframe_tests.results.history import Event, Judgement, Series
from reframe_tests.results.sessions import Case
from reframe_tests.results.values import day, iso, quantity

MOST_RUNS = 200  # of a table, the newest ones; the data files have all
MOST_FINDINGS = 10  # of the first page
MOST_NODES = 8  # that a regression links
MOST_SIBLINGS = 50
UP = "../"  # to the root, from the pages of series, sessions and nodes


class Change(NamedTuple):
    """A lasting change, and where it leads."""

    name: str
    page: str
    sentence: str
    mark: str
    before: str
    after: str
    session: str
    href: str
    nodes: list
    more: int
    command: str


def index(judged: Judgement, entries: list) -> dict:
    """The first page."""
    words, state = judged.headline
    findings = [_finding(judged, finding) for finding in judged.findings]
    rows = [grid.line(entry) for entry in entries]
    return {
        "title": words,
        "mark": MARKS[state],
        "counts": verdict.count(judged.rows),
        "findings": findings[:MOST_FINDINGS],
        "more": max(0, len(findings) - MOST_FINDINGS),
        "grid": Table("Newest value of every metric", grid.COLUMNS, rows),
    }


def _finding(judged: Judgement, finding) -> Cell:
    """A finding that leads to the page that it is about, if there is one."""
    href = ""
    if any(one.key == finding.series for one in judged.series):
        href = names.series(finding.series)
    else:
        case = next((c for c in reversed(judged.cases) if c.key == finding.series[:3]), None)
        if case is not None:
            href = names.session(case.session)
    return Cell(finding.sentence, href=href)


def session_name(case: Case) -> str:
    """A session in words: "2026-11-03 1a2b3c4d"."""
    return f"{day(case.time) if case.time == case.time else 'no time'} {case.session[:8]}"


def change(one: Series, event: Event, root: str = "") -> Change:
    """One lasting change of a series."""
    case = one.cases[event.index]
    name = f"bigearth-bench history --results DIR --out DIR --acknowledge {shlex.quote(one.name)}"
    return Change(
        name=one.name,
        page=f"{root}{names.series(one.key)}#changes",
        sentence=event.sentence(one.key[3]),
        mark=grid.mark(event),
        before=quantity(event.before, one.unit),
        after=quantity(event.after, one.unit),
        session=session_name(case),
        href=root + names.session(case.session),
        nodes=[Cell(n, href=root + names.node(n)) for n in case.nodelist[:MOST_NODES]],
        more=max(0, len(case.nodelist) - MOST_NODES),
        command=f"{name} --name NAME --reason WHY" if event.open else "",
    )


def changes(one: Series) -> list:
    """All lasting changes of a series for its own page, newest first."""
    return [change(one, event, UP) for event in reversed(one.events)]


RUN_COLUMNS = (
    "time",
    "value",
    "95 % interval",
    "reference",
    "verdict",
    "commit",
    "image",
    "nodes",
)


def _run(case: Case, metric: str) -> list:
    value = case.values[metric]
    state, detail = verdict.judge(metric, value)
    when = iso(case.time)[:16].replace("T", " ")
    return [
        Cell(when, href=UP + names.session(case.session)),
        cell(value.value, value.unit),
        cell(grid.interval(value)),
        cell(verdict.band(value) if value.judged else None),
        grid.badge(state, detail),
        cell(case.evidence.get("commit")),
        cell(case.evidence.get("image")),
        nodes_cell(case),
    ]


def nodes_cell(case: Case) -> Cell:
    """The nodes of a case: the first one and how many more there are; the pointer shows all."""
    if not case.nodelist:
        return Cell("–")
    first, *others = case.nodelist
    if not others:
        return Cell(short(first), href=UP + names.node(first))
    return Cell(f"{short(first)} and {len(others)} more", whole=", ".join(case.nodelist))


def series(entry: grid.Entry, entries: list) -> dict:
    """The page of one series.

    Args:
        entries: those of the same metric.
    """
    one = entry.series
    system, check, point, metric = entry.key
    value = entry.value
    newest = list(reversed(one.cases))[:MOST_RUNS]
    left = len(one.cases) - len(newest)
    notes = [f"The newest {len(newest)}; all {len(one.cases)} are in history.csv."] if left else []
    if one.older:
        notes.append(f"{len(one.older)} values of an older commit, measured later, are left out.")
    others = [other for other in entries if other.key != entry.key][:MOST_SIBLINGS]
    known = METRICS.get(metric)
    return {
        "title": metric,
        "badge": grid.badge(entry.state),
        "where": " ".join(part for part in (system, check, point) if part),
        "value": f"{verdict.measured(value)}" if value else "",
        "reference": f"{verdict.band(value)} ({verdict.basis(value)})"
        if value and value.judged
        else "",
        "detail": entry.detail,
        "definition": f"{known.text}; {known.better} is better." if known else "",
        "content": chart.data(chart.of_series(one, UP)),
        "changes": changes(one),
        "steady": one.steady or "the series was not judged",
        "runs": Table(
            "Runs, newest first", RUN_COLUMNS, [_run(c, metric) for c in newest], notes=notes
        ),
        "siblings": Table(
            "The same metric elsewhere", grid.COLUMNS, [grid.line(o, UP) for o in others]
        ),
    }


def regressions(judged: Judgement) -> dict:
    """The page of all changes for the worse, open ones first, and what else is wrong."""
    found = [(one, event) for one in judged.series for event in one.events]
    found.sort(key=lambda pair: -pair[1].since)
    worse = [(one, event) for one, event in found if event.direction == "worse"]
    opened = [change(one, event) for one, event in worse if event.open]
    known = [change(one, event) for one, event in worse if not event.open]
    better = [change(one, event) for one, event in found if event.direction == "better"]
    said = {c.name for c in opened}
    names_of = {one.key: one.name for one in judged.series}
    others = [f for f in judged.findings if names_of.get(f.series) not in said]
    return {
        "title": "Regressions",
        "summary": f"{len(opened)} open, {len(known)} acknowledged, {len(better)} for the better. "
        f"{judged.unchanged if not found else ''}",
        "groups": [
            ("Open: slower or less accurate, and nobody has said why", opened),
            ("Acknowledged", known),
            ("For the better", better),
        ],
        "others": [_finding(judged, finding) for finding in others],
    }
