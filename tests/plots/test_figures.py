"""Pictures and their data tables, from whole, partial and broken results."""

import csv
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

from bigearth.errors import InputError
from plots import figure, figures
from plots.__main__ import main
from reframe_tests.results import runs
from tests.plots.example_results import batch_study, train


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "plots", *map(str, arguments)], capture_output=True, text=True
    )


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_draws_every_figure_in_three_formats_with_its_table_and_prints_the_folder(tmp_path):
    for nodes, devices in ((1, 1), (1, 2), (2, 2)):
        train(tmp_path / f"r/{nodes}x{devices}", nodes=nodes, per_node=devices)
    batch_study(tmp_path / "r/study")
    done = command("figures", "--results", tmp_path / "r", "--out", tmp_path / "f")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(tmp_path / "f")
    for panel in figures.PANELS:
        for suffix in ("svg", "pdf", "png", "csv"):
            assert (tmp_path / f"f/{panel.name}.{suffix}").stat().st_size > 60
        fonts = (tmp_path / f"f/{panel.name}.pdf").read_bytes()
        assert b"/CIDFontType2" in fonts and b"/Type3" not in fonts  # what publishers ask for


def numbers_in(figure):
    """Every coordinate of a line, error bar or band that carries data, every bar's length, and
    every value of a heat map."""
    found = []
    for axes in figure.axes:
        if axes.get_label() == "<colorbar>":
            continue
        for line in axes.lines:
            found += [*np.asarray(line.get_xdata(), float), *np.asarray(line.get_ydata(), float)]
        for collection in axes.collections:
            found += [value for path in collection.get_paths() for value in path.vertices.ravel()]
        found += [bar.get_width() for bar in axes.patches]
        for image in axes.images:
            found += [*np.ma.filled(image.get_array(), math.nan).ravel()]
    return [v for v in found if math.isfinite(v)]


@pytest.mark.parametrize(
    "panel", [p for p in figures.PANELS if p.name != "samples"], ids=lambda p: p.name
)
def test_a_picture_shows_no_number_that_is_not_in_its_table(panel, tmp_path):
    for seed in range(2):
        train(tmp_path / f"a{seed}", seed=seed)
        train(tmp_path / f"b{seed}", seed=seed, nodes=2)
        train(tmp_path / f"c{seed}", seed=seed, per_node=1)
    batch_study(tmp_path / "study")
    rows, _ = panel.rows(runs.load(tmp_path).runs)
    picture = panel.draw(rows)
    allowed = [float(v) for row in rows for v in row.values() if isinstance(v, (int, float))]
    for row in rows:  # the ends of error bars are mean -/+ deviation of one row
        for mean, deviation in (
            ("mean", "deviation"),
            ("f1", "f1_deviation"),
            ("f1_micro", "deviation"),
        ):
            if mean in row and math.isfinite(row.get(deviation, math.nan)):
                allowed += [row[mean] - row[deviation], row[mean] + row[deviation]]
    allowed += range(len(rows))  # a class's line in the list of classes
    shown = numbers_in(picture)
    plt.close(picture)
    assert shown, "nothing was drawn"
    assert [v for v in shown if np.abs(np.array(allowed) - v).min() > 1e-12 * abs(v)] == []


def test_mean_and_deviation_of_two_runs(tmp_path):
    train(tmp_path / "r/a", seed=1, time=10.0)
    train(tmp_path / "r/b", seed=2, time=14.0)
    main(["figures", "--results", str(tmp_path / "r"), "--out", str(tmp_path / "f")])
    (row,) = [r for r in table(tmp_path / "f/fig4_time_per_epoch.csv") if r["origin"] == "measured"]
    assert (float(row["mean"]), row["runs"]) == (12.0, "2")
    assert float(row["deviation"]) == pytest.approx(np.std([10, 14], ddof=1))


def test_the_papers_times_are_not_drawn_beside_another_amount_of_work(tmp_path):
    train(tmp_path / "like")
    panel = next(panel for panel in figures.PANELS if panel.name == "fig4_time_per_epoch")
    rows, _ = panel.rows(runs.load(tmp_path).runs)
    assert {row["origin"] for row in rows} == {"measured", "published"}
    path = tmp_path / "like/result.json"
    content = json.loads(path.read_text())
    content["provenance"]["train_patches"] = 896
    path.write_text(json.dumps(content))
    rows, notes = panel.rows(runs.load(tmp_path).runs)
    assert rows == [] and "311,535 or 415,380 patches per epoch, these of 896" in " ".join(notes)


def test_series_of_unlike_work_have_it_in_their_names(tmp_path):
    for nodes in (1, 2):
        train(tmp_path / f"a{nodes}", nodes=nodes)
        path = train(tmp_path / f"b{nodes}", nodes=nodes, config={"classes": 19})
        content = json.loads(path.read_text())
        content["provenance"]["train_patches"] = 896
        path.write_text(json.dumps(content))
    panel = next(panel for panel in figures.PANELS if panel.name == "fig4_time_per_epoch")
    rows, _ = panel.rows(runs.load(tmp_path).runs)
    names = {row["series"] for row in rows if row["origin"] == "measured"}
    assert {name.rsplit(", ", 1)[1] for name in names} == {"311,535 patches", "896 patches"}


def test_a_panel_with_nothing_to_show_is_not_drawn(tmp_path):
    train(tmp_path / "r/a")
    assert main(["figures", "--results", str(tmp_path / "r"), "--out", str(tmp_path / "f")]) == 0
    drawn = {path.stem for path in (tmp_path / "f").glob("*.svg")}
    assert "learning_curves" in drawn
    assert not drawn & {"batch_study", "efficiency", "throughput_per_device"}


def test_a_copied_record_counts_once(tmp_path):
    train(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    train(tmp_path / "b", seed=1)
    assert len(runs.load(tmp_path).runs) == 2


def test_what_is_missing_is_said(tmp_path):
    path = train(tmp_path / "r/a")
    content = json.loads(path.read_text())
    content["metrics"]["time_per_epoch"] = {
        "value": None,
        "unit": "s",
        "better": "lower",
        "reason": "the clock stopped",
    }
    content["tables"] = {}
    content["files"] = {}
    path.write_text(json.dumps(content))
    assert main(["figures", "--results", str(tmp_path / "r"), "--out", str(tmp_path / "f")]) == 0
    found = runs.load(tmp_path / "r").runs
    notes = {panel.name: " ".join(panel.rows(found)[1]) for panel in figures.PANELS}
    assert (
        "the clock stopped" in notes["fig3_time_per_epoch"]
        and ("the clock stopped") in notes["fig4_time_per_epoch"]
    )
    assert "1 of 1" in notes["f1_per_class"]
    assert "kept no sample patches" in notes["samples"]


@pytest.mark.parametrize(
    "damage, said",
    [
        (lambda c: c.update(schema=99), "schema is '99'"),
        (lambda c: c.pop("ranks"), "ranks missing"),
    ],
)
def test_a_foreign_record_is_refused(tmp_path, damage, said):
    path = train(tmp_path / "a")
    content = json.loads(path.read_text())
    damage(content)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=said):
        runs.load(tmp_path)


def test_two_records_with_one_id_are_refused(tmp_path):
    path = train(tmp_path / "a")
    content = json.loads(path.read_text())
    content["metrics"]["f1_micro"]["value"] = 0.99
    (tmp_path / "b").mkdir()
    (tmp_path / "b/result.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="same id"):
        runs.load(tmp_path)


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["figures", "--results", "{tmp}/none", "--out", "{tmp}/f"], "no such file or folder"),
        (["figures", "--results", "{tmp}", "--out", "{tmp}/f"], "holds no result"),
        (["figures", "--results", "{tmp}"], "--out is required"),
        (["figures", "--results", "{tmp}", "--colour", "red"], "unrecognized"),
        (["painting"], "expected a command"),
        ([], "expected a command"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(tmp_path, capsys, arguments, said):
    assert main([a.format(tmp=tmp_path) for a in arguments]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and "Traceback" not in error


def test_an_output_folder_that_cannot_be_made_is_said(tmp_path, capsys):
    train(tmp_path / "r/a")
    (tmp_path / "file").write_text("")
    assert main(["figures", "--results", str(tmp_path / "r"), "--out", str(tmp_path / "file")]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_a_picture_that_cannot_be_finished_leaves_nothing_under_its_name(tmp_path, monkeypatch):
    save = plt.Figure.savefig

    def full(figure, path, **options):
        if not isinstance(path, Path):
            return save(figure, path, **options)
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    train(tmp_path / "r/a")
    monkeypatch.setattr(plt.Figure, "savefig", full)
    with pytest.raises(InputError, match="No space left"):
        panel = figures.PANELS[0]
        rows, notes = panel.rows(runs.load(tmp_path / "r").runs)
        figure.save(panel._replace(draw=lambda rows: plt.figure()), rows, notes, tmp_path)
    assert {path.suffix for path in tmp_path.iterdir() if path.is_file()} == {".csv", ".svg"}


@pytest.mark.parametrize(
    "sizes", [[3], [1, 2, 4, 8, 12, 16, 24], list(range(1, 97)), [1, 10**6, 10**6 + 1]]
)
def test_ticks_of_sizes_do_not_crowd(sizes):
    _, axes = plt.subplots(figsize=(6.4, 4))
    axes.set_xscale("log", base=2)
    axes.minorticks_off()
    figure.size_ticks(axes.xaxis, sizes)
    axes.set_xlim(min(sizes) / 1.3, max(sizes) * 1.3)
    axes.figure.canvas.draw()
    boxes = sorted(label.get_window_extent().intervalx.tolist() for label in axes.get_xticklabels())
    plt.close(axes.figure)
    assert all(left[1] < right[0] for left, right in zip(boxes, boxes[1:]))
    shown = [int(label.get_text()) for label in axes.get_xticklabels()]
    assert (
        min(sizes) in shown
        and (max(sizes) in shown)
        and (len(sizes) > 8 or len(shown) >= min(2, len(sizes)))
    )


@pytest.mark.parametrize("name", ["learning_curves", "f1_per_class", "samples", "batch_study"])
def test_the_gallery_is_what_its_example_results_say(name, tmp_path):
    gallery = Path(figures.__file__).with_name("gallery")
    panel = next(panel for panel in figures.PANELS if panel.name == name)
    figure.save(panel, *panel.rows(runs.load(gallery / "results").runs), tmp_path)
    assert (tmp_path / f"{name}.csv").read_text() == (gallery / f"{name}.csv").read_text()


@pytest.mark.parametrize("width", [2.8, 5.2, 8.4])
def test_a_title_stays_in_its_picture(width):
    panel = next(panel for panel in figures.PANELS if panel.name == "samples")
    drawn = panel._replace(draw=lambda _: plt.subplots(figsize=(width, 3))[0])
    picture = figure.draw(drawn, [{}], [])
    picture.canvas.draw()
    right = picture._suptitle.get_window_extent().x1
    plt.close(picture)
    assert right <= picture.bbox.x1
