"""Calibration: references from a results database, and what it refuses."""

import json
import sqlite3
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigearth import cli
from bigearth.errors import InputError
from reframe_tests import calibrate, references, sites


def propose(argv):
    """Runs the program as its command line would."""
    return calibrate.main(cli.parse(calibrate.CalibrateConfig, argv, calibrate.PROGRAM))


KEY = "local:default:time_per_epoch"


def session(value, when, image=None, result="pass", fail_phase=None):
    """One session of the local training check with one metric."""
    case = {
        "system": "local", "partition": "default", "check": "training", "point": "nodes=1", "result": result, "fail_phase": fail_phase,
        "evidence": {"image": image, "dataset": "sha256:d", "patches": 1000, "ranks": []},
        "job_completion_time_unix": when, "perfvalues": {KEY: [value, 0, None, None, "s", result]},
    }  # fmt: skip
    return {
        "session_info": {"uuid": str(when), "data_version": "4.2"},
        "runs": [{"testcases": [case]}],
    }


@pytest.fixture
def calibrated(tmp_path, monkeypatch, capsys):
    """calibrated(sessions, *options) -> (exit code, diff, what was said); the references are a copy
    of the local site's."""
    system = sites.system_of("local")
    monkeypatch.setattr(references, "FOLDER", tmp_path)
    file = tmp_path / "local.yaml"
    file.write_text(
        references.dump(references.empty("local", sites.partitions(system)), "A comment.")
    )

    def run(sessions, *options):
        database = tmp_path / "results.db"
        database.unlink(missing_ok=True)
        with sqlite3.connect(database) as connection:
            connection.execute(
                "create table sessions (uuid text, session_start_unix real, session_end_unix real, "
                "json_blob text, report_file text)"
            )
            rows = [
                (s["session_info"]["uuid"], i, i, json.dumps(s), "") for i, s in enumerate(sessions)
            ]
            connection.executemany("insert into sessions values (?, ?, ?, ?, ?)", rows)
        diff = tmp_path / "out.diff"
        diff.unlink(missing_ok=True)
        code = propose(
            ["--site", "local", "--database", str(database), "--out", str(diff), *options]
        )
        return code, diff.read_text() if diff.is_file() else "", capsys.readouterr().err

    run.file = file
    return run


def runs(values, **more):
    return [session(value, 1_700_000_000 + 86400 * i, **more) for i, value in enumerate(values)]


def accept(calibrated, cell):
    """Puts a cell into the references, as a reviewer would who applies the diff."""
    content = references.load(calibrated.file)
    content["partitions"]["default"]["training"]["nodes=1"]["time_per_epoch"] = cell
    calibrated.file.write_text(references.dump(content))


def test_median_and_noise_of_five_runs(calibrated):
    code, diff, _ = calibrated(runs([10.0, 10.2, 9.8, 10.1, 9.9]))
    (line,) = [line for line in diff.splitlines() if line.startswith("+ ")]
    assert (
        code is None and "value: 10.0" in line and "runs: 5" in line and "origin: measured" in line
    )
    assert "2023-11-14 to 2023-11-18" in line


def test_too_few_runs_are_refused(calibrated):
    with pytest.raises(InputError, match="no cell has 5 like runs"):
        calibrated(runs([10.0, 10.2, 9.8, 10.1]))


def test_runs_of_another_image_do_not_count(calibrated):
    with pytest.raises(InputError, match="no cell has 5 like runs"):
        calibrated(runs([10.0] * 4, image="sha256:old") + runs([10.0] * 4, image="sha256:new"))


def test_runs_without_evidence_do_not_count(calibrated):
    broken = session(1.0, 1_700_000_000, result="fail", fail_phase="sanity")
    with pytest.raises(InputError, match="no cell has 5 like runs"):
        calibrated([broken] * 6 + runs([10.0]))


def test_runs_that_missed_their_reference_count(calibrated):
    code, diff, _ = calibrated(runs([10.0] * 5, result="fail", fail_phase="performance"))
    assert code is None and "value: 10.0" in diff


def test_reference_is_never_loosened_unasked(calibrated):
    present = calibrate.proposal(
        "time_per_epoch", [(10.0, 1_700_000_000, {"image": None, "dataset": "d", "patches": 1})] * 5
    )
    accept(calibrated, present)
    code, diff, said = calibrated(runs([12.0] * 5))
    assert code is None and diff == "" and "--accept-slower" in said
    _, diff, _ = calibrated(runs([12.0] * 5), "--accept-slower")
    assert "value: 12.0" in diff
    _, diff, _ = calibrated(runs([8.0] * 5))
    assert "value: 8.0" in diff


def test_empty_database_is_refused(calibrated):
    with pytest.raises(InputError, match="no finished measurement"):
        calibrated([])


def test_missing_database_is_refused(tmp_path):
    with pytest.raises(InputError, match="no results database"):
        propose(["--site", "local", "--database", str(tmp_path / "none.db")])


def test_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "results.db").write_text("hello" * 1000)
    with pytest.raises(InputError, match="not a results database"):
        propose(["--site", "local", "--database", str(tmp_path / "results.db")])


@given(st.lists(st.floats(0.1, 1e4), min_size=5, max_size=40))
def test_band_holds_every_run_it_was_made_from(values):
    centre, width = calibrate.band(values)
    assert centre == statistics.median(values)
    assert all(abs(value / centre - 1) <= width + 1e-9 for value in values)


@given(st.lists(st.floats(0.1, 1e4), min_size=5, max_size=10))
def test_proposed_cell_passes_the_lint(values):
    cell = calibrate.proposal(
        "time_per_epoch",
        [(v, 1.7e9, {"image": None, "dataset": "d", "patches": 1}) for v in values],
    )
    content = {"max_age_days": 10**6, "image": None}
    # wild noise: wide band
    limits = [
        f
        for f in references._lint_cell("time_per_epoch", cell, content, cell["date"])
        if "upper" not in f
    ]
    assert limits == []
