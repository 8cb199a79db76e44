"""Calibration: references from a results database, and what it refuses."""

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigearth import cli
from bigearth.errors import InputError
from reframe_tests import calibrate, references
from tests.plots import example_sessions as sessions


def propose(argv):
    """Runs the program as its command line would."""
    return calibrate.main(cli.parse(calibrate.CalibrateConfig, argv, calibrate.PROGRAM))


def session(value, when, image=None, host="n1", **more):
    """One session of the local training check with one metric."""
    evidence = {"image": image, "dataset": "sha256:d", "patches": 1000, "ranks": []}
    one = sessions.case({"time_per_epoch": value}, time=when, evidence=evidence, **more)
    return sessions.session(one, time=when, hostname=host)


@pytest.fixture
def calibrated(tmp_path, monkeypatch, capsys):
    """calibrated(reports, *options) -> (exit code, diff, what was said); the references are a copy
    of the local site's."""
    monkeypatch.setattr(references, "FOLDER", tmp_path)
    file = tmp_path / "local.yaml"
    file.write_text(references.dump(references.empty("local"), "A comment."))

    def run(reports, *options):
        database = tmp_path / "results.db"
        database.unlink(missing_ok=True)
        sessions.database(database, reports)
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
    point = {"nodes=1": {"time_per_epoch": cell}}
    content["partitions"] = {"default": {"training": point}}
    calibrated.file.write_text(references.dump(content))


def test_median_and_noise_of_five_runs(calibrated):
    code, diff, _ = calibrated(runs([10.0, 10.2, 9.8, 10.1, 9.9]))
    (line,) = [line for line in diff.splitlines() if line.startswith("+ ") and "value" in line]
    assert (
        code is None and "value: 10.0" in line and "runs: 5" in line and "origin: measured" in line
    )
    assert "2023-11-14 to 2023-11-18" in line


def test_too_few_runs_are_refused(calibrated):
    with pytest.raises(InputError, match="no cell has 5 like runs"):
        calibrated(runs([10.0, 10.2, 9.8, 10.1]))


def test_two_machines_that_are_both_local_are_not_one(calibrated):
    fast = [session(10.0, 1_700_000_000 + i, host="fast") for i in range(5)]
    slow = [session(28.0, 1_700_000_100 + i, host="slow") for i in range(5)]
    _, diff, _ = calibrated([*fast, *slow])
    (line,) = [line for line in diff.splitlines() if line.startswith("+ ") and "value" in line]
    assert "value: 28.0" in line and "runs: 5" in line and "upper: 0.01" in line
    with pytest.raises(InputError, match="no cell has 5 like runs"):
        calibrated([*fast, *slow[:4]])


def test_runs_of_another_image_do_not_count(calibrated):
    with pytest.raises(InputError, match="no cell has 5 like runs"):
        calibrated(runs([10.0] * 4, image="sha256:old") + runs([10.0] * 4, image="sha256:new"))


def test_runs_without_evidence_do_not_count(calibrated):
    broken = runs([1.0] * 6, result="fail", fail_phase="sanity")
    with pytest.raises(InputError, match="no cell has 5 like runs"):
        calibrated(broken + runs([10.0]))


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
    with pytest.raises(InputError, match="no such results database"):
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
