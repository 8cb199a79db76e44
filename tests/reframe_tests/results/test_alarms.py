"""Alarms: steps, drifts, recovery, acknowledgements, and every verdict that is none of these."""

import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigearth.errors import InputError
from reframe_tests.results import alarms
from reframe_tests.results.alarms import Acknowledgement, Run, Series, Site, judge

KEY = ("juwels:gpus", "training", "nodes=1", "time_per_epoch")
NIGHTS = [f"s{i:03d}" for i in range(200)]


def noise(count=120, seed=0, cv=0.01):
    return 100 * np.exp(cv * np.random.default_rng(seed).standard_normal(count))


def series(values, key=KEY, lower_is_better=True, **more):
    runs = [Run(night, float(value)) for night, value in zip(NIGHTS, values)]
    return Series(key, tuple(runs), lower_is_better, **more)


def judged(values, *acknowledgements, **more):
    """(verdict, all alarms) of one series."""
    found = judge([series(values, **more)], NIGHTS[: len(values)], acknowledgements)
    return found.verdicts[KEY], found.alarms


def acknowledged(since, upto, accepted):
    return Acknowledgement(
        key=KEY,
        since=NIGHTS[since],
        upto=NIGHTS[upto],
        accepted=accepted,
        name="Ada",
        reason="new driver",
        when="2026-11-30T12:00:00+00:00",
    )


def test_noise_is_steady():
    verdict, found = judged(noise())
    assert (verdict.state, verdict.why, found) == ("passed", "steady", ())


def test_a_step_is_red_soon_says_since_when_and_stays():
    values = noise()
    values[80:] *= 1.05
    verdict, (alarm,) = judged(values)
    assert (verdict.state, verdict.why, verdict.alarm) == ("failed", "step", alarm)
    assert alarm.since in NIGHTS[79:81] and NIGHTS[83] <= alarm.raised <= NIGHTS[87]
    assert alarm.effect == pytest.approx(0.05, abs=0.01)
    assert f"{alarm.effect:+.1%} since {alarm.since} (" in verdict.sentence


def test_a_recovery_does_not_turn_an_alarm_off():
    values = noise()
    values[80:90] *= 1.05
    assert judged(values)[0].state == "failed"


def test_a_drift_is_red():
    values = noise() * np.exp(0.01 / 30 * np.maximum(0, np.arange(120) - 30))
    verdict, _ = judged(values)
    assert verdict.state == "failed"


def test_a_change_for_the_better_is_not_red():
    values = noise()
    values[80:] *= 0.95
    assert judged(values)[0].state == "passed"


def test_higher_may_be_better():
    values = noise()
    values[80:] *= 0.95
    assert judged(values, lower_is_better=False)[0].state == "failed"


def test_one_odd_night_and_a_short_burst_are_no_alarm():
    values = noise()
    values[70] *= 2
    values[90:93] *= 1.1
    assert judged(values)[0].state == "passed"


def test_a_small_effect_is_no_alarm_however_certain():
    values = noise(cv=0.0005)
    values[80:] *= 1.005
    assert judged(values)[0].state == "passed"
    site = Site(min_effect=0.001)
    found = judge([series(values)], NIGHTS[:120], site=site)
    assert found.verdicts[KEY].state == "failed"


def test_partial_recovery_is_red_again_after_it_was_called_repaired():
    values = noise()
    values[70:80] *= 1.10
    values[80:] *= 1.07
    verdict, found = judged(values, acknowledged(70, 79, accepted=False))
    assert [alarm.acknowledged is not None for alarm in found] == [True, False]
    assert verdict.state == "failed" and verdict.alarm.effect == pytest.approx(0.07, abs=0.01)


def test_full_recovery_is_green_after_it_was_called_repaired():
    values = noise()
    values[70:80] *= 1.10
    verdict, (alarm,) = judged(values, acknowledged(70, 80, accepted=False))
    assert verdict.state == "passed" and alarm.acknowledged.name == "Ada"


def test_an_accepted_level_is_a_new_baseline_first_too_short_to_judge():
    values = noise()
    values[70:] *= 1.10
    known = acknowledged(70, 80, accepted=True)
    verdict, _ = judged(values[:85], known)
    assert (verdict.state, verdict.why) == ("not judged", "few runs")
    assert judged(values, known)[0].state == "passed"
    values[105:] *= 1.05
    verdict, found = judged(values, known)
    assert verdict.state == "failed" and len(found) == 2
    assert verdict.alarm.since in NIGHTS[104:107]


def test_time_and_throughput_are_one_alarm():
    values = noise()
    values[80:] *= 1.05
    other = (*KEY[:3], "throughput")
    found = judge(
        [series(values), series(1e6 / values, key=other, lower_is_better=False)], NIGHTS[:120]
    )
    (alarm,) = found.alarms
    assert set(alarm.keys) == {KEY, other}
    assert found.verdicts[KEY].state == found.verdicts[other].state == "failed"


def test_order_is_the_given_one():
    values = noise()
    values[80:] *= 1.05
    ordered = series(values)
    shuffled = dataclasses.replace(ordered, runs=tuple(reversed(ordered.runs)))
    assert judge([shuffled], NIGHTS[:120]) == judge([ordered], NIGHTS[:120])
    # the same runs in the opposite order got faster
    assert judge([ordered], NIGHTS[:120][::-1]).verdicts[KEY].state == "passed"


def test_an_alarm_is_kept_when_more_nights_follow():
    """What is said on one night is said of it ever after, whatever comes later."""
    values = noise(seed=3)
    values[80:] *= 1.03
    known = {}
    for count in range(75, 121):
        for alarm in judged(values[:count])[1]:
            known.setdefault(alarm.raised, alarm)
    assert list(known.values()) == list(judged(values)[1])


BAD = {
    "one run": ([100.0], "not judged", "few runs"),
    "twenty runs": (noise(20), "not judged", "few runs"),
    "equal runs": ([5.0] * 60, "not judged", "equal runs"),
    "all zero": ([0.0] * 60, "not judged", "equal runs"),
    "NaN at the end": ([*noise(60), math.nan], "could not be measured", "not finite"),
    "nothing but NaN": ([math.nan] * 60, "could not be measured", "not finite"),
    "infinite": ([*noise(60), math.inf], "could not be measured", "not finite"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_judged_has_a_verdict_of_its_own(name):
    values, state, why = BAD[name]
    verdict, _ = judged(values)
    assert (verdict.state, verdict.why) == (state, why) and verdict.sentence


def test_nan_in_between_is_left_out():
    values = noise()
    values[40:50] = math.nan
    values[80:] *= 1.05
    assert judged(values)[0].state == "failed"


def test_no_run_in_the_newest_night_is_missing():
    found = judge([series(noise(60))], NIGHTS[:61])
    assert found.verdicts[KEY].why == "missing" and NIGHTS[60] in found.verdicts[KEY].sentence
    assert judge([series([])], NIGHTS[:61]).verdicts[KEY].why == "missing"


def test_missing_nights_are_counted():
    one = series(noise(100))
    holes = dataclasses.replace(one, runs=one.runs[:40] + one.runs[60:])
    verdict = judge([holes], NIGHTS[:100]).verdicts[KEY]
    assert verdict.state == "passed" and "20 nights missing" in verdict.sentence


@pytest.mark.parametrize(
    ("field", "old", "new"), [("unit", "s", "ms"), ("machine", "V100", "A100")]
)
def test_another_unit_or_machine_is_not_judged_until_accepted(field, old, new):
    one = series(noise(100))
    runs = [
        dataclasses.replace(run, **{field: old if i < 60 else new})
        for i, run in enumerate(one.runs)
    ]
    one = dataclasses.replace(one, runs=tuple(runs))
    verdict = judge([one], NIGHTS[:100]).verdicts[KEY]
    assert (verdict.state, verdict.why) == ("not judged", f"{field} changed")
    assert old in verdict.sentence and f"{new} since {NIGHTS[60]}" in verdict.sentence
    known = acknowledged(60, 99, accepted=True)
    assert judge([one], NIGHTS[:100], (known,)).verdicts[KEY].state == "passed"


def test_an_open_alarm_outlives_a_changed_machine():
    values = noise(100)
    values[70:] *= 1.05
    one = series(values)
    runs = [dataclasses.replace(r, machine="a" if i < 90 else "b") for i, r in enumerate(one.runs)]
    one = dataclasses.replace(one, runs=tuple(runs))
    assert judge([one], NIGHTS[:100]).verdicts[KEY].state == "failed"


def test_an_acknowledgement_of_an_unknown_session_is_noted():
    lost = dataclasses.replace(acknowledged(70, 80, True), since="gone")
    found = judge([series(noise())], NIGHTS[:120], (lost,))
    assert "names a session that is not there" in found.notes[0]


@given(
    st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=80),
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 79), st.integers(0, 79), st.booleans()), max_size=3),
)
def test_no_numbers_make_it_crash_and_few_are_never_green(values, lower, known):
    found = judge(
        [series(values, lower_is_better=lower)], NIGHTS[:80], [acknowledged(*k) for k in known]
    )
    verdict = found.verdicts[KEY]
    assert verdict.state in ("passed", "failed", "not judged", "could not be measured")
    if sum(map(math.isfinite, values)) <= 20:
        assert verdict.state in ("not judged", "could not be measured")


def test_acknowledgements_are_read_as_they_were_written(tmp_path):
    path = tmp_path / "acknowledged.jsonl"
    assert alarms.read_acknowledgements(path) == ()
    both = (acknowledged(1, 2, True), acknowledged(3, 4, False))
    for one in both:
        alarms.acknowledge(path, one)
    assert alarms.read_acknowledgements(path) == both


def test_an_acknowledgement_needs_a_name_and_a_reason(tmp_path):
    nobody = dataclasses.replace(acknowledged(1, 2, True), name=" ")
    with pytest.raises(InputError, match="name and a reason"):
        alarms.acknowledge(tmp_path / "a.jsonl", nobody)
    assert not (tmp_path / "a.jsonl").exists()


GOOD = dataclasses.asdict(acknowledged(1, 2, True))


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "{}",
        "3",
        json.dumps({**GOOD, "key": "x"}),
        json.dumps({**GOOD, "key": [1]}),
        json.dumps({**GOOD, "accepted": "yes"}),
        json.dumps({**GOOD, "since": []}),
        json.dumps({**GOOD, "more": 1}),
    ],
)
def test_a_broken_store_is_one_sentence(tmp_path, line):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(GOOD) + "\n" + line + "\n")
    with pytest.raises(InputError, match="line 2 is no acknowledgement"):
        alarms.read_acknowledgements(path)
