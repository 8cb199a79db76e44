"""The lint: every mutation of a reference file is caught, and the files that are in use have no
fault."""

import datetime

import pytest

from bigearth import record
from bigearth.errors import InputError
from reframe_tests import catalogue, lint, partitions, references, sites

TODAY = datetime.date(2030, 6, 1)
PARTITIONS = partitions.of_configuration(
    [
        {
            "name": "gpu",
            "scheduler": "slurm",
            "features": ["compute", "multinode"],
            "devices": [{"type": "gpu", "num_devices": 4}],
            "extras": {"max_nodes": 24},
        },
        {"name": "login", "scheduler": "local"},
    ]
)
CELL = {
    "value": 100.0,
    "lower": -0.1,
    "upper": 0.1,
    "origin": "measured",
    "date": datetime.date(2030, 5, 1),
    "runs": 5,
    "image": None,
    "source": "five runs",
    "band": "the noise of five runs",
}


@pytest.fixture
def content():
    """References of a site that has measured everything."""
    checks = {
        name: {
            point: {m: dict(CELL, unit=record.METRICS[m].unit) for m in check.metrics}
            for point in catalogue.points_on(check, PARTITIONS["gpu"])
        }
        for name, check in catalogue.checks().items()
    }
    return {
        "schema": 1,
        "site": "mine",
        "image": None,
        "max_age_days": 365,
        "partitions": {"gpu": checks},
    }


def faults(content):
    return references.lint(content, PARTITIONS, "mine", today=TODAY)


def cell(content):
    return content["partitions"]["gpu"]["training"]["nodes=1"]["time_per_epoch"]


def rename(mapping, old, new):
    mapping[new] = mapping.pop(old)


MUTATIONS = {
    "renamed metric": (
        lambda c: rename(
            c["partitions"]["gpu"]["training"]["nodes=1"], "time_per_epoch", "time_per_epok"
        ),
        "orphan",
    ),
    "renamed point": (
        lambda c: rename(c["partitions"]["gpu"]["training"], "nodes=1", "nodes=3"),
        "orphan",
    ),
    "renamed check": (lambda c: rename(c["partitions"]["gpu"], "training", "trainning"), "orphan"),
    "renamed partition": (lambda c: rename(c["partitions"], "gpu", "gpus"), "orphan"),
    "swapped unit": (lambda c: cell(c).update(unit="ms"), "unit is 'ms', expected 's'"),
    "no limit on the bad side": (
        lambda c: cell(c).update(upper=None),
        "a regression could not fail",
    ),
    "limit of the wrong sign": (lambda c: cell(c).update(lower=0.1), "lower is 0.1"),
    "value is text": (lambda c: cell(c).update(value="100"), "expected a positive number"),
    "value is NaN": (lambda c: cell(c).update(value=float("nan")), "expected a positive number"),
    "misspelt key": (lambda c: rename(cell(c), "upper", "uper"), "unknown key 'uper'"),
    "no source": (lambda c: cell(c).update(source=" "), "no source"),
    "no word on the band": (lambda c: cell(c).pop("band"), "no band"),
    "unknown origin": (lambda c: cell(c).update(origin="guessed"), "origin is 'guessed'"),
    "unknown with a value": (lambda c: cell(c).update(origin="unknown"), "origin is unknown but"),
    "too few runs": (lambda c: cell(c).update(runs=4), "rests on 4 runs"),
    "truth for a number of runs": (lambda c: cell(c).update(runs=True), "runs is True"),
    "a moment for a day": (
        lambda c: cell(c).update(date=datetime.datetime(2029, 12, 1, 12)),
        "expected YYYY-MM-DD",
    ),
    "stale by age": (
        lambda c: cell(c).update(date=datetime.date(2029, 1, 1)),
        "stale: measured 516 days ago",
    ),
    "stale by image": (lambda c: c.update(image="sha256:new"), "stale: measured with image None"),
    "from the future": (lambda c: cell(c).update(date=datetime.date(2031, 1, 1)), "in the future"),
    "another site": (lambda c: c.update(site="yours"), "site is 'yours'"),
    "unknown key at the top": (lambda c: c.update(images=None), "unknown key 'images'"),
    "a list for a mapping": (lambda c: c["partitions"].update(gpu=[1]), "expected a mapping"),
    "a bare number for a cell": (
        lambda c: c["partitions"]["gpu"]["training"]["nodes=1"].update(f1_micro=0.7),
        "expected a mapping",
    ),
}


def test_complete_references_have_no_fault(content):
    assert faults(content) == []


@pytest.mark.parametrize("name", MUTATIONS)
def test_mutation_is_caught(content, name):
    mutate, message = MUTATIONS[name]
    mutate(content)
    assert any(message in fault for fault in faults(content)), faults(content)


def test_published_numbers_do_not_grow_stale_and_need_no_limit_on_the_good_side(content):
    cell(content).update(origin="published", runs=2, date=datetime.date(2020, 9, 1), lower=None)
    assert faults(content) == []


@pytest.mark.parametrize(
    "text, message",
    [
        ("schema: 2\nsite: mine\n", "reference schema is 2, expected 1"),
        ("[1, 2]", "reference schema is missing"),
        ("schema: 1\nschema: 1\n", "'schema' is given twice"),
        ("schema: [1\n", "not a valid reference file"),
        ("a: &a [1]\nb: [*a, *a]\nschema: 1\n", "it has an alias"),
    ],
)
def test_unusable_file_is_refused_in_one_sentence(tmp_path, text, message):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match="mine.yaml") as caught:
        references.load(path)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot read the reference file"):
        references.load(tmp_path / "none.yaml")


def test_file_survives_writing_and_reading(tmp_path, content):
    text = references.dump(content, "Made for a test:\nof nothing.")
    (tmp_path / "mine.yaml").write_text(text)
    assert references.load(tmp_path / "mine.yaml") == content
    assert references.dump(content, references.comment_of(text)) == text


def test_missing_cells_are_unknown_and_no_fault():
    content = references.empty("mine")
    assert faults(content) == []
    found = references.cell(
        content, partition="gpu", check="training", point="nodes=1", metric="throughput"
    )
    assert found == {"value": None, "unit": "img/s", "origin": "unknown"}


def test_reference_of_other_work_is_shown_and_judges_nothing():
    cell = {"value": 347, "unit": "s", "origin": "published", "patches": 519226}
    run = {"image": None, "dataset": "x", "patches": 2000}
    found = references.beside(cell, references.unlike(cell, run))
    assert found["origin"] == "unknown" and "value" in found
    assert "347 (published)" in found["source"] and "519226" in found["source"]


@pytest.mark.parametrize("site", sites.names())
def test_references_in_use_have_no_fault(site):
    assert lint.faults(site) == []


@pytest.mark.parametrize(
    "key, other", [("image", "sha256:b"), ("dataset", "sha256:b"), ("patches", 980)]
)
def test_runs_that_are_not_alike_are_told_apart(key, other):
    run = {"image": "sha256:a", "dataset": "sha256:a", "patches": 1000}
    reference = {"origin": "measured", **run}
    assert references.unlike(reference, run) == []
    assert key in references.unlike(reference, {**run, key: other})[0]


def test_native_measurement_is_not_compared_with_a_container_run():
    run = {"image": "sha256:a", "dataset": None, "patches": 1000}
    assert references.unlike({"origin": "measured", "image": None}, run)
    assert references.unlike({"origin": "published"}, run) == []
