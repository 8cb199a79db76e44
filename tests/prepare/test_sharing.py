"""Shares of work: complete, and as balanced as each method promises."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigearth.prepare import plan, sharing

weights = st.lists(st.integers(0, 9000), max_size=60)
ranks = st.integers(1, 20)


@pytest.mark.parametrize("method", sharing.METHODS)
@given(weights=weights, ranks=ranks)
def test_every_item_is_in_exactly_one_share(method, weights, ranks):
    shares = sharing.METHODS[method](weights, ranks)
    assert len(shares) == ranks
    assert sorted(item for share in shares for item in share) == list(range(len(weights)))


def test_snake_is_the_papers_order():
    # by weight: 1 (70), 5 (60), 3 (50) forwards; 6 (40), 2 (30), 4 (20) backwards; 0 (10) forwards
    # again
    assert sharing.snake([10, 70, 30, 50, 20, 60, 40], 3) == [[1, 4, 0], [5, 2], [3, 6]]


@given(weights=st.lists(st.integers(1, 9000), min_size=1, max_size=60), ranks=ranks)
def test_longest_first_is_at_most_one_item_above_the_mean(weights, ranks):
    loads = [sum(weights[i] for i in share) for share in sharing.longest_first(weights, ranks)]
    assert max(loads) <= sum(weights) / ranks + max(weights) * (1 - 1 / ranks) + 1e-9  # Graham 1969


@given(weights=weights, ranks=ranks)
def test_contiguous_shares_are_runs_near_the_mean(weights, ranks):
    shares = sharing.contiguous(weights, ranks)
    assert [item for share in shares for item in share] == list(range(len(weights)))
    assert all(
        sum(weights[i] for i in share) <= sum(weights) / ranks + max(weights, default=0)
        for share in shares
    )


def test_real_tiles_on_72_ranks():
    blocks = plan.blocks_of_table(plan.REAL_TILES)
    loads = plan.loads(blocks, 72)
    assert {method: int(load.sum()) for method, load in loads.items()} == dict.fromkeys(
        sharing.METHODS, 590_326
    )
    found = {method: sharing.imbalance(load.tolist()) for method, load in loads.items()}
    assert found["blocks"] <= 1.01 < found["longest"] < found["snake"]


def test_plan_in_seconds():
    text = plan.table(plan.blocks_of_table(plan.REAL_TILES), 72, 100.0)
    assert "590326 patches in 125 tiles on 72 ranks" in text
    assert len([line for line in text.splitlines() if line[:4].strip().isdigit()]) >= 72
    assert "82.1" in text  # 8,206 patches at 100 a second
