"""The site's grid: the newest value of every system x check x metric, what changed, and its
verdict."""

from typing import NamedTuple, Optional

from plots.cells import MARKS, Cell, cell
from plots.figure import short
from plots.site import names
from reframe_tests.results import verdict
from reframe_tests.results.history import Event, Judgement, Series
from reframe_tests.results.sessions import Case, Value
from reframe_tests.results.values import day, percent

COLUMNS = (
    "system",
    "check",
    "metric",
    "verdict",
    "last value",
    "95 % interval",
    "reference",
    "last change",
    "measured",
    "runs",
)


class Entry(NamedTuple):
    """One line of the grid.

    Attributes:
        key: (system, check, point, metric); the metric is "" for a check without numbers.
        case: the newest case that it is about.
        value: its newest value, None if none was measured.
        state: one of `verdict.STATES`; detail: why, in words.
        series: its history, None if it has none.
    """

    key: tuple
    case: Case
    value: Optional[Value]
    state: str
    detail: str
    series: Optional[Series]


def _worst(rows: list) -> dict:
    """Key -> its row; the worst one, where a check ran in several environments."""
    order = verdict.STATES.index
    return {row.key: row for row in sorted(rows, key=lambda row: -order(row.state))}


def entries(judged: Judgement) -> list:
    """A line for every series, and for every check of the newest sessions that has none."""
    rows = _worst(judged.rows)
    found = {
        key: Entry(key, row.case, row.value, state=row.state, detail=row.detail, series=None)
        for key, row in rows.items()
    }
    for one in judged.series:
        found[one.key] = _of_series(one, rows)
    return [found[key] for key in sorted(found)]


def _of_series(one: Series, rows: dict) -> Entry:
    """The line of a series: the verdict of the newest session, where it ran there. A check that
    broke there is not as good as its last value was."""
    metric = one.key[3]
    case, last = one.cases[-1], one.cases[-1].values[metric]
    row = rows.get(one.key)
    broken = rows.get((*one.key[:3], ""))
    if row is not None:
        value = row.value if row.case.session == case.session else last
        return Entry(one.key, row.case, value, state=row.state, detail=row.detail, series=one)
    if broken is not None and not broken.good:
        return Entry(
            one.key, broken.case, last, state=broken.state, detail=broken.detail, series=one
        )
    change = last_change(one)
    if change is not None and change.open:
        return Entry(
            one.key, case, last, state=verdict.FAILED, detail=change.sentence(metric), series=one
        )
    state, detail = verdict.judge(metric, last)
    said = f"{detail}; not in the newest session" if detail else "not in the newest session"
    return Entry(one.key, case, last, state=state, detail=said, series=one)


def last_change(one: Optional[Series]) -> Optional[Event]:
    """The change that counts: the newest one that is open, else the newest."""
    if one is None or not one.events:
        return None
    return next((event for event in reversed(one.events) if event.open), one.events[-1])


def mark(event: Event) -> str:
    """The mark of a change, as of `cells.Cell`."""
    return "good" if event.direction == "better" else "bad" if event.open else "open"


def interval(value: Optional[Value]) -> str:
    """The 95 % interval of a value in its unit, "" if it is not known."""
    if value is None or value.interval[0] != value.interval[0]:
        return ""
    low, high = value.interval
    return f"{low:.4g} to {high:.4g}"


def change_cell(one: Optional[Series], root: str = "") -> Cell:
    """The last change of a series; it leads to the change on the series' page."""
    event = last_change(one)
    if event is None:
        return Cell("none" if one is not None else "–")
    effect = event.effect if event.effect < 1e6 else 1e6
    return Cell(
        text=f"{percent(event.effect)} since {day(event.since)}",
        number=100 * effect,
        mark=mark(event),
        href=f"{root}{names.series(one.key)}#changes",
    )


def badge(state: str, detail: str = "") -> Cell:
    """A verdict's cell."""
    return Cell(state, None, MARKS[state], whole=detail)


def word(text: str) -> Cell:
    """A name; of a long one the beginning and the end, and the pointer shows all."""
    return Cell(short(text), whole="" if short(text) == text else text)


def line(entry: Entry, root: str = "") -> list:
    """The cells of an entry, in the order of COLUMNS."""
    system, check, point, metric = entry.key
    where = names.series(entry.key) if entry.series else names.session(entry.case.session)
    value = entry.value
    number = cell(value.value, value.unit) if value else Cell("–")
    newest = entry.series.cases[-1].time if entry.series else entry.case.time
    return [
        word(system),
        word(f"{check} {point}".strip()),
        Cell(short(metric) or "the check itself", href=root + where),
        badge(entry.state, entry.detail),
        number,
        cell(interval(value)),
        cell(verdict.band(value) if value and value.judged else None),
        change_cell(entry.series, root),
        cell(day(newest) if newest == newest else None),
        cell(len(entry.series.values) if entry.series else None),
    ]
