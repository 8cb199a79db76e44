"""What single nodes did: rates, the spread between nodes, and which stands out."""

import numpy as np
import pytest

from reframe_tests.results import sessions as reader
from reframe_tests.results import spread, verdict
from tests.plots import example_sessions as sessions


def soak(values: dict, metric="time_per_epoch") -> list:
    """Rows of one session in which every node ran a one-node check; node -> its values."""
    runs = max(map(len, values.values()))
    report = sessions.session(cmdline=f"reframe --reruns={runs - 1}")
    report["runs"] = [
        {
            "testcases": [
                sessions.case({metric: some[turn]}, job_nodelist=[node], unique_name=f"t_{node}")
                for node, some in values.items()
                if turn < len(some)
            ]
        }
        for turn in range(runs)
    ]
    return verdict.rows(reader.cases_of(report, "x"))


def nodes(count: int, runs: int, noise=0.005) -> dict:
    random = np.random.default_rng(3)
    return {
        f"n{i:03}": (10 * (1 + noise * random.standard_normal(runs))).tolist() for i in range(count)
    }


def test_a_slow_node_of_many_is_named_with_its_runs():
    values = nodes(47, 3)
    values["n033"] = [11.2, 11.3, 11.2]
    told = spread.sentences(soak(values))
    assert "training nodes=1 @default: 141 of 141 runs passed" in told
    assert told[-1] == (
        "drain n033: time_per_epoch 12 % worse than the median of 47 nodes in 3 of 3 runs "
        "(training nodes=1 @default)"
    )


@pytest.mark.parametrize("metric, value", [("time_per_epoch", 5.0), ("throughput", 20.0)])
def test_a_node_that_is_better_is_not_drained(metric, value):
    values = {**nodes(12, 1), "n003": [value]}
    assert not spread.advice(spread.spreads(spread.cases_of(soak(values, metric))))


def test_too_few_nodes_name_none():
    values = {**nodes(spread.FEWEST - 1, 1), "n001": [30.0]}
    assert not spread.advice(spread.spreads(spread.cases_of(soak(values))))


@pytest.mark.parametrize("count", [6, 7, 8, 9, 12, 13, 16, 24, 25, 48, 100, 1000])
def test_of_a_hundred_healthy_series_one_at_most_names_a_node(count):
    noise = np.random.default_rng(count).standard_normal((20000 if count < 100 else 2000, count))
    middle = np.median(noise, axis=1, keepdims=True)
    deviation = 1.4826 * np.median(abs(noise - middle), axis=1)
    limit = next(z for least, z in spread.LIMITS if count >= least)
    assert np.mean((noise - middle).max(axis=1) > limit * deviation) <= 0.01


def test_one_failure_of_a_soak_is_counted_on_its_node():
    report = sessions.session(cmdline="reframe --reruns=1")
    good = sessions.case({"time_per_epoch": 1.0}, job_nodelist=["n7"])
    bad = {**good, "result": "fail", "fail_phase": "run", "perfvalues": {}}
    report["runs"] = [{"testcases": [good]}, {"testcases": [bad]}]
    rows = verdict.rows(reader.cases_of(report, "x"))
    name = "training nodes=1 @default"
    assert spread.rates(rows) == [
        spread.Rate(name, "", runs=2, passed=1),
        spread.Rate(name, "n7", runs=2, passed=1),
    ]
    assert spread.sentences(rows) == [f"{name}: 1 of 2 runs passed; failed on n7 1 of 2"]


def test_a_job_of_several_nodes_compares_their_ranks():
    ranks = [
        {"rank": i, "hostname": f"n{i}", "step_time": 0.5 if i == 4 else 0.3} for i in range(8)
    ]
    evidence = {"image": None, "dataset": "sha256:1", "nodes": 8, "patches": 1, "ranks": ranks}
    case = sessions.case({"time_per_epoch": 1.0}, point="nodes=8", evidence=evidence)
    rows = verdict.rows(reader.cases_of(sessions.session(case), "x"))
    assert spread.sentences(rows)[-1].startswith("drain n4: step_time 67 % worse than the median")
