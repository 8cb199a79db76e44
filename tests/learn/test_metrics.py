import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.metrics import precision_recall_fscore_support

from bigearth import nomenclature
from bigearth.learn import metrics

NAMES = ("precision", "recall", "f1")


def example(samples=400, classes=43, seed=0, decimals=2):
    """Truth and scores with rare classes, one class never present, one never predicted, and many
    equal scores."""
    random = np.random.default_rng(seed)
    truth = random.random((samples, classes)) < random.random(classes) ** 3
    score = (
        np.clip(random.normal(0.3, 0.2, (samples, classes)) + 0.3 * truth, 0, 1)
        .round(decimals)
        .astype(np.float32)
    )
    truth[:, 0] = False
    score[:, 1] = 0
    return truth.astype(np.uint8), score


def assert_equals_sklearn(truth, predicted):
    labels = [str(i) for i in range(truth.shape[1])]
    ours = metrics.scores(truth, predicted, labels)
    micro, macro = metrics.f1(metrics.count(truth, predicted))
    for average in ("micro", "macro", "weighted", "samples"):
        theirs = precision_recall_fscore_support(truth, predicted, average=average, zero_division=0)
        for name, value in zip(NAMES, theirs):
            assert ours[f"{name}_{average}"] == pytest.approx(value, abs=1e-12), (name, average)
    assert (micro, macro) == pytest.approx((ours["f1_micro"], ours["f1_macro"]), abs=1e-12)
    each = precision_recall_fscore_support(truth, predicted, average=None, zero_division=0)
    for row, precision, recall, f1, support in zip(ours["per_class"], *each):
        assert row["support"] == support
        assert [row[name] for name in NAMES] == pytest.approx([precision, recall, f1], abs=1e-12)


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.9, 1.1])
def test_equal_to_sklearn(threshold):
    truth, score = example()
    assert_equals_sklearn(truth, score >= threshold)


@given(arrays.arrays(np.bool_, st.tuples(st.just(2), st.integers(1, 12), st.integers(2, 6))))
@settings(max_examples=40, deadline=None)
def test_equal_to_sklearn_on_anything(both):
    assert_equals_sklearn(both[0].astype(np.uint8), both[1])


def test_equal_to_sklearn_in_19_classes():
    truth, score = example()
    truth[:9] = np.arange(43) == nomenclature.LABELS.index("Airports")
    truth_19, predicted_19 = nomenclature.to_19(truth), nomenclature.to_19(score >= 0.5)
    assert not truth_19.any(axis=1).all()  # patches whose classes all lack a target count too
    assert_equals_sklearn(truth_19, predicted_19)


def test_counts_add_up_over_ranks_in_any_split():
    truth, score = example()
    whole = metrics.count(truth, score >= 0.5)
    parts = [
        metrics.count(t, s >= 0.5)
        for t, s in zip(np.array_split(truth, 7), np.array_split(score, 7))
    ]
    parts.append(metrics.count(truth[:0], score[:0] >= 0.5))  # a rank without samples
    assert sum(parts).dtype == np.int64
    np.testing.assert_array_equal(sum(parts), whole)


def test_counts_by_a_loop():
    truth, score = example(50, 5)
    counts = metrics.count(truth, score >= 0.5)
    for c in range(5):
        pairs = [(bool(t), bool(p)) for t, p in zip(truth[:, c], score[:, c] >= 0.5)]
        kinds = ((True, True), (False, True), (True, False))
        assert counts[:, c].tolist() == [pairs.count(kind) for kind in kinds]


def test_rows_carry_the_labels_and_plain_numbers():
    truth, score = example()
    rows = metrics.scores(truth, score >= 0.5, nomenclature.LABELS)["per_class"]
    assert [row["label"] for row in rows] == list(nomenclature.LABELS)
    assert json.loads(json.dumps(rows)) == rows


def average_precision_by_a_loop(truth, score):
    """Precision at each positive's own threshold, each weighted by the recall it adds."""
    total = 0.0
    for level in np.unique(score[truth]):
        chosen = score >= level
        total += truth[chosen].mean() * (truth & (score == level)).sum() / truth.sum()
    return total


@pytest.mark.parametrize("decimals", [1, 7])
def test_average_precision_is_the_area_under_the_steps(decimals):
    truth, score = example(decimals=decimals)
    ours = metrics.average_precision(truth, score)
    present = truth.any(0)
    assert not present[0]
    each = [
        average_precision_by_a_loop(truth[:, c] != 0, score[:, c]) for c in range(43) if present[c]
    ]
    assert [value is None for value in ours["per_class"]] == (~present).tolist()
    found = [value for value in ours["per_class"] if value is not None]
    np.testing.assert_allclose(found, each, atol=1e-12)
    assert ours["average_precision_macro"] == pytest.approx(np.mean(each), abs=1e-12)
    assert ours["average_precision_micro"] == pytest.approx(
        average_precision_by_a_loop(truth.ravel() != 0, score.ravel()), abs=1e-12
    )


def test_score_intervals_agree_with_a_plain_bootstrap_of_sklearn():
    truth, score = example(samples=600, classes=12)
    predicted = score >= 0.5
    found = metrics.score_intervals(truth, predicted)
    random = np.random.default_rng(1)
    drawn = []
    for _ in range(400):
        rows = random.integers(0, len(truth), len(truth))
        drawn.append(metrics.scores(truth[rows], predicted[rows], [str(i) for i in range(12)]))
    whole = metrics.scores(truth, predicted, [str(i) for i in range(12)])
    for name, (low, high) in found.items():
        spread = np.std([scores[name] for scores in drawn])
        assert low < whole[name] < high
        assert (high - low) / (2 * 1.96 * spread) == pytest.approx(1, abs=0.25), name
    assert set(found) == {f"{n}_{a}" for n in NAMES for a in ("micro", "macro")}


def test_patches_that_resemble_their_neighbours_widen_the_interval():
    truth, score = example(samples=300, classes=12)
    alone = metrics.score_intervals(truth, score >= 0.5)
    tiles = [np.repeat(x, 20, axis=0) for x in (truth, score >= 0.5)]  # 20 equal neighbours
    low, high = metrics.score_intervals(*tiles)["f1_micro"]
    width = alone["f1_micro"][1] - alone["f1_micro"][0]
    assert 0.8 < (high - low) / width < 1.8  # 20 times the patches know no more


@pytest.mark.parametrize("samples", [0, 1, 9])
def test_no_interval_for_few_patches_or_none_that_are_wrong(samples):
    truth, score = example(samples=samples, classes=5)
    assert metrics.score_intervals(truth, score >= 0.5) == {}
    truth, _ = example(samples=50, classes=5)
    assert metrics.score_intervals(truth, truth != 0) == {}
