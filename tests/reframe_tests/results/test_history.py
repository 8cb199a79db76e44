"""`python -m plots history`: verdicts, sentences, exit codes and exports."""

import csv
import json
import re
import subprocess
from pathlib import Path

import junitparser
import numpy as np
import polars
import pytest
import reframe
from lxml import etree
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from plots.__main__ import main
from reframe_tests.results import commits, history
from reframe_tests.results import sessions as reader
from tests.plots import example_sessions as sessions

REGRESSION_NIGHT = 45
SEEN = 9  # nights after it: five of the last seven must lie beyond the noise


def nights(step=1.0, at=REGRESSION_NIGHT, count=60, metric="time_per_epoch", seed=3):
    """One session a night; from night `at` on the metric is `step` times as large and the image is
    another."""
    values = 100 * (1 + 0.01 * np.random.default_rng(seed).standard_normal(count))
    values[at:] *= step
    found = sessions.nightly([float(v) for v in values], metric=metric, band=0.5)
    for i, report in enumerate(found):
        evidence = report["runs"][0]["testcases"][0]["evidence"]
        evidence.update(
            image="sha256:old" if i < at else "sha256:new",
            commit=f"{'a' if i < at - 20 else 'b'}" * 40,
        )
    return found


def run(tmp_path, reports, *options):
    sessions.database(tmp_path / "r/results.db", reports)
    return main(
        ["history", "--results", str(tmp_path / "r"), "--out", str(tmp_path / "h"), *options]
    )


def test_a_slower_level_is_a_regression_and_says_what_changed_with_it(tmp_path, capsys):
    assert run(tmp_path, nights(1.048)[: REGRESSION_NIGHT + SEEN]) == 1
    said = capsys.readouterr().err
    assert re.search(
        r"local@n1:default training nodes=1: time_per_epoch \+[45]\.\d % since 2026-11-0[456], "
        r"\d+ runs, "
        r"image changed \(worse\)",
        said,
    ), said


def test_a_faster_level_is_told_and_no_regression(tmp_path, capsys):
    assert run(tmp_path, nights(0.95)[: REGRESSION_NIGHT + SEEN]) == 0
    assert "(better)" in capsys.readouterr().err


ALARM = "local@n1:default training nodes=1 time_per_epoch"


def test_an_alarm_stays_until_somebody_acknowledges_it(tmp_path, capsys):
    reports = nights(1.048, count=70)
    assert run(tmp_path, reports) == 1
    again = ["history", "--results", str(tmp_path / "r"), "--out", str(tmp_path / "h")]
    told = ["--acknowledge", ALARM, "--name", "Ada", "--reason", "new image"]
    assert main([*again, *told[:4]]) == 2 and "a reason" in capsys.readouterr().err
    assert main([*again, "--acknowledge", "no such", *told[2:]]) == 2
    assert ALARM in capsys.readouterr().err
    assert main([*again, *told]) == 0
    assert main(again) == 0
    text = (tmp_path / "h/summary.md").read_text()
    assert "(known)" in text and "acknowledged by Ada: new image" in text
    (row,) = polars.read_csv(tmp_path / "h/changes.csv").to_dicts()
    assert row["acknowledged"] == "Ada: new image"


def test_higher_is_better_for_throughput(tmp_path):
    assert run(tmp_path, nights(0.95, metric="throughput")[: REGRESSION_NIGHT + SEEN]) == 1


def test_a_small_change_is_no_regression_unless_asked(tmp_path):
    reports = nights(1.048)[: REGRESSION_NIGHT + SEEN]
    assert run(tmp_path, reports, "--min-effect", "0.2") == 0


def test_a_value_outside_its_band_is_a_regression_at_once(tmp_path, capsys):
    slow = sessions.case(
        {"time_per_epoch": (130.0, 100.0, -0.1, 0.1, "s", "fail")},
        result="fail",
        fail_phase="performance",
    )
    assert run(tmp_path, [sessions.session(slow)]) == 1
    assert "time_per_epoch is 130 s, +30.0 % from its reference" in capsys.readouterr().err


def test_a_run_that_failed_could_not_be_measured(tmp_path, capsys):
    broken = sessions.case(
        {},
        result="fail",
        fail_phase="sanity",
        fail_reason="the loss\ndid not fall",
        time=sessions.START + 60 * sessions.DAY,
    )
    reports = [*nights()[:20], sessions.session(broken, time=sessions.START + 60 * sessions.DAY)]
    assert run(tmp_path, reports) == 2
    assert "could not be measured (sanity): the loss did not fall" in capsys.readouterr().err


def test_an_older_failure_does_not_matter_today(tmp_path):
    broken = sessions.case(
        {}, result="fail", fail_phase="sanity", fail_reason="x", time=sessions.START - 60
    )
    assert run(tmp_path, [sessions.session(broken, time=sessions.START - 60), *nights()[:20]]) == 0


def test_exports_hold_every_value_once_and_agree(tmp_path):
    reports = nights(1.05)
    run(tmp_path, reports)
    frame = polars.read_parquet(tmp_path / "h/history.parquet")
    with open(tmp_path / "h/history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    values = [
        report["runs"][0]["testcases"][0]["perfvalues"]["local:default:time_per_epoch"][0]
        for report in reports
    ]
    assert frame["value"].to_list() == values == [float(row["value"]) for row in rows]
    assert frame["image"].to_list()[-1] == "sha256:new"
    lines = polars.read_ndjson(tmp_path / "h/history.jsonl", schema=frame.schema)
    assert lines.equals(frame, null_equal=True)
    (change,) = polars.read_csv(tmp_path / "h/changes.csv").to_dicts()
    near = [row["time"] for row in rows[REGRESSION_NIGHT - 1 : REGRESSION_NIGHT + 2]]
    assert change["changed"] == "image" and change["since"] in near


def test_junit_is_valid_and_has_an_entry_for_every_verdict(tmp_path):
    reports = nights(1.05)[: REGRESSION_NIGHT + SEEN]
    newest = reports[-1]["runs"][0]["testcases"][0]
    unknown = (3.0, 0, None, None, "GB/s", "pass")
    newest["perfvalues"]["local:default:write_bandwidth"] = list(unknown)
    broken = sessions.case({}, check="prepare", result="fail", fail_phase="run", fail_reason="x")
    reports[-1]["runs"][0]["testcases"].append(broken)
    run(tmp_path, reports)
    document = etree.parse(str(tmp_path / "h/junit.xml"))
    schema = Path(reframe.__file__).parent / "schemas/junit.xsd"
    kinds = {case.get("name"): [part.tag for part in case] for case in document.iter("testcase")}
    assert kinds == {
        "nodes=1 time_per_epoch": ["failure"],
        "nodes=1 write_bandwidth": ["skipped"],
        "nodes=1": ["error"],
    }
    assert "no reference" in document.find(".//skipped").get("message")
    etree.XMLSchema(etree.parse(str(schema))).assertValid(document)
    suite = next(iter(junitparser.JUnitXml.fromfile(tmp_path / "h/junit.xml")))
    assert (suite.tests, suite.failures, suite.skipped, suite.errors) == (3, 1, 1, 1)


def samples(path):
    """The samples of a text in OpenMetrics' format, by its own reader."""
    families = text_string_to_metric_families(path.read_text())
    return {
        (sample.name, sample.labels.get("state", "")): (sample.value, sample.timestamp)
        for family in families
        for sample in family.samples
    }


def test_openmetrics_has_base_units_limits_and_the_verdict(tmp_path):
    values = {"write_bandwidth": (1.6, 1.5, -0.1, 0.2, "GB/s", "pass")}
    run(tmp_path, [sessions.session(sessions.case(values))])
    name = "bigearth_write_bandwidth"
    assert samples(tmp_path / "h/metrics.prom") == {
        (f"{name}_bytes_per_second", ""): (1.6e9, None),
        (f"{name}_reference_bytes_per_second", ""): (1.5e9, None),
        (f"{name}_lowest_good_bytes_per_second", ""): (pytest.approx(1.35e9), None),
        (f"{name}_highest_good_bytes_per_second", ""): (pytest.approx(1.8e9), None),
        ("bigearth_verdict", "passed"): (1.0, None),
        ("bigearth_verdict", "failed"): (0.0, None),
        ("bigearth_verdict", "not judged"): (0.0, None),
        ("bigearth_verdict", "could not be measured"): (0.0, None),
    }


def test_metrics_whose_names_openmetrics_cannot_tell_apart_stay_one_family(tmp_path):
    entry = (1.0, 0, None, None, "1", None)
    values = {"my metric": entry, "my_metric": (2.0, *entry[1:])}
    run(tmp_path, [sessions.session(sessions.case(values))])
    lines = (tmp_path / "h/metrics.prom").read_text().splitlines()
    assert len([line for line in lines if line.startswith("# TYPE bigearth_my")]) == 1
    assert len([line for line in lines if line.startswith("bigearth_my_metric")]) == 2


@pytest.mark.parametrize(
    "options, said",
    [(["--min-effect", "-1"], "--min-effect"), (["--min-effect", "7"], "--min-effect")],
)
def test_options_out_of_range_are_refused(tmp_path, capsys, options, said):
    assert run(tmp_path, nights()[:5], *options) == 2
    assert said in capsys.readouterr().err


def test_results_without_any_session_are_refused(tmp_path, capsys):
    from tests.plots.example_results import train

    train(tmp_path / "r/a")
    assert main(["history", "--results", str(tmp_path / "r"), "--out", str(tmp_path / "h")]) == 2
    assert "holds no ReFrame session" in capsys.readouterr().err


def test_two_metrics_of_one_quantity_each_have_their_own_sign(tmp_path, capsys):
    reports = nights(1.1)[: REGRESSION_NIGHT + SEEN]
    for report in reports:
        case = report["runs"][0]["testcases"][0]
        seconds = case["perfvalues"]["local:default:time_per_epoch"][0]
        case["perfvalues"]["local:default:throughput"] = [1e5 / seconds, 0, None, None, "img/s", ""]
    assert run(tmp_path, reports) == 1
    said = capsys.readouterr().err
    assert re.search(r"time_per_epoch \+(9|10)\.\d % since", said), said
    assert re.search(r"throughput -[89]\.\d % since", said), said


def test_a_drift_is_a_regression(tmp_path, capsys):
    noise = np.random.default_rng(0).standard_normal(65)
    values = 100 * (1 + 0.01 * noise) * (1 + 0.002 * np.maximum(np.arange(65) - 20, 0))
    assert run(tmp_path, sessions.nightly(values.tolist(), band=0.5)) == 1
    assert "time_per_epoch" in capsys.readouterr().err


FUTURE = 4_070_908_800.0  # the year 2099


def dated(value, verdict, time):
    """A session of one value, and of what ReFrame said of it."""
    entry = (value, 100.0, -0.1, 0.1, "s", verdict)
    result = {"result": "fail", "fail_phase": "performance"} if verdict == "fail" else {}
    return sessions.session(
        sessions.case({"time_per_epoch": entry}, time=time, **result), time=time
    )


def test_a_run_dated_in_the_future_does_not_hide_a_later_failure(tmp_path):
    good = dated(100.0, "pass", FUTURE)
    bad = dated(130.0, "fail", sessions.START)
    assert run(tmp_path, [good, bad]) == 1


def test_a_report_from_the_future_is_never_green(tmp_path, capsys):
    (tmp_path / "r").mkdir()
    (tmp_path / "r/run-1.json").write_text(json.dumps(dated(100.0, "pass", FUTURE)))
    assert run(tmp_path, [dated(100.0, "pass", sessions.START)]) == 2
    assert "its place among the others is not known" in capsys.readouterr().err


def test_two_machines_that_are_both_local_have_histories_of_their_own(tmp_path):
    reports = [
        sessions.session(
            sessions.case({"time_per_epoch": 10.0 * (1 + i % 2)}, time=sessions.START + i),
            time=sessions.START + i,
            hostname=f"n{i % 2}",
        )
        for i in range(60)
    ]
    cases = [case for report in reports for case in reader.cases_of(report, "x")]
    found = history.histories(cases)
    assert [one.key[0] for one in found] == ["local@n0:default", "local@n1:default"]
    assert not any(one.events for one in found)


def test_an_older_commit_measured_later_is_told_and_not_judged(tmp_path, monkeypatch):
    """As in a search for the commit that made it slow."""
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    hashes = []
    subprocess.run([*git, "init", "-q", tmp_path], check=True)
    for i in range(2):
        command = [*git, "-C", tmp_path, "commit", "-q", "--allow-empty", "-m", str(i)]
        subprocess.run(command, check=True)
        command = [*git, "-C", tmp_path, "rev-parse", "HEAD"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        hashes.append(done.stdout.strip())
    old, new = hashes
    monkeypatch.setattr(commits.Order.__init__, "__defaults__", (tmp_path,))
    values = [100.0 + i % 3 for i in range(24)] + [125.0 + i % 3 for i in range(12)]
    reports = sessions.nightly(values, band=0.5)
    for i, report in enumerate(reports):
        evidence = report["runs"][0]["testcases"][0]["evidence"]
        evidence.update(commit=old if i >= 24 else new)
    assert run(tmp_path, reports) == 0
    assert "12 values of an older commit" in (tmp_path / "h/summary.md").read_text()
    for report in reports[24:]:
        report["runs"][0]["testcases"][0]["evidence"].update(commit=new)
    (tmp_path / "r/results.db").unlink()
    assert run(tmp_path, reports) == 1
