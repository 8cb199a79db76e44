"""The site's pages of sessions, and two sessions side by side."""

import math

from bigearth.record import METRICS
from plots.cells import MARKS, Cell, Table, cell
from plots.figure import short
from plots.site import chart, grid, names
from plots.site.pages import UP, nodes_cell, session_name
from reframe_tests.results import verdict
from reframe_tests.results.history import MIN_EFFECT, Judgement
from reframe_tests.results.values import iso, percent

FACTS = ("commit", "image", "driver", "dataset", "kernel", "machine")
MOST_NUMBERS = 200_000  # that the page of two sessions holds; of more, the newest sessions
COLUMNS = ("system", "check", "metric", "verdict", "value", "95 % interval", "reference", "nodes")


def grouped(judged: Judgement) -> dict:
    """Session -> its cases, oldest first."""
    found: dict = {}
    for case in judged.cases:
        found.setdefault(case.session, []).append(case)
    return found


def rows(cases: list, judged: Judgement) -> list:
    """The verdicts of a session; those of the newest ones know the history, too."""
    now = {(row.case.session, row.case.environ, row.key): row for row in judged.rows}
    return [now.get((r.case.session, r.case.environ, r.key), r) for r in verdict.rows(cases)]


def facts(cases: list) -> dict:
    """What is known of a session: name -> words."""
    known = {"systems": sorted({case.system for case in cases})}
    for name in FACTS:
        values = {str(case.evidence.get(name)) for case in cases if case.evidence.get(name)}
        known[name] = sorted(values)
    known["nodes"] = sorted({node for case in cases for node in case.nodelist})
    return {name: ", ".join(values) for name, values in known.items()}


def _line(row: verdict.Row, judged_keys: set) -> list:
    value, metric = row.value, row.metric
    href = UP + names.series(row.key) if row.key in judged_keys else ""
    return [
        grid.word(row.case.system),
        grid.word(f"{row.case.check} {row.case.point}".strip()),
        Cell(short(metric) or "the check itself", href=href),
        grid.badge(row.state, row.detail),
        cell(value.value, value.unit) if value else Cell("–"),
        cell(grid.interval(value)),
        cell(verdict.band(value) if value and value.judged else None),
        nodes_cell(row.case),
    ]


def page(cases: list, found: list, judged_keys: set, beside: tuple) -> dict:
    """The page of one session.

    Args:
        cases: of the session; found: their verdicts, of `rows`.
        judged_keys: of all series, which have pages.
        beside: one case of the session before and one of the next, None where there is none.
    """
    words, state = verdict.headline(found)
    first, (before, after) = cases[0], beside
    links = [
        Cell(f"{way}: {session_name(other)}", href=UP + names.session(other.session))
        for way, other in (("before", before), ("next", after))
        if other is not None
    ]
    if before is not None:
        pair = f"#a={names.slug(before.session)}&b={names.slug(first.session)}"
        links.append(Cell("compare with the one before", href=f"{UP}compare.html{pair}"))
    lines = [[cell(name), cell(text)] for name, text in _shown(cases)]
    return {
        "title": f"Session of {session_name(first)}",
        "badge": grid.badge(state),
        "counts": f"{words}. {verdict.count(found)}",
        "links": links,
        "facts": Table("What ran", ("what", "value"), lines),
        "nodes": [
            Cell(node, href=UP + names.node(node))
            for node in sorted({node for case in cases for node in case.nodelist})
        ],
        "verdicts": Table(
            "Verdicts of this session",
            COLUMNS,
            [_line(row, judged_keys) for row in found],
            notes=[] if found else ["Every check was skipped."],
        ),
    }


def _shown(cases: list):
    """The facts of a session's page; its nodes have a list of their own."""
    yield "session", cases[0].session
    time = cases[0].time
    yield "time", iso(time) if math.isfinite(time) else ""
    yield from ((name, text) for name, text in facts(cases).items() if name != "nodes")


def overview(by_session: dict, verdicts: dict) -> dict:
    """The list of all sessions, newest first."""
    lines = []
    for name, cases in reversed(by_session.items()):
        found = verdicts[name]
        state = verdict.headline(found)[1]
        known = facts(cases)
        failed = sum(not row.good for row in found)
        lines.append(
            [
                Cell(session_name(cases[0]), href=names.session(name)),
                Cell(state, None, MARKS[state]),
                cell(failed),
                cell(len(found)),
                grid.word(known["systems"]),
                cell(known["commit"]),
                cell(known["image"]),
            ]
        )
    columns = ("session", "verdict", "not good", "verdicts", "systems", "commit", "image")
    return {
        "title": "Sessions",
        "summary": f"{len(by_session)} sessions, newest first.",
        "rows": Table("All sessions", columns, lines),
    }


def _values(cases: list) -> dict:
    """Series -> value of a session."""
    return {
        (*case.key, metric): value
        for case in cases
        for metric, value in case.values.items()
        if math.isfinite(value.value)
    }


def _last_two(by_session: dict) -> tuple:
    """The newest session, and the newest one before it that ran on one of its systems."""
    named = list(by_session)
    systems = {case.system for case in by_session[named[-1]]}
    for name in reversed(named[:-1]):
        if systems & {case.system for case in by_session[name]}:
            return name, named[-1]
    return named[max(len(named) - 2, 0)], named[-1]


def direction(metric: str, effect: float) -> str:
    """ "better", "worse", or "" for less than the smallest change that counts."""
    if metric not in METRICS or not math.isfinite(effect) or abs(effect) < MIN_EFFECT:
        return ""
    return "better" if (effect > 0) == (METRICS[metric].better == "higher") else "worse"


def compare(by_session: dict, judged: Judgement) -> dict:
    """Two sessions side by side: the last two, and what the script needs to show others."""
    first, second = _last_two(by_session)
    one, other = by_session[first], by_session[second]
    known, now = facts(one), facts(other)
    same = [
        [
            cell(name),
            cell(known[name]),
            cell(now[name]),
            Cell("yes" if known[name] == now[name] else "no"),
        ]
        for name in known
    ]
    before, after = _values(one), _values(other)
    lines = []
    for key in sorted({*before, *after}):
        a, b = before.get(key), after.get(key)
        effect = b.value / a.value - 1 if a and b and a.value else math.nan
        which = direction(key[3], effect)
        lines.append(
            [
                grid.word(" ".join(part for part in key[:3] if part)),
                Cell(short(key[3]), href=names.series(key)),
                cell(a.value, a.unit) if a else Cell("–"),
                cell(b.value, b.unit) if b else Cell("–"),
                Cell(percent(effect), effect) if effect == effect else Cell("–"),
                Cell(which or "–", None, {"better": "good", "worse": "bad"}.get(which, "")),
            ]
        )
    columns = ("where", "metric", "first", "second", "change", "direction")
    return {
        "title": "Two sessions side by side",
        "facts": Table("What ran", ("what", "first", "second", "same"), same),
        "values": Table(f"{session_name(one[0])} and {session_name(other[0])}", columns, lines),
        "content": chart.data(_all(by_session, judged, (first, second))),
    }


def _all(by_session: dict, judged: Judgement, pair: tuple) -> dict:
    """Values and facts of the newest sessions, for the script; newest first."""
    keys = [one.key for one in judged.series]
    kept = list(reversed(by_session))[: max(2, MOST_NUMBERS // max(1, len(keys)))]
    sessions = []
    for name in kept:
        values = _values(by_session[name])
        numbers = [values[key].value if key in values else None for key in keys]
        sessions.append(
            {
                "id": names.slug(name),
                "name": session_name(by_session[name][0]),
                "facts": list(facts(by_session[name]).values()),
                "values": [number and float(f"{number:.6g}") for number in numbers],
            }
        )
    metrics = [
        {
            "name": short(one.key[3]),
            "where": short(" ".join(part for part in one.key[:3] if part)),
            "unit": "" if one.unit == "1" else one.unit,
            "better": METRICS[one.key[3]].better if one.key[3] in METRICS else "",
            "href": names.series(one.key),
        }
        for one in judged.series
    ]
    first, second = (kept.index(name) if name in kept else 0 for name in pair)
    return {
        "facts": list(facts(by_session[pair[0]])),
        "metrics": metrics,
        "sessions": sessions,
        "first": first,
        "second": second,
        "least": MIN_EFFECT,
    }
