"""Which node is slow: from the one run that shows it best."""

import json

import pytest

from plots.panels import ranks
from reframe_tests.results import runs
from tests.plots.example_results import train


def changed(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return content


def test_the_slow_node_of_the_largest_run_is_named_from_the_steps_in_its_record(tmp_path):
    train(tmp_path / "small", nodes=2)
    path = train(tmp_path / "large", nodes=4)

    def slow(content):
        for rank in content["ranks"]:
            rank["step_time"]["p50"] *= 1.5 if rank["hostname"] == "local02" else 1

    content = changed(path, slow)
    rows, notes = ranks.rank_rows(runs.load(tmp_path).runs)
    steps = {
        (rank["hostname"], rank["rank"]): rank["step_time"]["p50"] for rank in content["ranks"]
    }
    assert {(row["node"], row["rank"]): row["step_time"] for row in rows} == steps
    assert list(ranks.slow_nodes(rows)) == ["local02"] and ranks.slow_nodes(rows)[
        "local02"
    ] == pytest.approx(50, abs=8)
    assert "The largest training run" in notes[0]


def test_a_run_without_step_times_is_passed_over_for_the_next_largest(tmp_path):
    train(tmp_path / "small", nodes=2)
    changed(
        train(tmp_path / "large", nodes=4),
        lambda content: [rank.pop("step_time") for rank in content["ranks"]],
    )
    rows, _ = ranks.rank_rows(runs.load(tmp_path).runs)
    assert {row["node"] for row in rows} == {"local00", "local01"}
