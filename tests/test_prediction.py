"""The model of machines and sizes that were not measured."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigearth import prediction
from bigearth.prediction import Link, Machine, Work

# Sedona et al. 2019, section 4.2: JUWELS, 4 devices per node, whole seconds as printed
PAPER = {4: 347.0, 8: 172.0, 16: 86.0, 32: 42.0}
LARGER = {48: 27.0, 64: 20.0, 96: 15.0}
PAPER_WORK = Work(images=519_226, batch_size=64, gradient_bytes=94_497_452)
FAST = Link(1e-6, 1e15)


def test_the_papers_larger_runs_from_its_smaller_ones():
    fitted = prediction.fit(PAPER_WORK, PAPER)
    for devices, seconds in LARGER.items():
        found = prediction.predict_fit(fitted, PAPER_WORK, devices, resolution=0.5)
        assert abs(found.seconds / seconds - 1) < 0.08
        low, high = found.interval
        assert low <= seconds <= high
        assert high / low < 1.5  # an interval that holds everything says nothing


@pytest.mark.parametrize("n", [2, 3, 10, 100])
def test_expected_maximum_against_simulation(n):
    drawn = np.random.default_rng(n).normal(size=(200_000, n)).max(axis=1)
    assert prediction.expected_maximum(n) == pytest.approx(
        drawn.mean(), abs=4 * drawn.std() / math.sqrt(len(drawn))
    )
    assert prediction.expected_maximum(2) == pytest.approx(1 / math.sqrt(math.pi), abs=1e-6)


def test_allreduce_of_a_ring_and_a_tree_by_hand():
    link = Link(latency=1e-3, bandwidth=1e9)
    assert prediction.ring(4, 4e6, link) == pytest.approx(6 * (1e-3 + 1e-3))
    assert prediction.tree(5, 1e6, link) == pytest.approx(6e-3 + 2e-3)
    slow_start = Machine(1.0, 4, inside=FAST, between=Link(1e-3, 1e12))
    # on 1,024 nodes a ring would wait 2 s for latency alone, a tree 20 ms
    assert prediction.allreduce_time(slow_start, 4096, 4e6) == pytest.approx(0.02, rel=0.01)


def test_parts_of_a_step_by_hand():
    machine = Machine(
        step_time=0.3,
        devices_per_node=1,
        inside=FAST,
        between=Link(0.0, 1e9),
        spread=0.1,
        overlap=0.5,
        input_throughput=100.0,
    )
    work = Work(images=6400, batch_size=64, gradient_bytes=1e8, groups=1)
    parts = prediction.step_parts(machine, work, 2)
    assert parts["stragglers"] == pytest.approx(0.03 / math.sqrt(math.pi), abs=1e-6)
    assert parts["communication"] == pytest.approx(0.05)  # 0.1 s, half of it hidden
    assert sum(parts.values()) == pytest.approx(0.64)  # 64 samples at 100 per second
    assert prediction.epoch_time(machine, work, 2) == pytest.approx(50 * 0.64)


def test_no_more_is_hidden_than_the_backward_pass_lasts():
    machine = Machine(0.3, 1, inside=FAST, between=Link(0.0, 1e8), overlap=1.0)
    work = Work(images=6400, batch_size=64, gradient_bytes=1e8, groups=1)
    assert prediction.step_parts(machine, work, 2)["communication"] == pytest.approx(1.0 - 0.2)


@given(
    compute=st.floats(0.01, 1.0),
    bandwidth=st.floats(1e9, 1e11),
    overhead=st.floats(0.0, 5.0),
)
def test_a_sweep_that_follows_the_model_is_found_again(compute, bandwidth, overhead):
    work = Work(images=10**6, batch_size=32, gradient_bytes=1e8)
    times = {}
    for n in (1, 2, 4, 8, 16):
        travelling = 2 * (n - 1) / n * 1e8 / bandwidth
        times[n] = work.steps(n) * (compute + travelling) + overhead
    found = prediction.predict_fit(prediction.fit(work, times), work, 64)
    travelling = 2 * 63 / 64 * 1e8 / bandwidth
    assert found.seconds == pytest.approx(
        work.steps(64) * (compute + travelling) + overhead, rel=1e-4
    )


def test_intervals_hold_what_comes_later():
    """95 % of new runs at a size that was measured, 90 % at twice the largest, or more."""
    random = np.random.default_rng(3)
    work = Work(images=10**6, batch_size=32, gradient_bytes=1e8)
    sizes, inside = (1, 2, 4, 8), {8: 0, 16: 0}
    for _ in range(300):
        noise = {n: math.exp(random.normal(0, 0.02)) for n in (*sizes, 16)}
        times = {n: work.steps(n) * 0.1 * noise[n] for n in sizes}
        fitted = prediction.fit(work, times)
        for n in inside:
            truth = work.steps(n) * 0.1 * math.exp(random.normal(0, 0.02))
            low, high = prediction.predict_fit(fitted, work, n).interval
            inside[n] += low <= truth <= high
    assert inside[8] >= 0.92 * 300 and inside[16] >= 0.92 * 300


def test_leave_one_out_predicts_each_size_from_the_others():
    rows = prediction.leave_one_out(PAPER_WORK, {**PAPER, **LARGER})
    assert [row["devices"] for row in rows] == sorted({**PAPER, **LARGER})
    assert all(abs(row["error"]) < 0.12 for row in rows)
    without = {n: s for n, s in {**PAPER, **LARGER}.items() if n != 96}
    again = prediction.predict_fit(prediction.fit(PAPER_WORK, without), PAPER_WORK, 96)
    assert rows[-1]["predicted"] == again.seconds
    assert prediction.leave_one_out(PAPER_WORK, {4: 347.0, 8: 172.0}) == []


def test_one_size_is_no_sweep():
    with pytest.raises(ValueError, match="1 size"):
        prediction.fit(PAPER_WORK, {4: 347.0})
    with pytest.raises(ValueError, match="do not fill one step"):
        prediction.Work(100, 64, 1.0).steps(2)


def test_a_link_is_found_from_its_times():
    sizes = [2**k for k in range(10, 29, 2)]
    link = Link(30e-6, 5e9)
    times = [prediction.ring(6, size, link) for size in sizes]
    found = prediction.fit_link(sizes, times, 6)
    assert found.latency == pytest.approx(30e-6) and found.bandwidth == pytest.approx(5e9)
    assert prediction.fit_link(sizes, times, 1) is None


def test_text_for_extrap():
    lines = prediction.extrap_text({2: [1.5, 1.25], 1: [3.0]}).splitlines()
    assert lines == [
        "PARAMETER devices",
        "",
        "POINTS ( 1 ) ( 2 )",
        "",
        "REGION epoch",
        "METRIC time",
        "DATA 3",
        "DATA 1.5 1.25",
    ]
