import math

import pytest

from bigearth.learn.schedule import Schedule, peak_rate


def test_rate_grows_linearly_with_the_global_batch():
    assert peak_rate(0.1, 4 * 64) == pytest.approx(0.1)
    # the paper's formula on 24 nodes
    assert peak_rate(0.1, 96 * 64) == pytest.approx(0.1 * 96 * 64 / 256)
    assert peak_rate(0.1, 1024, "sqrt") == pytest.approx(0.2)
    assert peak_rate(0.1, 1024, "none") == 0.1


def test_paper_schedule():
    rate = Schedule(0.4, steps_per_epoch=10, epochs=100)
    warm = [rate(step) for step in range(50)]
    assert warm[0] == pytest.approx(0.4 / 50) and warm[-1] == pytest.approx(0.4)
    # every step, by the same amount
    assert all(later - earlier == pytest.approx(0.4 / 50) for earlier, later in zip(warm, warm[1:]))
    for epoch, factor in (
        (5, 1),
        (29, 1),
        (30, 0.1),
        (59, 0.1),
        (60, 0.01),
        (79, 0.01),
        (80, 0.001),
        (99, 0.001),
    ):
        assert rate(epoch * 10) == pytest.approx(0.4 * factor), epoch
    assert rate(299) == pytest.approx(0.4) and rate(300) == pytest.approx(0.04)


@pytest.mark.parametrize("kind", ["polynomial", "cosine"])
def test_smooth_decays_start_at_the_peak_fall_and_end_near_zero(kind):
    rate = Schedule(2.0, steps_per_epoch=10, epochs=20, kind=kind, warmup_epochs=2)
    values = [rate(step) for step in range(20, 200)]
    assert values[0] == pytest.approx(2.0)
    assert all(later < earlier for earlier, later in zip(values, values[1:]))
    assert 0 < values[-1] < 1e-3
    middle = 2.0 * (0.25 if kind == "polynomial" else 0.5 * (1 + math.cos(math.pi / 2)))
    assert rate(110) == pytest.approx(middle)


def test_no_warm_up_and_a_fraction_of_an_epoch():
    assert Schedule(1.0, 10, 5, warmup_epochs=0)(0) == 1.0
    half = Schedule(1.0, 10, 5, warmup_epochs=0.25)
    assert [half(s) for s in range(4)] == pytest.approx([1 / 3, 2 / 3, 1.0, 1.0])
