"""Calibration: references from a results database, and what it refuses."""

import re

import numpy as np
import pytest

from bigearth import cli
from bigearth.errors import InputError
from reframe_tests import calibrate, references
from reframe_tests.results import calibration
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


NOISY = [10.0, 10.2, 9.8, 10.1, 9.9, 10.0, 10.1, 9.9, 10.2, 9.8]
FEWEST = calibration.LEAST_RUNS


def test_median_and_noise_of_ten_runs(calibrated):
    code, diff, _ = calibrated(runs(NOISY))
    (line,) = [line for line in diff.splitlines() if line.startswith("+ ") and "value" in line]
    assert code is None and "value: 10.0" in line and "origin: measured" in line
    assert "runs: 10" in line and "2023-11-14 to 2023-11-23" in line and "provisional" in line
    band = calibration.calibrate({"cell": NOISY}, lower_is_better=True)["cell"]
    upper = float(re.search("upper: ([0-9.]+)", line).group(1))
    assert band.red <= 10 * (1 + upper) < band.red * 1.002


def test_too_few_runs_are_refused(calibrated):
    with pytest.raises(InputError, match=r"no cell has enough like runs.*9 run\(s\), expected 10"):
        calibrated(runs(NOISY[:-1]))


def test_two_machines_that_are_both_local_are_not_one(calibrated):
    fast = [session(10.0, 1_700_000_000 + i, host="fast") for i in range(FEWEST)]
    slow = [session(28.0, 1_700_000_100 + i, host="slow") for i in range(FEWEST)]
    _, diff, _ = calibrated([*fast, *slow])
    (line,) = [line for line in diff.splitlines() if line.startswith("+ ") and "value" in line]
    assert "value: 28.0" in line and "runs: 10" in line and "upper: 0.01" in line
    with pytest.raises(InputError, match="no cell has enough like runs"):
        calibrated([*fast, *slow[:-1]])


def test_runs_of_another_image_do_not_count(calibrated):
    old = runs([10.0] * (FEWEST - 1), image="sha256:old")
    with pytest.raises(InputError, match="no cell has enough like runs"):
        calibrated(old + runs([10.0] * (FEWEST - 1), image="sha256:new"))


def test_runs_without_evidence_do_not_count(calibrated):
    broken = runs([1.0] * FEWEST, result="fail", fail_phase="sanity")
    with pytest.raises(InputError, match="no cell has enough like runs"):
        calibrated(broken + runs([10.0]))


def test_runs_that_missed_their_reference_count(calibrated):
    code, diff, _ = calibrated(runs([10.0] * FEWEST, result="fail", fail_phase="performance"))
    assert code is None and "value: 10.0" in diff


def cell(values, **evidence):
    """What calibrate proposes for some values of time_per_epoch."""
    band = calibration.calibrate({"cell": values}, lower_is_better=True)["cell"]
    about = {"image": None, "dataset": "sha256:d", "patches": 1000, **evidence}
    return calibrate.proposal("time_per_epoch", [(v, 1.7e9, about) for v in values], band)


def test_reference_is_never_loosened_unasked(calibrated):
    accept(calibrated, cell([10.0] * FEWEST))
    code, diff, said = calibrated(runs([12.0] * FEWEST))
    assert code is None and diff == "" and "--accept-slower" in said
    _, diff, _ = calibrated(runs([12.0] * FEWEST), "--accept-slower")
    assert "value: 12.0" in diff
    _, diff, _ = calibrated(runs([8.0] * FEWEST))
    assert "value: 8.0" in diff


def test_more_runs_of_the_same_work_replace_a_band_that_was_too_narrow(calibrated):
    accept(calibrated, cell([10.0] * FEWEST))
    _, diff, said = calibrated(runs(NOISY * 2))
    assert "runs: 20" in diff and "--accept-slower" not in said
    accept(calibrated, cell([10.0] * FEWEST, image="sha256:other"))
    _, diff, said = calibrated(runs(NOISY * 2))
    assert diff == "" and "--accept-slower" in said


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


@pytest.mark.parametrize("seed", range(3))
def test_proposed_cell_passes_the_lint(seed):
    values = np.random.default_rng(seed).lognormal(2, 0.02, 12).tolist()
    found = cell(values)
    content = {"max_age_days": 10**6, "image": None}
    assert list(references._lint_cell("time_per_epoch", found, content, found["date"])) == []
