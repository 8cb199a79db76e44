"""What the device can do: real ranks, and what is made of their times."""

import pytest

from benchmarks import device
from bigearth import cli, record
from bigearth.errors import InputError

SMALL = ["--matrix", 64, "--copy-mb", 1, "--batch-size", 1, "--repeats", 6]


@pytest.mark.mpi
def test_all_ranks_measure_and_what_was_not_is_null(mpirun, tmp_path):
    options = [*SMALL, "--precisions", "float32,tf32", "--out", tmp_path]
    done = mpirun(2, "-m", "benchmarks.device", *options)
    assert done.returncode == 0, done.stderr[-2000:]
    content = record.read(tmp_path / "result.json")
    low, high = content.metrics["matrix_float32"]["interval"]
    assert 0 < low <= content.value("matrix_float32") <= high
    assert content.value("memory_bandwidth") > 0
    assert content.value("device_spread") >= 0
    assert "A100" in content.metrics["matrix_tf32"]["reason"]
    assert "not asked for" in content.metrics["matrix_bfloat16"]["reason"]
    assert [row["health_reason"] for row in content.ranks] == ["no GPU", "no GPU"]
    quantities = {row["quantity"] for row in content.tables["speeds"]}
    assert len(quantities) == 2 + device.CONVOLUTIONS
    assert len(content.tables["devices"]) == 2 * len(quantities)


def test_the_slowest_device_counts():
    config = device.Config(matrix=1000, copy_mb=1000, batch_size=1)
    fast, slow = [0.01] * 6, [0.02] * 5 + [0.04]
    rows = [({"rank": rank}, {"matrix float32": t}) for rank, t in enumerate((fast, slow, fast))]
    (row,) = device.speeds(config, rows)
    # four products of 2 x 10^9 operations each in 20 ms
    assert row["speed"] == pytest.approx(0.4) and row["slowest_rank"] == 1
    assert row["spread"] == pytest.approx(1.0)
    assert row["interval"][0] == pytest.approx(0.2) and row["interval"][1] == pytest.approx(0.4)
    metrics = device.metrics_of(
        [dict(row, quantity="copy"), row],
        {precision: "why" for precision in device.PRECISIONS},
        repeats=6,
        ranks=1,
    )
    assert metrics["matrix_float16"]["reason"] == "why"
    assert metrics["device_spread"]["value"] is None


def test_operations_are_counted_in_full():
    work = device.operations(device.Config(matrix=1000, copy_mb=1000, batch_size=10))
    assert work["matrix float16"] == pytest.approx(4 * 2e9 / 1e12)
    assert work["copy"] == pytest.approx(4 * 2 * 1000 * 2**20 / 1e9)
    first = device.layers.most_expensive(1)[0]["layer"]
    assert work[f"{first.name} float32"] == pytest.approx(3 * 10 * first.flops / 1e12)


def test_an_unknown_precision_is_refused():
    config = cli.parse(device.Config, ["--precisions", "float8"], device.PROGRAM)
    with pytest.raises(InputError, match="--precisions is 'float8'"):
        device.run(config)
