"""bigearth/record.py: one complete JSON file, or a sentence."""

import json
import math
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from bigearth import provenance, record
from bigearth.errors import InputError


def write(path, **changes):
    content = {
        "workload": "train",
        "config": {"epochs": 3},
        "metrics": {
            "f1_micro": record.metric("f1_micro", 0.5),
            "step_time": record.metric("step_time", None, "one step"),
        },
        "ranks": [{"rank": 0, "hostname": "n1"}],
        "tables": {},
        "files": {},
        "provenance": provenance.gather(provenance.now(), ["n2", "n1", "n1"], "sha256:0"),
        **changes,
    }
    record.write(path, record.Record(**content))


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "new" / "result.json"
    write(path)
    content = record.read(path)
    assert content.metrics["f1_micro"] == {"value": 0.5, "unit": "1", "better": "higher"}
    assert content.metrics["step_time"]["reason"] == "one step"
    assert content.provenance["nodelist"] == ["n1", "n2"] and len(content.id) == 32
    assert list(path.parent.iterdir()) == [path], "no temporary file is left"


def test_provenance_names_what_is_needed_to_repeat_the_run():
    found = provenance.gather(provenance.now(), ["n1"], None)
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
        ("[]", "record schema is 'missing', expected 1"),
        (json.dumps({"schema": 99}), "record schema is '99', expected 1"),
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
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(InputError, match="File too large"):
            write(tmp_path / "result.json")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_the_commit_is_known_without_git(monkeypatch):
    """As in an image, which has no git."""
    known = provenance.gather(provenance.now(), [], None)["git_commit"]
    monkeypatch.setenv("PATH", "/nowhere")
    without = provenance.gather(provenance.now(), [], None)
    assert without["git_commit"] == known and without["git_dirty"] is None


def whole(**changes):
    parts = dict(workload="train", config={}, metrics={}, ranks=[], tables={}, files={})
    return {"schema": 1, **parts, "provenance": {}, **changes}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (whole(ranks={}), "'ranks' is no list"),
        (whole(ranks=[1]), "row 0 of 'ranks'"),
        (whole(ranks=[{"phases": 3}]), "row 0 of 'ranks'"),
        (whole(metrics={"loss": 3}), "metric 'loss' has no value"),
        (whole(metrics={"loss": {"value": "3", "unit": "1"}}), "is not a number"),
        (whole(metrics={"loss": {"value": True, "unit": "1"}}), "is not a number"),
        (whole(metrics={"loss": {"value": 3, "unit": "s"}}), "has unit 's', not '1'"),
        (whole(metrics={"loss": {"value": 3, "unit": "1", "interval": [1]}}), "two numbers"),
        (whole(tables={"epochs": [3]}), "'epochs' is not a list of rows"),
        (whole(files={"samples": "../../x.npz"}), "not the name of a file beside"),
        (whole(provenance={"nodelist": "n1"}), "'nodelist' of 'provenance'"),
        (whole(repeats="seed"), "'repeats' is no list"),
    ],
)
def test_parts_of_another_shape_are_refused(tmp_path, content, sentence):
    path = tmp_path / "result.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=sentence):
        record.read(path)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"schema": NaN}', "\x00", "\ud800"])
def test_odd_json_is_one_sentence(tmp_path, text):
    path = tmp_path / "result.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(InputError) as caught:
        record.read(path)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 400


def test_pipes_and_folders_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    for name in ("pipe.json", "."):
        with pytest.raises(InputError, match="result record"):
            record.read(tmp_path / name)


def test_an_interval_holds_its_value():
    entry = record.metric("loss", 2, interval=(1, 3), samples=7)
    assert entry["interval"] == [1, 3] and entry["samples"] == 7
    with pytest.raises(ValueError, match="outside its interval"):
        record.metric("loss", 4, interval=(1, 3))


def test_the_documentation_has_every_metric_as_it_is_defined():
    page = Path(__file__).resolve().parents[1] / "docs" / "methodology.md"
    assert record.table() in page.read_text(), "run: python -m bigearth.record"


def test_the_record_needs_the_standard_library_alone():
    code = (
        "import sys; known = set(sys.modules); import bigearth.record;"
        "new = {name.split('.')[0] for name in set(sys.modules) - known} - {'bigearth'};"
        "print(sorted(new - set(sys.stdlib_module_names)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
