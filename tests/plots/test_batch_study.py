"""The picture of a batch study: every seed a point, mean and deviation from the table."""

import json

import numpy as np
import pytest

from plots.panels import batch_study as panel
from reframe_tests.results import runs
from tests.plots.example_results import batch_study, train


def test_every_seed_is_a_row_and_the_means_are_theirs(tmp_path):
    train(tmp_path / "train")
    batch_study(tmp_path / "study")
    rows, notes = panel.study_rows(runs.load(tmp_path).runs)
    assert len(notes) == 1
    groups = {(row["compared"], row["group"]): row for row in rows if row["kind"] == "mean"}
    assert [group for _, group in groups] == [
        "paper, 16 per rank",
        "paper, 256 per rank",
        "modern, 16 per rank",
        "modern, 256 per rank",
        "multispectral, modern, 16 per rank",
        "RGB, modern, 16 per rank",
    ]
    for key, mean in groups.items():
        seeds = [
            row["f1_micro"]
            for row in rows
            if row["kind"] == "run" and (row["compared"], row["group"]) == key
        ]
        assert len(seeds) == mean["runs"] == 3
        assert (mean["f1_micro"], mean["deviation"]) == pytest.approx(
            (np.mean(seeds), np.std(seeds, ddof=1))
        )


def test_a_run_that_exploded_and_one_without_a_value_are_said(tmp_path):
    path = batch_study(tmp_path, failed=True)
    content = json.loads(path.read_text())
    content["tables"]["runs"][2]["f1_micro"] = None
    path.write_text(json.dumps(content))
    rows, notes = panel.study_rows(runs.load(tmp_path).runs)
    assert "1 of 15 runs ended without a finite loss: their F1 is counted as 0." in notes
    assert "1 runs have no F1." in notes
    assert panel.draw_study(rows).axes[0].get_ylim()[0] <= 0
