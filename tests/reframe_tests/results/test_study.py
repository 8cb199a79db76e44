"""The promises of the alarms, on a small site, and the parts of `cusum` beside plain references."""

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from reframe_tests.results import alarms, cusum, study

SITE = study.Config(repeats=2)
PROMISED = (
    "normal", "Student's t, 3", "exponential", "lognormal", "outliers", "bimodal", "weekly cycle",
    "AR(1) 0.5",
)  # fmt: skip


@pytest.mark.parametrize(("kind", "most"), [*((kind, 1) for kind in PROMISED), ("AR(1) 0.8", 3)])
def test_false_alarms_per_month_are_few(kind, most):
    (_, late), power = study.line(kind, SITE)
    assert late <= most
    if kind == "normal":
        wanted = dict(zip(study.CHANGES, (0.95, 0.95, 0.8, 0.9)))
        assert all(share >= wanted[name] for name, share in zip(study.CHANGES, power)), power
    if kind == "outliers":
        assert power[0] >= 0.8


def test_study_and_history_raise_the_same_alarms():
    rng = np.random.default_rng(1)
    values = 0.01 * study.KINDS["AR(1) 0.8"](rng, (200, 100))
    nights = [f"s{i}" for i in range(200)]
    found = study.false_alarms(values, 1.0)
    series = [
        alarms.Series(
            key=("site", "check", f"{i:03d}", "step_time"),
            runs=tuple(alarms.Run(n, float(np.exp(v))) for n, v in zip(nights, one)),
            lower_is_better=True,
        )
        for i, one in enumerate(values.T)
    ]
    raised = alarms.judge(series, nights, site=alarms.Site(min_effect=0.0)).alarms
    first = [alarm.raised for alarm in raised][:1]
    assert found and first == [nights[found[0]]]


def test_table_is_printed(capsys):
    study.run(study.Config(series=4, repeats=1, nights=90))
    said = capsys.readouterr().out
    assert all(said.count(f"| {kind} |") == 2 for kind in study.KINDS)


def test_sums_are_pages():
    white = np.random.default_rng(2).normal(0.8, 1, 200)
    sums, began = cusum._cusum(white)
    total, start = 0.0, 0
    for i, value in enumerate(white):
        total += value - cusum.ALLOWANCE
        if total <= 0:
            total, start = 0.0, i + 1
        assert sums[i] == pytest.approx(total, abs=1e-9)
        assert began[i] == min(start, len(white) - 1)


def test_trend_is_the_slope_in_its_standard_deviations():
    white = np.clip(np.random.default_rng(3).standard_normal(90), -2, 2)
    found = cusum._slopes(white, start=0)
    slopes = []
    for n in range(84, 91):
        place = np.arange(n)
        slopes.append(np.polyfit(place, white[:n], 1)[0] * place.std() * np.sqrt(n))
    assert found[-1] == pytest.approx(min(slopes))
    assert (found[:59] == 0).all()


@pytest.mark.parametrize("seed", range(5))
def test_discoveries_are_those_of_statsmodels(seed):
    p = np.random.default_rng(seed).random(50) ** 3
    theirs, *_ = multipletests(p, alpha=0.1, method="fdr_bh")
    np.testing.assert_array_equal(cusum.discoveries(p, 0.1), theirs)


def test_what_was_said_of_a_night_does_not_change_with_later_nights():
    values = 0.01 * np.random.default_rng(4).standard_normal(200)
    whole = cusum.evidence(values).p
    for n in (21, 45, 70, 119, 161, 199):
        np.testing.assert_array_equal(cusum.evidence(values[:n]).p, whole[:n])


def test_autocorrelation_weakens_what_a_few_nights_say():
    step = np.r_[np.zeros(80), np.full(7, 0.03)]
    rng = np.random.default_rng(5)
    independent = [cusum.evidence(step + 0.01 * rng.standard_normal(87)).p[-1] for _ in range(20)]
    wander = [
        cusum.evidence(step + 0.01 * study.KINDS["AR(1) 0.8"](rng, (87, 1))[:, 0]).p[-1]
        for _ in range(20)
    ]
    assert np.median(independent) < 0.2 * np.median(wander)
