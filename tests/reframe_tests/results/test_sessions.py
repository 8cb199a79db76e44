"""reframe_tests/results/sessions.py and the joining of records with ReFrame's test cases."""

import json
import math
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from bigearth.errors import InputError
from reframe_tests.results import runs
from reframe_tests.results import sessions as reader
from tests.plots import example_sessions as sessions
from tests.plots.example_results import train

REFRAME_CHECK = """
import reframe as rfm
import reframe.utility.sanity as sn
from reframe.core.builtins import performance_function, run_after, sanity_function, variable

@rfm.simple_test
class quick(rfm.RunOnlyRegressionTest):
    valid_systems = ["*"]
    valid_prog_environs = ["*"]
    executable = "echo"
    executable_opts = ["42.5"]
    check = variable(str, value="training", loggable=True)
    point = variable(str, value="nodes=1", loggable=True)
    cells = variable(dict, value={"time_per_epoch": {"origin": "measured", "source": "by hand"}}, loggable=True)
    reference = {"*": {"time_per_epoch": (40, -0.1, 0.1, "s")}}

    @sanity_function
    def ran(self):
        return sn.assert_found("42", self.stdout)

    @performance_function("s")
    def time_per_epoch(self):
        return sn.extractsingle(r"(\\S+)", self.stdout, 1, float)
"""
REFRAME_SETTINGS = """
site_configuration = {"storage": [{"enable": True, "backend": "sqlite", "sqlite_db_file": "./results.db"}],
                      "general": [{"report_file": "run-{sessionid}.json"}]}
"""


@pytest.mark.reframe
def test_reads_what_reframe_itself_writes(tmp_path):
    (tmp_path / "check.py").write_text(REFRAME_CHECK)
    (tmp_path / "settings.py").write_text(REFRAME_SETTINGS)
    code = "import sys; from reframe.frontend.cli import main; sys.exit(main())"
    command = [
        sys.executable,
        "-c",
        code,
        "-C",
        "settings.py",
        "--prefix",
        "out",
        "-c",
        "check.py",
        "-r",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    # the report is the same session
    (case,) = reader.load([tmp_path / "results.db"], list(tmp_path.glob("run-*.json")))
    value = case.values["time_per_epoch"]
    assert (value.value, value.unit, value.reference, value.low, value.high) == (
        42.5,
        "s",
        40,
        36,
        44,
    )
    assert (value.verdict, value.origin, case.result) == ("pass", "measured", "pass")
    assert case.key == (case.system, "training", "nodes=1")


def test_bands_that_are_open_or_absent_are_nan(tmp_path):
    values = {
        "a": (5.0, 4.0, None, 0.5, "s", "pass"),
        "b": (5.0, 0, None, None, "s", None),
        "c": (None, 4.0, -0.1, 0.1, "s", "fail"),
    }
    (case,) = reader.cases_of(sessions.session(sessions.case(values)), "x")
    assert math.isnan(case.values["a"].low) and case.values["a"].high == 6
    assert math.isnan(case.values["b"].reference) and case.values["b"].verdict == ""
    assert math.isnan(case.values["c"].value)


def test_a_retried_case_counts_once_with_its_last_result():
    report = sessions.session(sessions.case({"time_per_epoch": 9.0}, result="fail"))
    report["runs"].append(
        {"num_cases": 1, "num_failures": 0, "testcases": [sessions.case({"time_per_epoch": 8.0})]}
    )
    (case,) = reader.cases_of(report, "x")
    assert (case.result, case.values["time_per_epoch"].value) == ("pass", 8.0)


def test_a_record_and_the_case_that_judged_it_are_one_run(tmp_path):
    path = train(tmp_path / "output/a", time=12.5, f1=0.5, system="local:default")
    values = {"time_per_epoch": 12.5, "f1_micro": 0.5}
    evidence = {
        "record": json.loads(path.read_text())["id"],
        "dataset": "sha256:" + "1" * 64,
        "nodes": 1,
        "ranks": [],
    }
    others = [
        sessions.session(
            sessions.case({"time_per_epoch": t, "f1_micro": 0.5}), time=sessions.START + t
        )
        for t in (12.0, 13.0)
    ]
    sessions.database(
        tmp_path / "results.db",
        [sessions.session(sessions.case(values, evidence=evidence)), *others],
    )
    found = runs.load(tmp_path)
    assert sorted(run.metric("time_per_epoch") for run in found.runs) == [12.0, 12.5, 13.0]
    assert len(found.cases) == 3
    joined = next(run for run in found.runs if run.path)
    assert joined.case is not None and joined.table("epochs")
    assert len({json.dumps(run.experiment) for run in found.runs}) == 1, (
        "all three are repetitions of one experiment"
    )


def test_a_failed_case_is_a_run_without_metrics_and_says_why(tmp_path):
    failed = sessions.case(
        {}, result="fail", fail_phase="sanity", fail_reason="the loss did not fall"
    )
    sessions.database(tmp_path / "results.db", [sessions.session(failed)])
    (run,) = runs.load(tmp_path).runs
    assert run.workload == "train" and math.isnan(run.metric("f1_micro"))
    assert run.reason("f1_micro") == "the check failed in sanity"


def _other_database(path):
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE songs(title TEXT)")
    connection.commit()


@pytest.mark.parametrize(
    "make, said",
    [
        (
            lambda p: p.write_text("not a database at all, but text of some length\n" * 50),
            "not a results database",
        ),
        (_other_database, "it has songs"),
        (lambda p: sessions.database(p, [], version="2.0"), "schema version 2.0"),
        (
            lambda p: sessions.database(p, [sessions.session(data_version="9.1")]),
            "data version is 9.1",
        ),
        (lambda p: p.with_name("run-1.json").write_text('{"runs": 3}'), "not a ReFrame run report"),
        (lambda p: p.with_name("run-1.json").write_text('{"ru'), "not a ReFrame run report"),
        (lambda p: sessions.database(p, []), "no test case"),
    ],
)
def test_a_foreign_database_is_refused_in_a_sentence(tmp_path, make, said):
    make(tmp_path / "results.db")
    with pytest.raises(InputError, match=said) as caught:
        runs.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_database_cut_short_is_refused(tmp_path):
    path = sessions.database(tmp_path / "results.db", sessions.nightly([10.0] * 50))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="damaged|not a results database"):
        runs.load(tmp_path)


def test_two_databases_with_one_session_that_differs_are_refused(tmp_path):
    one = sessions.session(sessions.case({"time_per_epoch": 1.0}), uuid_="same")
    two = sessions.session(sessions.case({"time_per_epoch": 2.0}), uuid_="same")
    sessions.database(tmp_path / "a.db", [one])
    sessions.database(tmp_path / "b.db", [one])
    assert len(runs.load(tmp_path).cases) == 1
    sessions.database(tmp_path / "c.db", [two])
    with pytest.raises(InputError, match="session same differs"):
        runs.load(tmp_path)


def test_a_file_that_is_no_result_is_refused(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("hello")
    with pytest.raises(InputError, match="not a results file"):
        runs.load(path)


@pytest.mark.parametrize(
    "part, value, fault",
    [
        ("config", None, "'config' is no dict"),
        ("metrics", {"f1_micro": 0.5}, "metric 'f1_micro' has no value and unit"),
        ("ranks", {"0": {}}, "'ranks' is no list"),
        ("ranks", [{"rank": 0, "step_time": [0.1]}], "row 0 of 'ranks' is not a rank's"),
        ("tables", {"epochs": [1, 2]}, "table 'epochs' is not a list of rows"),
        ("files", {"samples": 5}, "file 'samples' is not the name of a file"),
        ("provenance", {"nodelist": 3}, "'nodelist' of 'provenance' is no list"),
    ],
)
def test_a_record_of_another_build_is_refused_in_a_sentence(tmp_path, part, value, fault):
    path = train(tmp_path / "a")
    path.write_text(json.dumps({**json.loads(path.read_text()), part: value}))
    with pytest.raises(InputError, match=f"result.json: not a result record: {fault}"):
        runs.load(tmp_path)


@pytest.mark.parametrize("folder", ["nightly #1", "50% done?", "a%2Fb", "a b"])
def test_a_database_is_opened_whatever_its_folder_is_called(tmp_path, folder):
    path = sessions.database(tmp_path / folder / "results.db", sessions.nightly([1.0]))
    assert len(reader.load([path], [])) == 1
    assert [file.name for file in path.parent.iterdir()] == ["results.db"]


def test_a_locked_database_is_said_to_be_locked(tmp_path, monkeypatch):
    path = sessions.database(tmp_path / "results.db", sessions.nightly([1.0]))
    monkeypatch.setattr(reader, "WAIT_S", 0.1)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(InputError, match="the results database is locked"):
            reader.load([path], [])
    assert len(reader.load([path], [])) == 1


def test_sessions_keep_the_order_in_which_they_were_stored(tmp_path):
    """A clock that was set back does not make an older run of a newer one."""
    times = [sessions.START + second for second in (100, 200, 50, 300)]
    reports = [
        sessions.session(sessions.case({"time_per_epoch": float(i)}, time=time), time=time)
        for i, time in enumerate(times)
    ]
    path = sessions.database(tmp_path / "results.db", reports)
    found = reader.load([path], [])
    assert [case.values["time_per_epoch"].value for case in found] == [0.0, 1.0, 2.0, 3.0]
