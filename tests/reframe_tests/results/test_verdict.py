"""The one verdict: its states, its headline, and how it is said."""

import dataclasses
import io
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reframe_tests.results import sessions as reader
from reframe_tests.results import verdict
from tests.plots import example_sessions as sessions

PASS = (9.5, 10.0, -0.1, 0.1, "s", "pass")
FAIL = (15.0, 10.0, -0.1, 0.1, "s", "fail")
OPEN = (3.0, 0, None, None, "s", "pass")
LOST = (None, 10.0, -0.1, 0.1, "s", "fail")
TOLD = "2 ranks: 0.25 of ideal; lost: " + ", ".join(["9.0% to input"] * 9)
STATE = {
    PASS: verdict.PASSED,
    FAIL: verdict.FAILED,
    OPEN: verdict.NOT_JUDGED,
    LOST: verdict.NOT_MEASURED,
}


def rows(values, **more):
    return verdict.rows(reader.cases_of(sessions.session(sessions.case(values, **more)), "x"))


@pytest.mark.parametrize(
    "values, words",
    [
        ({"f1_micro": PASS, "throughput": PASS}, "Accepted: all 2 metrics were judged and passed"),
        (
            {"f1_micro": PASS, "throughput": OPEN, "time_per_epoch": OPEN},
            "Accuracy OK, speed not judged: 2 of 3 without a reference",
        ),
        (
            {"f1_micro": OPEN, "throughput": PASS},
            "Accuracy not judged, speed OK: 1 of 2 without a reference",
        ),
        (
            {"throughput": PASS, "imbalance": OPEN},
            "Speed judged in part: 1 of 2 without a reference",
        ),
        ({"f1_micro": OPEN}, "Measured, not judged: 1 of 1 without a reference"),
        (
            {"f1_micro": FAIL, "throughput": PASS},
            "Not accepted: something regressed (1 of 2 failed)",
        ),
        ({"f1_micro": LOST, "throughput": PASS}, "Could not be measured completely"),
    ],
)
def test_the_headline_never_says_more_than_was_judged(values, words):
    assert verdict.headline(rows(values))[0].startswith(words)


@given(st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(list(STATE)), min_size=1))
def test_accepted_means_that_every_metric_was_judged_and_passed(values):
    found = rows(values)
    assert [row.state for row in found] == [STATE[value] for value in values.values()]
    words, state = verdict.headline(found)
    everything = set(values.values()) == {PASS}
    assert words.startswith("Accepted") == (state == verdict.PASSED) == everything
    assert sum(verdict.counts(found).values()) == len(found)


@pytest.mark.parametrize(
    "interval, doubted", [((10.5, 19), True), ((11.5, 19), False), ((math.nan,) * 2, False)]
)
def test_a_failed_value_whose_interval_reaches_the_band_is_called_not_certain(interval, doubted):
    (row,) = rows({"time_per_epoch": FAIL})
    value = dataclasses.replace(row.value, interval=interval)
    state, detail = verdict.judge("time_per_epoch", value)
    assert state == verdict.FAILED and ("not certain" in detail) == doubted


def test_a_preflight_that_finds_a_fault_failed_and_another_check_was_not_measured():
    (found,) = rows({}, check="preflight", result="fail", fail_phase="sanity", fail_reason="clock")
    assert found.state == verdict.FAILED
    (lost,) = rows({}, check="training", result="fail", fail_phase="sanity", fail_reason="nan")
    assert lost.state == verdict.NOT_MEASURED and "nan" in lost.detail


def test_a_regression_of_the_history_marks_the_row():
    found = rows({"f1_micro": PASS, "time_per_epoch": OPEN})
    marked = verdict.regressed(found, {found[1].key: "+4.8 % since yesterday"})
    assert [row.state for row in marked] == [verdict.PASSED, verdict.FAILED]
    assert "+4.8 %" in verdict.table(marked)


def test_of_a_soak_a_regression_of_the_history_marks_the_last_run_alone():
    found = [row for _ in range(5) for row in rows({"time_per_epoch": PASS})]
    marked = verdict.regressed(found, {found[0].key: "+4.8 % since yesterday"})
    assert [row.state for row in marked] == [verdict.PASSED] * 4 + [verdict.FAILED]


def test_a_metric_that_failed_says_why_it_was_not_faster():
    evidence = {"ranks": [], "efficiency": TOLD}
    found = rows({"f1_micro": PASS, "time_per_epoch": FAIL}, evidence=evidence)
    assert [row.why.startswith(f"{TOLD}; ") for row in found] == [False, True]
    marked = verdict.regressed(found, {found[0].key: "-4.8 % since yesterday"})
    assert marked[0].why == TOLD and TOLD in verdict.table(marked)
    assert "ideal" not in verdict.table(rows({"time_per_epoch": FAIL}))


def test_of_several_sizes_the_screen_has_the_sentence_of_the_largest():
    cases = [
        sessions.case(
            {"throughput": OPEN},
            name=f"training {n}",
            unique_name=f"training_{n}",
            point=f"nodes={n}",
            num_tasks=n,
            evidence={"ranks": [], "efficiency": f"{n} ranks"},
        )
        for n in (2, 8, 4)
    ]
    found = verdict.rows(reader.cases_of(sessions.session(*cases), "x"))
    assert verdict.why_not_faster(found) == "training nodes=8 @default: 8 ranks"
    assert " Why " not in verdict.screen(rows({"throughput": OPEN}))


def test_the_screen_begins_with_the_result_and_says_what_to_do_next():
    evidence = {"ranks": [], "efficiency": TOLD}
    found = rows({"f1_micro": PASS, "throughput": OPEN}, evidence=evidence)
    text = verdict.screen(found, report="results/report.html", seconds=308)
    first = text.splitlines()[0]
    assert first.startswith(" RESULT  Accuracy OK, speed not judged") and "5 min 8 s" in first
    assert f" Why {found[0].case.name}: {TOLD} Report " in " ".join(text.split())
    assert "Report  results/report.html" in text and "calibrate --site local" in text
    assert max(map(len, text.splitlines())) < 120 and "\033" not in text
    assert "\033[32mpassed" in verdict.screen(found, colour=True)


def test_colours_only_on_a_terminal_and_not_against_the_user(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    assert verdict.wants_colour(Terminal()) and not verdict.wants_colour(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not verdict.wants_colour(Terminal())


def test_the_last_line_and_the_json_say_the_same():
    found = rows({"f1_micro": PASS, "throughput": OPEN, "loss": LOST})
    words = dict(word.split("=") for word in verdict.line(found, "r.html").split()[1:])
    content = json.loads(verdict.as_json(found, "r.html"))
    assert words["state"] == "could_not_be_measured" and content["state"] == verdict.NOT_MEASURED
    assert words["report"] == content["report"] == "r.html"
    assert {k.replace("_", " "): int(v) for k, v in words.items() if k in ("passed", "failed")} == {
        "passed": content["counts"]["passed"],
        "failed": content["counts"]["failed"],
    }
    assert content["rows"][2]["value"] is None and content["rows"][0]["reference"] == 10.0
