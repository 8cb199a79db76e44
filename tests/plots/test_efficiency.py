"""Why not faster: what the pictures show of an efficiency tree."""

import json
import math

import pytest

from plots import report
from plots.panels import efficiency
from reframe_tests.results import runs
from tests.plots import example_sessions as sessions
from tests.plots.example_results import TREE, train


def trained(folder, **more):
    return train(folder, **{"config": {"batch_size": 8}, **more})


def test_the_waterfall_leads_from_the_ceiling_to_the_measured_throughput(tmp_path):
    trained(tmp_path / "small", nodes=1)
    trained(tmp_path / "large", nodes=2)
    train(tmp_path / "largest", nodes=4, efficiency=None)  # without a tree
    rows, notes = efficiency.waterfall_rows(runs.load(tmp_path).runs)
    found = {row["factor"]: (row["before"], row["after"]) for row in rows}
    # 4 devices of 8 images: 32 images per step
    assert found["device_utilisation"] == pytest.approx((800, 400))
    assert found["computation_scaling"] == pytest.approx((400, 320))
    assert found["input"] == pytest.approx((256, 320))
    assert found["epoch_overhead"] == pytest.approx((320, 160))
    assert {row["unit"] for row in rows} == {"img/s"} and "4 devices on 2 nodes" in notes[0]
    axes = efficiency.draw_waterfall(rows).axes[0]
    bars = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in axes.patches]
    assert bars[0] == pytest.approx((0, 800)) and bars[-1] != bars[0]
    assert (400, 800) in [pytest.approx(bar) for bar in bars]
    assert (0, 160) in [pytest.approx(bar) for bar in bars]
    interval = next(line for line in axes.lines if len(line.get_xdata()) == 2)
    assert list(interval.get_xdata()) == pytest.approx([320, 480])
    words = [text.get_text() for text in axes.texts]
    assert words.count("not measured: BatchNorm over all ranks") == 2


def test_a_batch_that_is_not_known_leaves_steps(tmp_path):
    trained(tmp_path / "a", config={})
    rows, _ = efficiency.waterfall_rows(runs.load(tmp_path).runs)
    assert rows[0]["unit"] == "steps/s" and rows[0]["before"] == pytest.approx(25)


def test_losses_are_stacked_over_sizes(tmp_path):
    trained(tmp_path / "one", nodes=1)
    rows, notes = efficiency.loss_rows(runs.load(tmp_path).runs)
    assert rows == [] and "several sizes" in notes[0]
    trained(tmp_path / "two", nodes=2)
    rows, notes = efficiency.loss_rows(runs.load(tmp_path).runs)
    kept = {(row["nodes"], row["factor"]): row["loss"] for row in rows}
    assert kept[2, "epoch_overhead"] == 0.5 and math.isnan(kept[1, "communication"])
    assert "communication: BatchNorm over all ranks" in notes[0]
    axes = efficiency.draw_losses(rows).axes[0]
    ends = [bar.get_x() + bar.get_width() for bar in axes.patches]
    assert max(ends) == pytest.approx(100 * (0.25 + 0.125 + 0.5))
    assert min(ends) == pytest.approx(-10)


@pytest.mark.parametrize("tree", [None, {"factors": 5}, {"factors": {"input": []}, "levels": []}])
def test_nothing_is_drawn_of_no_tree(tmp_path, tree):
    train(tmp_path / "a", efficiency=tree)
    assert efficiency.waterfall_rows(runs.load(tmp_path).runs) == ([], [efficiency.NO_TREE])


def text_of_report(folder):
    found = runs.load(folder)
    return report.page(found, report.Config(results=str(folder), out="")).split('id="limits"')[1]


def test_the_report_says_why_above_its_pictures(tmp_path):
    trained(tmp_path / "a")
    train(tmp_path / "b", nodes=2, efficiency=None)
    part = text_of_report(tmp_path)
    assert part.index("no efficiency tree") < part.index(TREE["sentence"]) < part.index("<svg")


def test_the_report_says_why_from_what_a_check_kept(tmp_path):
    kept = {"ranks": [], "efficiency": "2 ranks: <b>0.4</b> of ideal"}
    case = sessions.case({"time_per_epoch": 1.0}, evidence=kept)
    (tmp_path / "run-0.json").write_text(json.dumps(sessions.session(case)))
    assert "2 ranks: &lt;b&gt;0.4&lt;/b&gt; of ideal" in text_of_report(tmp_path)
