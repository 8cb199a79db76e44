"""bigearth/record.py: one complete JSON file, or a sentence."""

import json
import math
import os

import pytest

from bigearth import record
from bigearth.errors import InputError


def write(path, **changes):
    content = {
        "workload": "train",
        "config": {"epochs": 3},
        "metrics": {
            "f1_micro": record.metric("f1_micro", 0.5),
            "energy_per_epoch": record.metric("energy_per_epoch", None, "no counter"),
        },
        "ranks": [{"rank": 0, "hostname": "n1"}],
        "tables": {},
        "files": {},
        "provenance": record.provenance(record.now(), ["n2", "n1", "n1"], "sha256:0"),
        **changes,
    }
    record.write(path, **content)


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "new" / "result.json"
    write(path)
    content = record.read(path)
    assert content["schema"] == record.SCHEMA
    assert content["metrics"]["f1_micro"] == {"value": 0.5, "unit": "1", "better": "higher"}
    assert content["metrics"]["energy_per_epoch"]["reason"] == "no counter"
    assert content["provenance"]["nodelist"] == ["n1", "n2"]
    assert list(path.parent.iterdir()) == [path], "no temporary file is left"


def test_provenance_names_what_is_needed_to_repeat_the_run():
    found = record.provenance(record.now(), ["n1"], None)
    assert len(found["git_commit"]) == 40
    assert found["packages"]["numpy"]
    assert found["start_time"] <= found["end_time"]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_metric_is_a_number_or_a_reason(value):
    with pytest.raises(ValueError, match="f1_micro"):
        record.metric("f1_micro", value)
    with pytest.raises(ValueError, match="needs a reason"):
        record.metric("f1_micro", None)
    with pytest.raises(KeyError):
        record.metric("f1", 0.5)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "not a result record"),
        ("[]", "record schema is missing, expected 1"),
        (json.dumps({"schema": 99}), "record schema is 99, expected 1"),
        (
            json.dumps({"schema": 1, "workload": "train"}),
            "incomplete result record, config, metrics",
        ),
    ],
)
def test_what_is_not_a_record_is_refused(tmp_path, content, sentence):
    path = tmp_path / "result.json"
    path.write_text(content)
    with pytest.raises(InputError, match=sentence):
        record.read(path)


def test_missing_record_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot read the result record"):
        record.read(tmp_path / "result.json")


def test_a_full_disk_leaves_nothing(tmp_path):
    os.symlink("/dev/full", tmp_path / "result.json.partial")
    with pytest.raises(InputError, match="No space left on device"):
        write(tmp_path / "result.json")
    assert not (tmp_path / "result.json").exists()


def test_the_commit_is_known_without_git(monkeypatch):
    """As in an image, which has no git."""
    known = record.provenance(record.now(), [], None)["git_commit"]
    monkeypatch.setenv("PATH", "/nowhere")
    without = record.provenance(record.now(), [], None)
    assert without["git_commit"] == known and without["git_dirty"] is None
