"""The badge: one small SVG that says the newest verdict in words, with a sign for those who do not
see its colour."""

import html

from reframe_tests.results import verdict
from reframe_tests.results.history import Judgement

SIGNS = {
    verdict.PASSED: ("✓", "#00694d"),
    verdict.FAILED: ("✗", "#a33a00"),
    verdict.NOT_MEASURED: ("?", "#a33a00"),
    verdict.NOT_JUDGED: ("–", "#5c4a00"),
}
LETTER = 7.4  # pixels of one letter of the text, about
SVG = """<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="24" role="img" \
aria-label="performance: {text}">
<title>performance: {text}</title>
<rect width="{width}" height="24" rx="4" fill="#3d4045"/>
<path d="M100 0H{inner}a4 4 0 0 1 4 4V20a4 4 0 0 1-4 4H100Z" fill="{colour}"/>
<g fill="#fff" font-family="DejaVu Sans,Verdana,sans-serif" font-size="12" text-anchor="middle">
<text x="50" y="16">performance</text><text x="{middle}" y="16">{sign} {text}</text></g>
</svg>
"""


def words(judged: Judgement) -> str:
    """The newest verdict, short: "2 of 9 failed"."""
    state = judged.headline[1]
    number = verdict.counts(judged.rows)[state]
    if state == verdict.PASSED or not number:
        return state
    return f"{number} of {len(judged.rows)} {state}"


def svg(judged: Judgement) -> str:
    """The badge's file."""
    sign, colour = SIGNS[judged.headline[1]]
    text = words(judged)
    width = round(100 + 16 + LETTER * (len(text) + 2))
    return SVG.format(
        width=width,
        inner=width - 4,
        middle=round((100 + width) / 2),
        colour=colour,
        sign=sign,
        text=html.escape(text),
    )
