"""Tables 2 and 3: the same numbers in Markdown, CSV and LaTeX, published and measured apart."""

import csv
import re
from pathlib import Path

import pytest
import yaml

from bigearth.nomenclature import LABELS
from plots import published, tables
from reframe_tests.results import runs
from tests.plots.example_results import train

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def found(tmp_path):
    train(tmp_path / "a", seed=1, f1=0.5, system="site_a & b")
    train(tmp_path / "b", seed=2, f1=0.6, system="site_a & b")
    return runs.load(tmp_path).runs


def test_published_scores_are_the_papers():
    rows = published.table3()
    assert {row["class"] for row in rows} == set(LABELS)
    assert sum(row["support"] for row in rows) == 308_272
    assert sum(row["f1_multispectral"] for row in rows) / 43 == pytest.approx(0.607, abs=5e-4)
    assert sum(row["f1_rgb"] for row in rows) / 43 == pytest.approx(0.574, abs=5e-4)
    times = {p["nodes"]: p["mean"] for p in published.points("time_per_epoch")}
    assert times == {1: 347, 2: 172, 4: 86, 8: 42, 12: 27, 16: 20, 24: 15}


def test_table2_keeps_measured_and_published_apart(found):
    table = tables.table2(found)
    measured = [row for row in table.rows if row[2] == "measured"]
    assert len(measured) == 1 and measured[0][-1] == 2
    assert measured[0][table.columns.index("F1")] == pytest.approx(0.55)
    assert [row[1] for row in table.rows if row[2] == "published"] == ["rgb", "multispectral"]


@pytest.mark.parametrize("make", [tables.table2, tables.table3])
def test_the_three_formats_hold_the_same_cells(found, tmp_path, make):
    table = make(found)
    tables.save(table, tmp_path)
    lines = [
        line
        for line in (tmp_path / f"{table.name}.md").read_text().splitlines()
        if line.startswith("|")
    ]
    from_markdown = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert from_markdown == [[tables.text(cell) for cell in row] for row in table.rows]
    body = (
        (tmp_path / f"{table.name}.tex")
        .read_text()
        .split("\\midrule\n")[1]
        .split("\\bottomrule")[0]
    )
    from_latex = [re.split(r"(?<!\\)&", line.removesuffix(r" \\")) for line in body.splitlines()]
    plain = [
        [cell.strip().replace("\\&", "&").replace("\\_", "_").replace("--", "–") for cell in row]
        for row in from_latex
    ]
    assert plain == from_markdown
    with open(tmp_path / f"{table.name}.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == list(table.columns)
    for written, row in zip(rows[1:], table.rows):
        for text, cell in zip(written, row):
            assert text == "" if tables.text(cell) == tables.NONE else text == str(cell)


def test_tables_without_any_training_hold_the_published_numbers():
    assert all(row[2] == "published" for row in tables.table2([]).rows)
    assert len(tables.table3([]).rows) == 43


def published_cells(site):
    """(metric, nodes) -> value, of every published training cell of a site's references that is not
    the RGB one."""
    partitions = yaml.safe_load((ROOT / f"reframe_tests/references/{site}.yaml").read_text())[
        "partitions"
    ]
    for checks in partitions.values():
        for points in checks.values():
            for point, metrics in points.items():
                nodes = int(re.search(r"nodes=(\d+)", point).group(1))
                for metric, cell in metrics.items():
                    if (
                        cell["origin"] == "published"
                        and cell["value"] != published.table2()[0]["f1"]
                    ):
                        yield (metric, nodes), cell["value"]


@pytest.mark.parametrize("site", ["juwels", "jureca"])
def test_pictures_and_references_hold_the_same_published_numbers(site):
    drawn = {
        (quantity, point["nodes"]): point["mean"]
        for quantity in ("time_per_epoch", "training_time", "f1_micro")
        for point in published.points(quantity)
        if point["series"].lower().startswith(site)
    }
    judged = {
        key: value
        for key, value in published_cells(site)
        if key[0] in ("time_per_epoch", "training_time", "f1_micro")
    }
    assert judged and judged.items() <= drawn.items()
