import json
import os
import subprocess
import sys

import numpy as np
import pytest

from benchmarks.studies import reader_speed
from bigearth import record


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.studies.reader_speed", *map(str, arguments)],
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    output = tmp_path_factory.mktemp("speed")
    done = run(
        "--out",
        output,
        "--samples",
        24,
        "--record-samples",
        8,
        "--batch-size",
        8,
        "--repeats",
        1,
        "--threads",
        2,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return output, record.read(output / "result.json"), done.stderr


def test_the_record_has_the_metrics_and_every_ratio(result):
    _, content, _ = result
    assert content.workload == "reader_speed"
    bandwidth, throughput = (
        content.metrics[name]["value"] for name in ("input_bandwidth", "input_throughput")
    )
    assert throughput * 345_600 / 1e9 == pytest.approx(bandwidth)
    rows = {row["against"]: row for row in content.tables["ratios"]}
    assert {name: row["required"] for name, row in rows.items()} == {
        "h5py generator": 10.0,
        "TFRecord int lists": 5.0,
        "memcpy": 0.5,
        "sequential read": 0.9,
    }
    for row in rows.values():
        assert (row["ratio"] is None) == (row["reason"] is not None)
        if row["ratio"] is not None:
            assert row["ratio"] == pytest.approx(row["reader"] / row["other"])
    assert rows["memcpy"]["reader"] == bandwidth


def test_the_table_is_printed_and_nothing_else_is_left(result):
    output, _, printed = result
    assert [path.name for path in output.iterdir()] == ["result.json"]
    for name in reader_speed.REQUIRED_RATIO:
        assert name in printed


def test_tfrecords_bring_the_same_pixels(tmp_path):
    import tensorflow as tf

    from bigearth.store import Store

    file = Store(reader_speed.make_file(tmp_path / "random.h5", 3))
    path = reader_speed.write_records(tf, tmp_path / "patches.tfrecord", file, np.arange(3))
    pixels = file.array("data_super")
    for position, raw in enumerate(tf.data.TFRecordDataset(str(path))):
        lists = tf.train.Example.FromString(raw.numpy()).features.feature
        for band, name in enumerate(reader_speed.SAMPLE.bands):
            np.testing.assert_array_equal(
                lists[name].int64_list.value, pixels[position, ..., band].ravel()
            )


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--batch-size", 0], "--batch-size is 0; expected at least 1"),
        (["--repeats", -1], "--repeats is -1; expected at least 1"),
        (["--data", "missing.h5"], "missing.h5: no such file"),
        (["--samples", 4, "--batch-size", 8], "has 4 patches, expected at least one batch of 8"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, arguments, sentence):
    done = run("--out", tmp_path / "out", *arguments)
    assert done.returncode == 2
    assert sentence in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


def test_fewer_samples_than_a_batch_are_refused_with_a_larger_file(tmp_path):
    data = reader_speed.make_file(tmp_path / "random.h5", 9)
    done = run("--out", tmp_path / "out", "--data", data, "--samples", 4, "--batch-size", 8)
    assert done.returncode == 2
    assert "--samples is 4" in done.stderr
    assert json.dumps(sorted(os.listdir(tmp_path / "out"))) == "[]"
