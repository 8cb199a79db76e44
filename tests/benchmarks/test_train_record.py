"""What benchmarks.train computes from the times of its steps and epochs."""

from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import train

RANDOM = np.random.default_rng(3)


def tables(timed=3, steps=40, cv=0.02):
    """An untimed epoch that is slow, then timed ones of different lengths."""
    rows, times = [], []
    for epoch in range(timed + 1):
        seconds = 0.5 * RANDOM.lognormal(0, cv, steps + epoch)
        times.append({"epoch": epoch + 1, "timed": epoch > 0, "seconds": seconds.tolist()})
        row = {"epoch": epoch + 1, "timed": epoch > 0, "samples": 64 * (steps + epoch)}
        rows.append({**row, "time": float(seconds.sum()) + (30.0 if epoch == 0 else 0.01)})
    return {"metrics": rows, "step_times": times}


def timing(found, ranks, **more):
    return train.timing_metrics(SimpleNamespace(tables=found, measured=None, **more), ranks)


def rank(number, found):
    """A rank whose steps take as long as those of the table."""
    return train.rank_row(
        SimpleNamespace(rank=number, local_rank=0),
        "CPU",
        SimpleNamespace(step_times=found["step_times"], first_step=9.0, phases={}),
    )


def test_throughput_is_samples_over_time_of_the_timed_epochs():
    found = tables()
    metrics = timing(found, [rank(0, found), rank(1, found)])
    timed = found["metrics"][1:]
    samples, seconds = (sum(row[key] for row in timed) for key in ("samples", "time"))
    assert metrics["throughput"]["value"] == pytest.approx(samples / seconds, rel=1e-9)
    assert metrics["throughput_per_device"]["value"] == pytest.approx(samples / seconds / 2)
    assert metrics["time_per_epoch"]["value"] == pytest.approx(seconds / 3, rel=1e-9)


def test_step_time_is_the_median_of_the_slowest_rank():
    slow, fast = tables(), tables()
    for row in slow["step_times"]:
        row["seconds"] = [1.1 * second for second in row["seconds"]]
    metrics = timing(fast, [rank(0, fast), rank(1, slow)])
    own = np.concatenate([row["seconds"] for row in slow["step_times"][1:]])
    assert metrics["step_time"]["value"] == pytest.approx(np.median(own))
    assert metrics["step_time"]["samples"] == len(own)
    low, high = metrics["step_time"]["interval"]
    assert low < np.median(own) < high


def test_intervals_hold_the_value_and_shrink_with_the_spread():
    widths = []
    for cv in (0.05, 0.005):
        found = tables(cv=cv)
        for name, entry in timing(found, [rank(0, found)]).items():
            assert entry["interval"][0] <= entry["value"] <= entry["interval"][1], name
            if name == "throughput":
                widths.append(np.ptp(entry["interval"]) / entry["value"])
    assert widths[1] < widths[0] / 5 and widths[0] < 0.05


def test_the_only_epoch_counts_where_there_is_no_other():
    found = tables(timed=0)
    metrics = timing(found, [rank(0, found)])
    assert metrics["time_per_epoch"]["value"] == found["metrics"][0]["time"]


def test_what_was_not_trained_says_so():
    nothing = {"metrics": [], "step_times": []}
    metrics = timing(nothing, [rank(0, nothing)])
    assert all(entry["value"] is None and entry["reason"] for entry in metrics.values())


def test_few_steps_have_no_interval_and_very_many_are_no_burden():
    few = tables(timed=1, steps=2)
    assert "interval" not in timing(few, [rank(0, few)])["throughput"]
    many = tables(timed=1, steps=100_000)
    entry = timing(many, [rank(0, many)])["throughput"]
    assert entry["samples"] == 100_001 and np.ptp(entry["interval"]) < 0.001 * entry["value"]


def test_a_timing_run_tells_an_epoch_from_its_steps():
    found = tables(timed=0, steps=60)
    found["metrics"][0]["steps"] = 60
    measured = {"step_time": 0.5, "interval": [0.495, 0.506], "steps": 30}
    result = SimpleNamespace(tables=found, measured=measured, steps_per_epoch=1000)
    metrics = train.timing_metrics(result, [rank(0, found), rank(1, found)])
    assert metrics["time_per_epoch"]["value"] == pytest.approx(500)
    assert metrics["time_per_epoch"]["interval"] == pytest.approx([495, 506])
    assert metrics["throughput"]["value"] == pytest.approx(64 / 0.5)
    assert metrics["throughput"]["interval"] == pytest.approx([64 / 0.506, 64 / 0.495])
    assert {metrics[name]["samples"] for name in ("throughput", "time_per_epoch")} == {30}
