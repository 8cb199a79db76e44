"""The efficiency tree on times that the test makes, so that the right answer is known."""

import time

import numpy as np
import pytest

from bigearth.learn import efficiency
from bigearth.learn.efficiency import Times

RANKS = 4
HOSTS = ["n1", "n1", "n2", "n2"]


def made(
    *,
    compute=0.1,
    alone=None,
    exposed=0.0,
    reduce=0.02,
    waiting=0.0,
    slow=0.0,
    noise=0.002,
    steps=40,
    ranks=RANKS,
    seed=0,
):
    """Times of ranks that compute, of which the last is slower, exchange and wait for input."""
    random = np.random.default_rng(seed)

    def noisy(seconds, columns=ranks):
        return seconds * (1 + noise * random.standard_normal((steps, columns)))

    speed = np.ones(ranks)
    speed[-1] += slow
    together = compute * (1 + slow)
    found = {
        "local": noisy(compute * speed),
        "resident": noisy(together + exposed),
        "full": noisy(together + exposed + waiting),
        "reduce": noisy(reduce),
        "alone": noisy(alone or compute, 1),
    }
    return Times(steps=found, reasons={})


def first(result):
    named = efficiency.losses(result)
    return named[0][0] if named else None


@pytest.mark.parametrize(
    "cause, injected, loss",
    [
        ("communication", {"exposed": 0.02}, 0.02 / 0.12),
        ("input", {"waiting": 0.03}, 0.03 / 0.13),
        ("load_balance", {"slow": 0.2}, 0.15 * 0.1 / 0.12),
        ("computation_scaling", {"alone": 0.08}, 0.02 / 0.1),
    ],
)
def test_an_injected_cause_is_named_first_and_sized(cause, injected, loss):
    right = 0
    for seed in range(20):
        result = efficiency.tree(made(**injected, seed=seed), HOSTS, gradient_bytes=9e7)
        right += first(result) == cause
        assert result["factors"][cause]["loss"] == pytest.approx(loss, rel=0.15)
    assert right >= 19


def test_silence_without_a_cause():
    named = [first(efficiency.tree(made(seed=seed), HOSTS)) for seed in range(20)]
    assert named.count(None) >= 19
    assert "no loss stands out" in efficiency.tree(made(), HOSTS)["sentence"]


def test_a_machine_that_changed_its_speed_is_said_and_no_cause_is_named():
    times = made(exposed=0.02)
    steps = {**times.steps, "full": times.steps["full"] / 2}  # the run was faster than what follows
    told = efficiency.tree(times._replace(steps=steps), HOSTS)["sentence"]
    assert "the machine changed its speed" in told and "lost:" not in told


def test_what_was_not_measured_is_no_silence():
    times = made()._replace(steps={"full": made().steps["full"]})
    times = times._replace(reasons=dict.fromkeys(efficiency.KINDS, "only 12 steps"))
    told = efficiency.tree(times, HOSTS)["sentence"]
    assert "no loss stands out" not in told and "communication, input (only 12 steps)" in told


def test_a_longer_validation_is_epoch_overhead():
    times = made()._replace(total_seconds=25.0, run_steps=200)
    result = efficiency.tree(times, HOSTS)
    assert result["factors"]["epoch_overhead"]["value"] == pytest.approx(0.8, rel=0.01)
    assert first(result) == "epoch_overhead" and "% to work outside steps" in result["sentence"]


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_the_product_is_the_measured_throughput_over_the_ideal(ranks):
    step = 0.1 * 1.1 + 0.02 + 0.01 if ranks > 1 else 0.1 * 1.1 + 0.03
    times = made(exposed=0.02, waiting=0.01, slow=0.1, noise=0.01, ranks=ranks)
    times = times._replace(total_seconds=100 * step + 2.0, run_steps=100, ceiling_seconds=0.05)
    result = efficiency.tree(times, HOSTS[:ranks])
    measured = 100 / (100 * step + 2.0)
    lowest = result["levels"]["alone" if ranks > 1 else "resident"]
    assert result["efficiency"] == pytest.approx(measured * lowest, rel=0.02)
    values = {n: f["value"] for n, f in result["factors"].items() if f["value"] is not None}
    inner = [v for name, v in values.items() if name != "device_utilisation"]
    assert np.prod(inner) == pytest.approx(result["efficiency"])
    # with the device's own share nothing is left over
    lost = sum(f["loss"] for f in result["factors"].values() if f["value"] is not None)
    assert lost + np.prod(list(values.values())) == pytest.approx(1)


def test_intervals_hold_the_truth_as_often_as_they_say():
    inside = 0
    for seed in range(60):
        result = efficiency.tree(made(exposed=0.02, noise=0.05, steps=20, seed=seed), HOSTS)
        # the maximum over ranks is noisy on both sides: what it does to the ratio is simulated
        low, high = result["factors"]["communication"]["interval"]
        truth = TRUE_COMMUNICATION
        inside += low <= truth <= high
    assert inside >= 0.88 * 60


TRUE_COMMUNICATION = float(
    np.mean((0.1 * (1 + 0.05 * np.random.default_rng(1).normal(size=(200_001, 4)))).max(1))
    / np.mean((0.12 * (1 + 0.05 * np.random.default_rng(2).normal(size=(200_001, 4)))).max(1))
)


def test_the_hidden_part_and_the_bandwidth():
    result = efficiency.tree(made(exposed=0.005, reduce=0.02, noise=0), HOSTS, gradient_bytes=1e8)
    assert result["hidden"] == pytest.approx(0.75)
    assert result["bus_bandwidth"] == pytest.approx(2 * 3 / 4 * 0.1 / 0.02)
    result = efficiency.tree(made(exposed=0.005, reduce=0.02), HOSTS, gradient_bytes=1e8)
    assert "all-reduce of 100 MB at 7.5 GB/s bus bandwidth, 7" in result["sentence"]


def test_a_slow_rank_is_named_with_its_host():
    result = efficiency.tree(made(slow=0.3), HOSTS)
    (row,) = result["slow_ranks"]
    assert (row["rank"], row["hostname"]) == (3, "n2")
    assert row["slower"] == pytest.approx(0.3, abs=0.01)
    assert "to rank 3 on n2" in result["sentence"]
    assert efficiency.tree(made(slow=0.01), HOSTS)["slow_ranks"] == []


def test_one_rank_has_null_where_nothing_was_measured():
    result = efficiency.tree(made(waiting=0.02, ranks=1), ["n1"])
    for name in ("load_balance", "communication", "computation_scaling"):
        assert result["factors"][name] == {"value": None, "reason": "one rank"}
    assert result["factors"]["input"]["value"] == pytest.approx(0.1 / 0.12, rel=0.01)
    assert result["factors"]["epoch_overhead"]["reason"] == "no whole run was measured"
    assert result["sentence"].startswith("1 rank: 0.83 of ideal")


def test_a_single_step_has_no_interval_and_names_nothing():
    result = efficiency.tree(made(waiting=0.05, steps=1), HOSTS)
    assert result["factors"]["input"]["interval"] is None
    assert result["factors"]["input"]["value"] == pytest.approx(0.1 / 0.15, rel=0.02)
    assert first(result) is None


def test_what_was_left_out_is_null_with_its_reason():
    times = made(exposed=0.02)
    steps = {kind: s for kind, s in times.steps.items() if kind != "local"}
    result = efficiency.tree(Times(steps, {"local": "the run is too short"}), HOSTS)
    assert result["factors"]["communication"]["reason"] == "the run is too short"
    assert result["factors"]["load_balance"]["reason"] == "the run is too short"
    assert result["factors"]["input"]["value"] == pytest.approx(1, abs=0.01)


class OneRank:
    rank = 0

    def barrier(self):
        pass

    def gather(self, value):
        return [value, [2 * x for x in value]]


def test_the_experiment_takes_every_kind_once_per_turn_in_changing_order():
    taken = []
    ways = {
        kind: lambda kind=kind: (taken.append(kind), time.sleep(0.001)) for kind in efficiency.KINDS
    }
    found = efficiency.experiment(ways, OneRank(), turns=6)
    turns = [taken[i : i + 5] for i in range(0, len(taken), 5)]
    assert len(turns) == 7 and all(sorted(t) == sorted(efficiency.KINDS) for t in turns)
    assert len({tuple(turn) for turn in turns}) > 3
    assert found["full"].shape == (6, 2) and found["alone"].shape == (6, 1)
    np.testing.assert_allclose(found["full"][:, 1], 2 * found["full"][:, 0])
