"""The page that an acceptance ends in: what was run on which machine, what was judged, what was
not, and why."""

import re
import shlex
from dataclasses import dataclass

from . import spread, verdict

ACCEPTANCE = "acceptance"
# options of ReFrame, in full or abbreviated, that leave out checks, try them again, or trust more
NARROWING = re.compile(r"-[nxTEt].*|--(na|ex|fi|fail|rest|max-r|skip-s|skip-per)[a-z-]*")
OURS = ("hdf5_file.data", "hdf5_file.patches", "image")  # settings that do not change the work
FACTS = (  # what of the evidence says which machine and software was measured
    ("machine", "machine"),
    ("kernel", "kernel"),
    ("driver", "driver"),
    ("image", "image (digest)"),
    ("commit", "commit of the suite"),
    ("dataset", "data (digest)"),
)


@dataclass(frozen=True)
class SignOff:
    """What is signed.

    Attributes:
        headline: the verdict in words; "Accepted" only of a whole acceptance.
        state: of verdict.STATES.
        facts: (name, text) of machine and software.
        passed, failed, not_judged, not_measured: lines in words.
        not_run: checks that were skipped or left out, with the reason.
        rates: spread.Rate per check and node.
        between: sentences on the spread between nodes, and which to drain.
    """

    headline: str
    state: str
    facts: list
    passed: list
    failed: list
    not_judged: list
    not_measured: list
    not_run: list
    rates: list
    between: list


def _options(command: str) -> list:
    """(name, value) of every word of a command line; the value is the next word if the word has
    none of its own."""
    try:
        words = shlex.split(command)
    except ValueError:
        return []
    pairs = []
    for word, following in zip(words, [*words[1:], ""]):
        name, sign, value = word.partition("=")
        pairs.append((name, value if sign else following))
    return pairs


def asked_for(command: str) -> bool:
    """Whether a session's command line asks for the tag of the acceptance."""
    wanted = (ACCEPTANCE, f"^{ACCEPTANCE}$")
    return any(name in ("--tag", "-t") and value in wanted for name, value in _options(command))


def left_out(command: str) -> str:
    """What of the acceptance a session's command line left out, in words; "" if nothing."""
    if not asked_for(command):
        return f"the session did not ask for the tag {ACCEPTANCE}"
    options = _options(command)
    tags = [value for name, value in options if name in ("--tag", "-t")]
    narrowed = [name for name, _ in options if NARROWING.fullmatch(name) and name != "-t"]
    narrowed += [f"--tag={tag}" for tag in tags if ACCEPTANCE not in tag]
    narrowed += [
        f"--system={value}" for name, value in options if name == "--system" and ":" in value
    ]
    settings = [value for name, value in options if name in ("-S", "--setvar")]
    narrowed += [f"-S {value}" for value in settings if value.partition("=")[0] not in OURS]
    if narrowed:
        return f"checks were chosen or tried again ({', '.join(narrowed)})"
    return ""


def sign_off(rows: list, cases: list) -> SignOff:
    """The page of some verdicts.

    Args:
        rows: what `verdict.rows` says of `cases`.
        cases: of one session, those skipped included.
    """
    skipped = [f"{c.name}: {c.reason or 'skipped'}" for c in cases if c.result == "skip"]
    commands = dict.fromkeys(case.command for case in cases)
    not_run = [*dict.fromkeys(skipped), *filter(None, map(left_out, commands))]
    words, state = verdict.headline(rows)
    if state == verdict.PASSED and not_run:
        words = f"Passed, but not a whole acceptance: {words.partition(': ')[2]}"
        state = verdict.NOT_JUDGED
    by_state = {word: [_line(row) for row in rows if row.state == word] for word in verdict.STATES}
    measured = spread.spreads(cases)
    return SignOff(
        headline=words,
        state=state,
        facts=_facts(cases),
        passed=by_state[verdict.PASSED],
        failed=by_state[verdict.FAILED],
        not_judged=by_state[verdict.NOT_JUDGED],
        not_measured=by_state[verdict.NOT_MEASURED],
        not_run=not_run,
        rates=spread.rates(rows),
        between=[*map(spread.summary, measured), *spread.advice(measured)],
    )


def _line(row: verdict.Row) -> str:
    if row.value is None:
        return f"{row.case.name}: {row.detail or 'ended well'}"
    more = [row.detail, verdict.basis(row.value)]
    words = f"{row.case.name}, {row.metric}: {verdict.measured(row.value)}"
    if row.value.judged:
        words += f", reference {verdict.band(row.value)}"
    return "; ".join([words, *filter(None, more)])


def _facts(cases: list) -> list:
    found = [("system", _all(case.system for case in cases))]
    found += [(title, _all(c.evidence.get(name) for c in cases)) for name, title in FACTS]
    packages: dict = {}
    for case in cases:
        for name, version in (case.evidence.get("packages") or {}).items():
            packages.setdefault(name, []).append(version)
    nodes = {node for case in cases for node in case.nodelist}
    found += [(name, _all(versions)) for name, versions in sorted(packages.items())]
    return [*found, ("nodes that took part", ", ".join(sorted(nodes)) or "not recorded")]


def _all(values) -> str:
    known = dict.fromkeys(str(value) for value in values if value not in (None, ""))
    return "; ".join(known) or "not recorded"


def markdown(page: SignOff) -> str:
    """The page as Markdown."""
    parts = [
        ("Failed", page.failed),
        ("Could not be measured", page.not_measured),
        ("Not run", page.not_run),
        ("Not judged", page.not_judged),
        ("Judged and passed", page.passed),
        ("Nodes", page.between),
    ]
    lines = [f"# Sign-off: {_plain(page.headline)}", "", "| what | found |", "|---|---|"]
    lines += [f"| {_plain(name)} | {_plain(text)} |" for name, text in page.facts]
    for title, some in parts:
        lines += ["", f"## {title} ({len(some)})", ""]
        lines += [f"- {_plain(line)}" for line in some] or ["None."]
    lines += ["", spread.RULE, "", "## Runs per check and node", ""]
    lines += ["| check | node | runs | passed |", "|---|---|---|---|"]
    for rate in page.rates:
        node = _plain(rate.node) or "all"
        lines.append(f"| {_plain(rate.name)} | {node} | {rate.runs} | {rate.passed} |")
    boxes = [f"- [ ] {word}" for word in ("accepted", "accepted with reservations", "not accepted")]
    names = ("Reservations", "Name and role", "Place and date", "Signature")
    lines += ["", "## Decision", "", *boxes, ""]
    return "\n".join([*lines, *(f"{name}: {'_' * 40}\n" for name in names)])


def _plain(text: str) -> str:
    """A text that Markdown shows as it is."""
    return re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", " ".join(text.split()))
