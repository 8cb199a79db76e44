"""What a run costs, computed before it is submitted, against sums by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reframe_tests import budget, partitions

ENTRIES = [
    {"name": "login", "scheduler": "local"},
    {
        "name": "gpus",
        "scheduler": "slurm",
        "features": ["compute", "multinode"],
        "devices": [{"type": "gpu", "num_devices": 4}],
        "time_limit": "2h",
        "extras": {"max_nodes": 8, "max_time_s": 86400},
    },
    {"name": "free", "scheduler": "slurm", "features": ["compute"]},
]
ABOUT = partitions.of_configuration(ENTRIES)


def described(check, nodes, *names, program="benchmarks.train"):
    where = [f"mine:{name}" for name in names]
    return {"check": check, "nodes": nodes, "program": program, "valid_systems": where}


def test_each_job_counts_its_nodes_and_the_time_it_asks_for():
    chosen = budget.cases(
        [
            described("scaling", 8, "gpus"),  # 8 nodes x 2 h
            described("accuracy", 4, "gpus"),  # 4 nodes x the queue's 24 h
            described("training", 1, "gpus", "free"),  # 2 h, and 2 h where nothing is stated
            described("data", 1, "login"),  # no job of the queue's
        ]
    )
    assert budget.at_most(chosen, ABOUT) == {"jobs": 5, "node_hours": 16 + 96 + 2 + 2}
    assert budget.at_most(chosen, ABOUT, runs=3) == {"jobs": 15, "node_hours": 3 * 116}


def test_only_the_partitions_that_were_asked_for_count():
    both = [described("training", 1, "gpus", "free")]
    assert [name for name, _ in budget.cases(both, ("free",))] == ["free"]


@given(st.integers(1, 4096), st.integers(0, 256))
def test_data_give_every_rank_of_the_largest_job_its_steps(ranks, batch_size):
    train = budget.TRAIN_SHARE * budget.patches_for(ranks, batch_size)
    assert train + 1e-6 >= budget.STEPS * ranks * (batch_size or budget.BATCH_SIZE)


@pytest.mark.parametrize(
    "check, program, ranks",
    [
        ("scaling", "benchmarks.train", 32),
        ("training", "benchmarks.train", 0),  # its batch is its own
        ("preflight", "benchmarks.preflight", 0),
    ],
)
def test_the_largest_training_decides_the_size_of_the_data(check, program, ranks):
    chosen = budget.cases([described(check, 8, "gpus", program=program)])
    assert budget.largest(chosen, ABOUT) == ranks


def test_the_size_of_the_data_is_said():
    text = budget.sentence({"jobs": 3, "node_hours": 6.0}, 10_000)
    assert "3 job(s), 6.0 node-hours at most" in text and "10,000" in text and "5.1 GB" in text
