"""Which series of measurements got worse, judged night by night, and which of that nobody has yet
acknowledged.

`judge(series, order, acknowledgements, site)` plays all nights again, in the order that the caller
gives (commits, session numbers), never by the clock. On each night all series together are judged
(`cusum.evidence`), so that a site of 100 series has the false alarms it accepts and not 100 times
as many. Metrics that say the same (time and throughput) are one quantity and count once. An alarm
stays until somebody acknowledges it, with a name and a reason:

- `accepted=True`: the new level is the normal one from its first run on; a new baseline begins.
- `accepted=False`: it is explained and over (a broken node); those runs are left out, and the old
  baseline stays: what has not quite recovered becomes red again.

To wire it in: make a `Series` of every metric of every check and point, call `judge` with the
sessions in their order, take exit code and sentences from the verdicts (worst first), and let
`history --acknowledge` call `acknowledge`, `--acknowledged FILE` `read_acknowledgements`.
"""

import json
import math
import statistics
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Hashable, Optional

from bigearth.errors import InputError, disk_error
from bigearth.files import lock, read_bytes, write_text

from .verdict import FAILED, NOT_JUDGED, NOT_MEASURED, PASSED

# metrics of one run that are computed from each other, the one that stands for all of them first
SAME = ("time_per_epoch", "throughput", "throughput_per_device")
MOST_RATE = 1e-3  # of false alarms per night of one series, however few series a site has
MOST_BYTES = 64 << 20
EXPECTED = "expected a file that `history --acknowledge` wrote"


@dataclass(frozen=True)
class Run:
    """One value of a series.

    Attributes:
        night: the session it was measured in, one of the ids in `order`.
        value: in `unit`; NaN if it could not be measured.
        unit: of the value.
        machine: what it ran on (processor and device model), None if it was not recorded.
    """

    night: Hashable
    value: float
    unit: str = ""
    machine: Optional[str] = None


@dataclass(frozen=True)
class Series:
    """One metric of one check and point on one system.

    Attributes:
        key: (system, check, point, metric).
        runs: of it, in any order.
        lower_is_better: direction of the metric.
    """

    key: tuple
    runs: tuple
    lower_is_better: bool


@dataclass(frozen=True)
class Site:
    """What a site accepts.

    Attributes:
        alarms_per_month: false alarms of all series together in 30 nights.
        min_effect: smaller relative changes are no alarm, however certain.
    """

    alarms_per_month: float = 1.0
    min_effect: float = 0.01


@dataclass(frozen=True)
class Acknowledgement:
    """What somebody said of an alarm, a changed unit or a changed machine.

    Attributes:
        key: of the series; all that are one quantity with it are meant.
        since: the night with which the change began.
        upto: the newest night that was looked at.
        accepted: whether the new level is the normal one from now on.
        name, reason, when: who said it, why, and when (ISO 8601).
    """

    key: tuple
    since: Hashable
    upto: Hashable
    accepted: bool
    name: str
    reason: str
    when: str


@dataclass(frozen=True)
class Alarm:
    """A series that got worse.

    Attributes:
        keys: of all series that are this one quantity.
        kind: "step" or "drift".
        raised: the night it was raised; since: the night with which the change began.
        before, after: median of the baseline and of the runs since (of a drift: of the last 7).
        effect: after / before - 1.
        p: rate per night at which a series without a change says as much.
        acknowledged: by whom and why, or None while it is open.
    """

    keys: tuple
    kind: str
    raised: Hashable
    since: Hashable
    before: float
    after: float
    effect: float
    p: float
    acknowledged: Optional[Acknowledgement] = None


@dataclass(frozen=True)
class Verdict:
    """What there is to say of one series.

    Attributes:
        state: one of `verdict.STATES`.
        why: "step", "drift", "steady", "missing", "not finite", "few runs", "equal runs", "unit
            changed" or "machine changed".
        sentence: for people.
        alarm: the open one, if there is one.
    """

    state: str
    why: str
    sentence: str
    alarm: Optional[Alarm] = None


@dataclass(frozen=True)
class Judgement:
    """All verdicts.

    Attributes:
        verdicts: key of the series -> Verdict.
        alarms: every alarm that was ever raised, oldest first.
        notes: what could not be used, in words.
    """

    verdicts: dict
    alarms: tuple
    notes: tuple


def quantity(key: tuple) -> tuple:
    """The key of the series that stands for all that say the same."""
    return (*key[:-1], SAME[0]) if key[-1] in SAME else key


class _Track:
    """The runs of one quantity in order, and what each says.

    Attributes:
        members: the series that are this quantity.
        runs: the finite ones of the series that stands for all; nights: of them.
        acknowledgements: of the quantity, by the night they looked up to.
        said: night -> (segment, evidence of the segment's runs, the runs, index of the run). A
            segment ends with an acknowledgement.
    """

    def __init__(self, members: list, place: dict, acknowledgements: list):
        self.members = members
        self.place = place
        # the one with most runs stands for all
        series = max(members, key=lambda one: sum(math.isfinite(run.value) for run in one.runs))
        self.lower_is_better = series.lower_is_better
        runs = [run for run in series.runs if math.isfinite(run.value)]
        self.runs = sorted(runs, key=lambda run: place[run.night])
        self.nights = {run.night for run in runs}
        self.acknowledgements = sorted(acknowledgements, key=lambda known: place[known.upto])
        self.said = {}
        level, explained = self.runs, -1
        for segment, known in enumerate([*self.acknowledgements, None]):
            begin = place[self.acknowledgements[segment - 1].upto] + 1 if segment else 0
            end = place[known.upto] if known else len(place)
            self._say(segment, level, begin=begin, end=end, explained=explained)
            if known and known.accepted:
                level = [run for run in self.runs if place[run.night] >= place[known.since]]
                explained = -1
            elif known:
                out = range(place[known.since], end + 1)
                level = [run for run in level if place[run.night] not in out]
                explained = end
        self.level = level  # since it was last accepted, without what was explained

    def _say(self, segment: int, level: list, *, begin: int, end: int, explained: int) -> None:
        """Evidence of the runs from place `begin` to `end`."""
        from . import cusum

        runs = [run for run in _alike(level) if self.place[run.night] <= end]
        if len(runs) <= cusum.LEAST_RUNS or len({run.value for run in runs}) == 1:
            return
        before = sum(self.place[run.night] <= explained for run in runs)
        found = cusum.evidence(_scores(runs, self.lower_is_better), judged_from=before)
        for i, run in enumerate(runs):
            if self.place[run.night] >= begin and found.p[i] < 1:
                self.said[run.night] = (segment, found, runs, i)

    def p(self, night: Hashable) -> float:
        """What the run of a night says; 1 if nothing."""
        if night not in self.said:
            return 1.0
        _, found, _, i = self.said[night]
        return float(found.p[i])

    def segment(self, night: Hashable) -> int:
        """How many acknowledgements lie before a night."""
        return sum(self.place[a.upto] < self.place[night] for a in self.acknowledgements)

    def alarm(self, night: Hashable) -> Alarm:
        """What a night says, as an alarm."""
        segment, found, runs, i = self.said[night]
        first, drift = int(found.first[i]), bool(found.drift[i])
        before = statistics.median(run.value for run in runs[: found.baseline[i]])
        newest = runs[max(first, i - 6) if drift else first : i + 1]
        after = statistics.median(run.value for run in newest)
        known = self.acknowledgements[segment:][:1]
        return Alarm(
            keys=tuple(one.key for one in self.members),
            kind="drift" if drift else "step",
            raised=night,
            since=runs[first].night,
            before=before,
            after=after,
            effect=after / before - 1 if before else math.inf,
            p=float(found.p[i]),
            acknowledged=known[0] if known else None,
        )


def _scores(runs: list, lower_is_better: bool) -> list:
    """Worse is larger, relative where all values are positive."""
    values = [run.value for run in runs]
    if min(values) > 0:
        values = [math.log(value) for value in values]
    return values if lower_is_better else [-value for value in values]


def _alike(runs: list) -> list:
    """The runs before the first one of another unit or machine."""
    for i in range(1, len(runs)):
        if changed(runs[: i + 1]):
            return runs[:i]
    return runs


def changed(runs: list) -> str:
    """ "unit changed" or "machine changed" if not all runs are alike, else ""."""
    if len({run.unit for run in runs}) > 1:
        return "unit changed"
    known = {run.machine for run in runs if run.machine is not None}
    return "machine changed" if len(known) > 1 else ""


def judge(
    series: list, order: list, acknowledgements: tuple = (), site: Optional[Site] = None
) -> Judgement:
    """Judges all series of a site.

    Args:
        series: list of Series.
        order: ids of all sessions, oldest first, also of those in which a series has no run.
        acknowledgements: in the order they were made.
        site: what the site accepts.
    """
    site = site or Site()
    place = {night: i for i, night in enumerate(order)}
    usable = [a for a in acknowledgements if a.since in place and a.upto in place]
    notes = [
        f"the acknowledgement of {' '.join(a.key)} by {a.name} names a session that is not there"
        for a in acknowledgements
        if a not in usable
    ]
    families: dict = {}
    for one in sorted(series, key=lambda one: one.key):
        lost = {run.night for run in one.runs} - set(place)
        if lost:
            notes.append(f"{' '.join(one.key)}: {len(lost)} runs of sessions without a place")
            one = replace(one, runs=tuple(run for run in one.runs if run.night in place))
        families.setdefault(quantity(one.key), []).append(one)
    tracks = [
        _Track(members, place, [a for a in usable if quantity(a.key) == family])
        for family, members in families.items()
    ]
    alarms = _replay(tracks, order, site)
    still_open = {alarm.keys: alarm for alarm in alarms if not alarm.acknowledged}
    verdicts = {
        one.key: _verdict(
            one, track, still_open.get(tuple(m.key for m in track.members)), order=order
        )
        for track in tracks
        for one in track.members
    }
    return Judgement(verdicts=verdicts, alarms=tuple(alarms), notes=tuple(notes))


def _replay(tracks: list, order: list, site: Site) -> list:
    """All alarms, night by night: one that is open is not raised again."""
    from . import cusum

    rate = min(site.alarms_per_month / 30, MOST_RATE * len(tracks))
    raised, found = {}, []  # raised: track -> the segment of its newest alarm
    for night in order:
        ran = [
            (i, track)
            for i, track in enumerate(tracks)
            if night in track.nights and raised.get(i) != track.segment(night)
        ]
        p = [track.p(night) for _, track in ran]
        if not ran or min(p) > rate:
            continue
        for worse, (i, track) in zip(cusum.discoveries(p, rate), ran):
            alarm = track.alarm(night) if worse else None
            if alarm and abs(alarm.effect) >= site.min_effect:
                raised[i] = track.segment(night)
                found.append(alarm)
    return found


def _verdict(one: Series, track: _Track, alarm: Optional[Alarm], order: list) -> Verdict:
    from . import cusum

    measured = sorted(one.runs, key=lambda run: track.place[run.night])
    current = track.level
    if alarm:
        return Verdict(FAILED, alarm.kind, _alarm_sentence(alarm, order), alarm=alarm)
    if not measured or measured[-1].night != order[-1]:
        last = f"last run in {measured[-1].night}" if measured else "never run"
        return Verdict(NOT_MEASURED, "missing", f"no run in {order[-1]}; {last}")
    if not math.isfinite(measured[-1].value):
        return Verdict(NOT_MEASURED, "not finite", "the newest run has no finite value")
    why = changed(current)
    if why:
        return Verdict(NOT_JUDGED, why, _changed_sentence(current, why))
    if len(current) <= cusum.LEAST_RUNS:
        sentence = f"{len(current)} run(s): judged from {cusum.LEAST_RUNS + 1} on"
        return Verdict(NOT_JUDGED, "few runs", sentence)
    if len({run.value for run in current}) == 1:
        sentence = f"{len(current)} equal runs: no noise at all; is it measured?"
        return Verdict(NOT_JUDGED, "equal runs", sentence)
    holes = sum(place >= track.place[current[0].night] for place in range(len(order)))
    holes -= len(current)
    missing = f", {holes} nights missing" if holes > 0 else ""
    return Verdict(PASSED, "steady", f"steady over {len(current)} runs{missing}")


def _alarm_sentence(alarm: Alarm, order: list) -> str:
    runs = len(order) - order.index(alarm.since)
    how = "drifts" if alarm.kind == "drift" else "changed"
    return (
        f"{how} by {alarm.effect:+.1%} since {alarm.since} ({runs} nights), from "
        f"{alarm.before:.4g} to {alarm.after:.4g}, raised in {alarm.raised}; stays until it is "
        "acknowledged"
    )


def _changed_sentence(runs: list, why: str) -> str:
    name = "unit" if why == "unit changed" else "machine"
    known = [run for run in runs if getattr(run, name) is not None]
    kinds = list(dict.fromkeys(getattr(run, name) for run in known))
    newest = getattr(known[-1], name)
    since = next(
        run.night
        for i, run in enumerate(known)
        if all(getattr(later, name) == newest for later in known[i:])
    )
    return (
        f"{len(kinds)} {name}s under one name ({', '.join(map(str, kinds[:3]))}), {newest} since "
        f"{since}: not comparable; acknowledge it as accepted to begin a new baseline"
    )


def acknowledgements(results) -> Path:
    """The file of acknowledgements that belongs to some results: in their folder."""
    path = Path(results)
    return (path if path.is_dir() else path.parent) / "acknowledged.jsonl"


def read_acknowledgements(path) -> tuple:
    """The acknowledgements in a JSON-lines file, oldest first; none if there is no such file.

    Raises:
        InputError: the file is none.
    """
    if not Path(path).exists():
        return ()
    found = []
    lines = read_bytes(path, what="acknowledgements", most=MOST_BYTES).decode(errors="replace")
    for number, line in enumerate(lines.splitlines(), 1):
        try:
            one = Acknowledgement(**json.loads(line))
            texts = (one.name, one.reason, one.when, *one.key)
            if not isinstance(one.key, list) or not all(isinstance(text, str) for text in texts):
                raise ValueError("a text is no text")
            if not isinstance(one.accepted, bool):
                raise ValueError("`accepted` is neither true nor false")
            hash((one.since, one.upto))
        except (TypeError, ValueError) as error:
            raise InputError(
                f"{path}: line {number} is no acknowledgement ({error}); {EXPECTED}"
            ) from error
        found.append(Acknowledgement(**{**one.__dict__, "key": tuple(one.key)}))
    return tuple(found)


def acknowledge(path, one: Acknowledgement) -> None:
    """Adds an acknowledgement to the JSON-lines file.

    Raises:
        InputError: it has no name or no reason, or the file cannot be written.
    """
    if not one.name.strip() or not one.reason.strip():
        raise InputError("--acknowledge: expected a name and a reason; say who knows it and why")
    with lock(path, "add an acknowledgement"):
        read_acknowledgements(path)
        try:
            before = Path(path).read_text() if Path(path).exists() else ""
        except OSError as error:
            raise disk_error(path, "add an acknowledgement", error) from error
        write_text(path, "add an acknowledgement", before + json.dumps(asdict(one)) + "\n")
