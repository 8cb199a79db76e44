"""Predictions as a program: from records of a sweep, and from a machine's figures."""

import datetime

import pytest
import yaml

from benchmarks import predict
from bigearth import cli, record
from bigearth.errors import InputError
from reframe_tests import references

FIGURES = {
    "work": {"images": 269_695, "batch_size": 64},
    "machine": {
        "step_time": [0.15, 0.17],
        "devices_per_node": 4,
        "inside": {"latency": 5e-6, "bandwidth": 1e11},
        "between": {"latency": 8e-6, "bandwidth": [1e10, 1.2e10]},
        "spread": 0.01,
        "overlap": 0.6,
        "input_throughput": 20_000,
        "epoch_overhead": 2.0,
    },
}


def run(*arguments):
    predict.run(cli.parse(predict.Config, list(map(str, arguments)), predict.PROGRAM))


def figures(folder, **changes):
    path = folder / "machine.yaml"
    path.write_text(yaml.safe_dump({**FIGURES, "machine": {**FIGURES["machine"], **changes}}))
    return path


def training(folder, devices, seconds, images=519_226):
    path = folder / f"{devices}-{seconds}" / "result.json"
    provenance = {"patches": {"train": images}, "nodelist": []}
    hosts = [{"rank": rank, "hostname": f"n{rank // 4}"} for rank in range(devices)]
    content = record.Record(
        workload="train",
        config={"batch_size": 64, "network": "resnet50"},
        metrics={"time_per_epoch": record.metric("time_per_epoch", seconds)},
        ranks=hosts,
        tables={},
        files={},
        provenance=provenance,
    )
    path.parent.mkdir()
    record.write(path, content)
    return path


def test_a_machine_of_figures_up_to_4096_devices(tmp_path):
    run("--machine", figures(tmp_path), "--out", tmp_path / "out")
    content = record.read(tmp_path / "out" / "result.json")
    rows = content.tables["predictions"]
    assert [row["devices"] for row in rows][-1] == 4096 and rows[0]["nodes"] == 1
    assert all(row["interval"][0] < row["time_per_epoch"] < row["interval"][1] for row in rows)
    efficiencies = [row["efficiency"] for row in rows]
    assert efficiencies[0] == 1 and efficiencies == sorted(efficiencies, reverse=True)
    assert content.value("prediction_error") is None
    assert "nothing was measured" in content.metrics["prediction_error"]["reason"]


def test_figures_without_ranges_have_no_interval(tmp_path):
    link = {"latency": 8e-6, "bandwidth": 1e10}
    run("--machine", figures(tmp_path, step_time=0.16, between=link), "--out", tmp_path)
    (first, *_) = record.read(tmp_path / "result.json").tables["predictions"]
    assert first["interval"] is None and "no ranges" in first["reason"]


def test_the_papers_sweep(tmp_path):
    """Sedona et al. 2019, section 4.2: seconds per epoch on 1, 2, 4 and 8 nodes of 4 devices."""
    measured = {4: 347.0, 8: 172.0, 16: 86.0, 32: 42.0}
    words = []
    for devices, seconds in measured.items():
        words += ["--record", training(tmp_path, devices, seconds)]
    run(*words, "--out", tmp_path / "out")
    content = record.read(tmp_path / "out" / "result.json")
    found = {row["nodes"]: row for row in content.tables["predictions"]}
    for nodes, seconds in {12: 27, 16: 20, 24: 15}.items():
        assert found[nodes]["time_per_epoch"] == pytest.approx(seconds, rel=0.08)
    assert len(content.tables["leave_one_out"]) == 4
    assert 0 < content.value("prediction_error") < 0.05
    cells = yaml.safe_load((tmp_path / "out" / "references.yaml").read_text())["scaling"]
    today = datetime.date.today()
    for point in cells.values():
        cell = point["time_per_epoch"]
        faults = references._lint_cell("time_per_epoch", cell, {"image": None}, today)
        assert list(faults) == [] and cell["origin"] == "predicted"


def test_the_text_of_extra_p_has_a_line_per_point(tmp_path):
    words = []
    for devices in (1, 2, 4, 8, 16):
        words += ["--record", training(tmp_path, devices, 100.0 / devices + 1)]
    run(*words, "--out", tmp_path / "out")
    lines = (tmp_path / "out" / "extra-p.txt").read_text().splitlines()
    times = [float(line.split()[1]) for line in lines if line.startswith("DATA")]
    assert "POINTS ( 1 ) ( 2 ) ( 4 ) ( 8 ) ( 16 )" in lines and "REGION epoch" in lines
    assert times == pytest.approx([100.0 / n + 1 for n in (1, 2, 4, 8, 16)])


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"overlap": 60}, "overlap of 0 to 1"),
        ({"speed": 1}, "unknown figure.s.: speed"),
        ({"step_time": "fast"}, "step_time is fast; expected a number"),
        ({"step_time": [0.1, 0.2, 0.3]}, "a range"),
        ({"spread": True}, "spread is True"),
        ({"devices_per_node": 0}, "devices_per_node is 0"),
        ({"inside": {"latency": 1}}, "inside needs latency and bandwidth"),
        ({"between": {"latency": 1, "bandwidth": 0}}, "between.bandwidth is 0"),
    ],
)
def test_mistakes_in_figures_are_one_sentence(tmp_path, changes, sentence):
    with pytest.raises(InputError, match=sentence):
        run("--machine", figures(tmp_path, **changes), "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_mistakes_in_records_are_one_sentence(tmp_path):
    one, other = training(tmp_path, 4, 10.0), training(tmp_path, 8, 5.0, images=100_000)
    with pytest.raises(InputError, match="records differ"):
        run("--record", one, "--record", other)
    with pytest.raises(InputError, match="at least two sizes"):
        run("--record", one)
    with pytest.raises(InputError, match="give one of them"):
        run()
