"""What the charts draw: JSON inside a page, and Bokeh's script, copied from the installed
package."""

import importlib.util
import json
import math
from pathlib import Path
from typing import Optional

import markupsafe

from bigearth.errors import InputError
from plots.figure import short
from plots.site import names
from reframe_tests.results.history import Series

SCRIPTS = ("bokeh.min.js", "bokeh-api.min.js")
MOST_POINTS = 5000  # of one chart, the newest ones
LETTERS = 60  # of a text that the pointer shows


def scripts() -> list:
    """Bokeh's files: its scripts and its licence.

    Raises:
        InputError: Bokeh is not installed.
    """
    found = importlib.util.find_spec("bokeh")
    if found is None or not found.origin:
        raise InputError(
            "the Python package bokeh is not installed and the charts need its script; "
            "`pip install bokeh -c constraints.txt`"
        )
    folder = Path(found.origin).parent
    return [*(folder / "server/static/js" / name for name in SCRIPTS), folder / "LICENSE.txt"]


def data(content) -> markupsafe.Markup:
    """JSON that may stand inside a <script> element: no text in it can end that element."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return markupsafe.Markup(text)


def _numbers(values) -> list:
    return [value if math.isfinite(value) else None for value in values]


def _texts(values) -> dict:
    """Texts, each different one once: `of` them, and `at` which each point has its own."""
    of: dict = {}
    at = [of.setdefault(short(value or "–", LETTERS), len(of)) for value in values]
    return {"of": list(of), "at": at}


def of_series(one: Series, root: str) -> dict:
    """What the chart of a series shows: times in ms, values in the metric's unit."""
    metric = one.key[3]
    kept = range(max(0, len(one.cases) - MOST_POINTS), len(one.cases))
    cases = [one.cases[i] for i in kept]
    known = [case.values[metric] for case in cases]
    levels = one.levels()
    judged = [value if value.judged else None for value in known]
    return {
        "label": f"{metric} ({one.unit or 'unit not recorded'})",
        "unit": "" if one.unit == "1" else one.unit,
        "time": [round(1000 * case.time) for case in cases],
        "value": [value.value for value in known],
        "low": _numbers(value.interval[0] for value in known),
        "high": _numbers(value.interval[1] for value in known),
        "level": [levels[i] for i in kept],
        "lowest": _numbers(value.low if value else math.nan for value in judged),
        "highest": _numbers(value.high if value else math.nan for value in judged),
        "commit": _texts((case.evidence.get("commit") or "")[:12] for case in cases),
        "image": _texts((case.evidence.get("image") or "")[:20] for case in cases),
        "nodes": _texts(", ".join(case.nodelist) for case in cases),
        "href": [root + names.session(case.session) for case in cases],
        "changes": [
            {
                "time": round(1000 * event.since),
                "value": event.after,
                "text": short(event.sentence(metric), 200),
                "open": event.open,
            }
            for event in one.events
            if event.index in kept
        ],
    }


def of_node(label: str, points: list, root: str) -> Optional[dict]:
    """What the chart of a node shows.

    Args:
        points: (case, value) in order of time.
    """
    kept = [(case, value) for case, value in points if math.isfinite(case.time)][-MOST_POINTS:]
    if len(kept) < 2:
        return None
    empty = [None] * len(kept)
    return {
        "label": label,
        "unit": "",
        "time": [round(1000 * case.time) for case, _ in kept],
        "value": [value for _, value in kept],
        **{name: empty for name in ("low", "high", "level", "lowest", "highest")},
        "commit": _texts((case.evidence.get("commit") or "")[:12] for case, _ in kept),
        "image": _texts((case.evidence.get("image") or "")[:20] for case, _ in kept),
        "nodes": _texts(f"{case.check} {case.point}" for case, _ in kept),
        "href": [root + names.session(case.session) for case, _ in kept],
        "changes": [],
    }
