"""Results that no workload of this suite wrote: they are drawn, or refused in one sentence."""

import csv
import json
import math
import sqlite3
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import numpy as np
import pytest

from bigearth import record
from bigearth.errors import InputError
from bigearth.learn.efficiency import FACTORS, LEVELS
from plots import figure, figures, tables
from plots.__main__ import main
from plots.panels import patches, timeline
from plots.site import publish
from reframe_tests.results import export, history, runs
from reframe_tests.results import sessions as reader
from tests.plots import example_sessions as sessions
from tests.plots.example_results import epochs, train

NAMES = {
    "long": "a" * 3000,
    "mathematics": r"$\frac{1}{0}$ 50% of a_b^c & {d} ~ \e",
    "markup": "</svg><script>alert(1)</script>",
    "underscore": "_nolegend_",
    "control": "a\x00b\x1b[31m\nc\td\u2028e",
    "surrogate": "half a \ud83d pair",
    "other scripts": "Юлих 超算 נורד 🛰",
    "empty": "",
}


def rewrite(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def draw_all(path, out):
    """Builds every picture, table, export, page and text of what lies in a folder; none may crash,
    and XML must be well-formed."""
    found = runs.load(path)
    judged = history.judgement(found.cases)
    series = judged.series
    for panel in (*figures.PANELS, timeline.PANEL):
        rows, notes = panel.rows(series if panel is timeline.PANEL else found.runs)
        assert rows or notes, f"{panel.name}: nothing drawn and nothing said"
        if figure.worth_drawing(rows):
            picture = figure.draw(panel, rows, notes)
            ElementTree.fromstring(figure.svg(picture, panel.name))
            plt.close(picture)
        figure.write_table(out / "table.csv", panel.columns, rows, notes)
    for table in (tables.table2(found.runs), tables.table3(found.runs)):
        tables.save(table, out)
    export.write_all(out, judged)
    ElementTree.parse(out / "junit.xml")
    export.write_text(out / "summary.md", export.summary(judged))
    (out / "site").mkdir()
    publish.write(out / "site", judged)
    ElementTree.parse(out / "site/badge.svg")
    for page in (out / "site").rglob("*.html"):
        assert "<script>alert" not in page.read_text()
    return found


def test_any_name_is_drawn(tmp_path, capsys):
    for i, name in enumerate(NAMES.values()):

        def change(content, name=name):
            content["provenance"].update(system=name, processor=name, packages={name: name})
            content["config"].update({"bands": name, name: name})
            content["tables"]["per_class"][3]["label"] = name
            content["efficiency"] = {"sentence": name, "factors": {"input": {"reason": name}}}
            for rank in content["ranks"]:
                rank.update(hostname=name, device=name, phases={name: 1.0, "train": 2.0})

        rewrite(train(tmp_path / f"r/{i}", seed=i), change)
        case = sessions.case(
            {name: 1.0, "time_per_epoch": (2.0, 1.0, -0.1, 0.1, name, "fail")},
            check=name,
            point=name,
            system=name,
        )
        case.update(fail_reason=name, result="fail", job_nodelist=[name])
        case["evidence"].update(image=name, commit=name, packages={name: name})
        (tmp_path / f"r/run-{i}.json").write_text(json.dumps(sessions.session(case)))
    draw_all(tmp_path / "r", tmp_path)
    assert len((tmp_path / "summary.md").read_text()) < 65_536, "GitHub's limit of a comment"
    assert (
        main(["report", "--results", str(tmp_path / "r"), "--out", str(tmp_path / "report.html")])
        == 0
    ), capsys.readouterr().err
    assert "<script>alert" not in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("key", "array"),
    [
        ("rgb", np.zeros(6, np.uint8)),
        ("rgb", np.full((6, 120, 120, 3), np.nan)),
        ("truth", np.array(3)),
        ("score", np.array([["x"] * 43] * 6)),
        ("names", np.zeros((6, 2), "S3")),
    ],
)
def test_sample_patches_of_another_form_are_said_to_be_missing(tmp_path, key, array):
    train(tmp_path)
    with np.load(tmp_path / "samples.npz") as file:
        arrays = {**file, key: array}
    np.savez(tmp_path / "samples.npz", **arrays)
    rows, notes = patches.sample_rows(runs.load(tmp_path).runs)
    assert not rows and "do not fit together" in notes[0]


@pytest.mark.parametrize(
    "value", [1e308, 1e99, -1e99, 1e-308, 0, pytest.param(10**400, id="10^400"), "12", {"value": 2}]
)
def test_any_value_is_drawn_or_said_to_be_missing(tmp_path, value):
    def change(content):
        for metric in content["metrics"].values():
            metric["value"] = value if record.is_number(value) else 1e99
        for table in content["tables"].values():
            for row in table[1:]:
                row.update({name: value for name in row if name != "label"})
        factor = {"value": value, "loss": value, "interval": [value, value], "reason": value}
        content["efficiency"] = {
            "sentence": value,
            "levels": dict.fromkeys(LEVELS, value),
            "factors": dict.fromkeys(FACTORS, factor),
        }
        for rank in content["ranks"]:
            rank.update(
                rank=value,
                step_time={"p50": value},
                phases={"train": value, "wait for data": value},
            )

    for seed in range(2):
        rewrite(train(tmp_path / f"r/a{seed}", seed=seed), change)
    rewrite(train(tmp_path / "r/b", nodes=2), change)
    number = value if isinstance(value, (int, float)) else 1.0
    cases = [
        sessions.case(
            {"time_per_epoch": (number, 1.0, -0.1, 0.1, "s", "fail")}, time=sessions.START + i
        )
        for i in range(8)
    ]
    cases += [
        sessions.case(
            {"time_per_epoch": 1e-300 if i < 4 else 1e99}, point="other", time=sessions.START + i
        )
        for i in range(8)
    ]
    for i, case in enumerate(cases):
        case.update(num_tasks=value)
        case["evidence"].update(nodes=value, patches=value)
        case["job_completion_time_unix"] = number if i == 7 else case["job_completion_time_unix"]
        (tmp_path / f"r/run-{i}.json").write_text(
            json.dumps(sessions.session(case, time=sessions.START + i))
        )
    draw_all(tmp_path / "r", tmp_path)


@pytest.mark.parametrize("value", ["12", {"value": 2}, True, 10**400])
def test_a_metric_that_is_no_number_is_refused(tmp_path, value):
    rewrite(train(tmp_path), lambda c: c["metrics"]["f1_micro"].update(value=value))
    with pytest.raises(InputError, match="the value of metric 'f1_micro' is not a number"):
        runs.load(tmp_path)


def test_what_a_log_axis_or_a_list_cannot_show_is_said(tmp_path):
    rewrite(
        train(tmp_path / "a", system="other"),
        lambda c: c["metrics"]["time_per_epoch"].update(value=0.0),
    )
    rewrite(train(tmp_path / "b"), lambda c: [row.pop("epoch") for row in c["tables"]["epochs"]])
    many = [{"label": f"class {i}", "support": i, "f1": 0.5} for i in range(1, 500)]
    rewrite(train(tmp_path / "c"), lambda c: c["tables"].update(per_class=many))
    notes = {
        panel.name: " ".join(panel.rows(runs.load(tmp_path).runs)[1]) for panel in figures.PANELS
    }
    assert "Not on the log axis: 1 values" in notes["fig4_time_per_epoch"]
    assert "without the epoch's number: 5" in notes["learning_curves"]
    assert "60 most frequent" in notes["f1_per_class"]


def test_epochs_numbered_by_another_program_are_drawn(tmp_path):
    rows = [{**row, "epoch": float(row["epoch"])} for row in epochs(3)]
    rewrite(train(tmp_path / "a", system="other"), lambda c: c["tables"].update(epochs=rows))
    panel = next(panel for panel in figures.PANELS if panel.name == "learning_curves")
    assert {row["epoch"] for row in panel.rows(runs.load(tmp_path).runs)[0]} == {1, 2, 3}


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["config"].update(seed=9),
        lambda c: c["files"].clear(),
    ],
)
def test_two_contents_of_one_id_are_refused_wherever_they_differ(tmp_path, change):
    path = train(tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b/result.json").write_text(path.read_text())
    assert len(runs.load(tmp_path).runs) == 1
    rewrite(tmp_path / "b/result.json", change)
    with pytest.raises(InputError, match="b/result.json: has the same id"):
        runs.load(tmp_path)


def test_a_report_that_differs_from_the_database_is_refused(tmp_path):
    one = sessions.session(
        sessions.case({"time_per_epoch": 1.0, "f1_micro": math.nan}), uuid_="same"
    )
    sessions.database(tmp_path / "results.db", [one])
    (tmp_path / "run-1.json").write_text(json.dumps(one, indent=2))
    assert len(runs.load(tmp_path).cases) == 1
    rewrite(tmp_path / "run-1.json", lambda c: c["runs"][0]["testcases"][0].update(result="fail"))
    with pytest.raises(InputError, match=r"run-1.json: session same differs"):
        runs.load(tmp_path)


@pytest.mark.parametrize(
    "statement, said",
    [
        ("UPDATE sessions SET json_blob = NULL", "damaged"),
        ("UPDATE sessions SET uuid = NULL", "damaged"),
        ("UPDATE sessions SET json_blob = x'00ff'", "damaged"),
        ("UPDATE sessions SET json_blob = '[]'", "not a ReFrame run report"),
        (
            "UPDATE sessions SET json_blob = replace(hex(zeroblob(50000)), '0', '[')",
            "not a ReFrame run report",
        ),
        ("UPDATE metadata SET schema_version = NULL", "schema version None"),
        ("ALTER TABLE sessions RENAME COLUMN json_blob TO report", "another ReFrame"),
    ],
)
def test_a_database_with_holes_is_refused_in_a_sentence(tmp_path, capsys, statement, said):
    path = sessions.database(tmp_path / "results.db", sessions.nightly([1.0, 2.0]))
    with sqlite3.connect(path) as connection:
        connection.execute(statement)
    for command in (
        ["history", "--results", str(path)],
        ["figures", "--results", str(path)],
        ["report", "--results", str(path)],
        ["publish", "--results", str(path)],
    ):
        assert main([*command, "--out", str(tmp_path / "out")]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1 and said in error
    assert not (tmp_path / "out").exists()


def test_nulls_in_a_case_are_holes_in_the_history(tmp_path):
    cases = [
        sessions.case(
            {"time_per_epoch": (10.0, None, None, None, None, None)}, time=sessions.START + i
        )
        for i in range(3)
    ]
    cases[1].update(
        job_completion_time_unix=None,
        job_nodelist=None,
        num_tasks=None,
        perfvalues=None,
        evidence=None,
        cells=None,
    )
    cases[2].update(point=None, check=None, fail_reason=None, fail_phase=None)
    sessions.database(
        tmp_path / "r/results.db",
        [sessions.session(case, time=sessions.START + i) for i, case in enumerate(cases)],
    )
    draw_all(tmp_path / "r", tmp_path)
    with open(tmp_path / "history.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 2


@pytest.mark.parametrize(
    "evidence", [{"ranks": 5}, {"ranks": [1]}, {"ranks": [{"phases": [1]}]}, {"packages": [1]}]
)
def test_evidence_of_another_build_is_refused(evidence):
    with pytest.raises(InputError, match="not a ReFrame run report"):
        reader.cases_of(sessions.session(sessions.case({}, evidence=evidence)), "x")


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"schema": 1, "id": ' + "[" * 100_000, "\ufeff{}", "[1, 2]", "7", "null", ""],
)
def test_json_that_is_no_record_is_refused_in_a_sentence(tmp_path, capsys, text):
    (tmp_path / "result.json").write_text(text)
    assert main(["figures", "--results", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and len(error) < 500


def judged(*reports):
    cases = [case for report in reports for case in reader.cases_of(report, "x")]
    return history.exit_code(history.judge(cases, history.histories(cases)))


def test_what_was_not_measured_is_never_green():
    lost = sessions.case(
        {"time_per_epoch": (None, 1.0, -0.1, 0.1, "s", "fail")},
        result="fail",
        fail_phase="performance",
    )
    assert judged(sessions.session(lost)) == history.UNMEASURED
    skipped = sessions.case({}, result="skip")
    assert judged(sessions.session(skipped, skipped)) == history.UNMEASURED
    assert (
        judged(sessions.session(skipped, sessions.case({"time_per_epoch": 1.0}, check="other")))
        == 0
    )
    assert judged(sessions.session(sessions.case({}, result="something new"))) == history.UNMEASURED
    timeless = sessions.session(sessions.case({}, result="fail", fail_phase="run", time=None))
    timeless["session_info"]["time_end_unix"] = None
    assert judged(timeless) == history.UNMEASURED
