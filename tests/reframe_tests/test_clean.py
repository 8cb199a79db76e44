"""What `bigearth-bench clean` removes, and what it leaves."""

import os

import pytest

from bigearth.errors import InputError
from reframe_tests import clean, launch


@pytest.fixture
def results(tmp_path):
    for name in ("stage/mine/gpu/x", "output/mine", "reports", "perflogs"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "stage/mine/gpu/x/patches.h5").write_bytes(b"x" * 1000)
    (tmp_path / "results.db").write_text("kept")
    for number in range(3):
        path = tmp_path / f"reports/run-{number}.json"
        path.write_text("{}")
        os.utime(path, (number, number))
    return tmp_path


def test_stage_folders_and_old_reports_go_and_results_stay(results):
    clean.main(clean.CleanConfig(results=str(results), keep=1))
    assert not list((results / "stage").iterdir())
    assert [path.name for path in (results / "reports").iterdir()] == ["run-2.json"]
    assert (results / "results.db").read_text() == "kept" and (results / "output/mine").is_dir()


def test_dry_run_removes_nothing(results, capsys):
    clean.main(clean.CleanConfig(results=str(results), keep=0, dry_run=True))
    assert (results / "stage/mine/gpu/x/patches.h5").exists()
    assert len(list((results / "reports").iterdir())) == 3
    assert capsys.readouterr().out.count("would remove") == 4


def test_link_out_of_the_folder_is_not_followed(results, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "precious").write_text("x")
    (results / "stage" / "link").symlink_to(elsewhere)
    clean.main(clean.CleanConfig(results=str(results)))
    assert (elsewhere / "precious").exists() and not (results / "stage" / "link").exists()


def test_folder_in_use_is_left_alone(results):
    with launch.lock(results), pytest.raises(InputError, match="another session writes"):
        clean.main(clean.CleanConfig(results=str(results)))
    assert (results / "stage/mine").is_dir()
