"""The efficiency of a sweep."""

import pytest

from reframe_tests.checks import training


def test_efficiency_is_a_ratio_of_throughputs():
    # 269,695 patches in batches of 64 per device: 24 nodes drop more of them than one
    steps = {nodes: 269_695 // (nodes * 4 * 64) for nodes in (1, 24)}
    seconds = {1: 300.0, 24: 14.0}
    made = {
        nodes: {"metrics": {"throughput": {"value": steps[nodes] * nodes * 256 / seconds[nodes]}}}
        for nodes in steps
    }
    whole = 300.0 / (24 * 14.0)
    kept = (steps[24] * 24 * 256) / (steps[1] * 256)
    found = training.efficiency(made[1], made[24], 24)
    assert found == pytest.approx(whole * kept, abs=1e-6)
    assert found < whole - 0.01  # the ratio of times is too high
    assert training.efficiency(made[1], made[1], 1) == 1
