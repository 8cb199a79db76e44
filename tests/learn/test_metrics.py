import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.metrics import average_precision_score, precision_recall_fscore_support

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


def count(truth, predicted):
    counts = metrics.Counts(truth.shape[1])
    counts.update(truth, predicted)
    return counts


def assert_equals_sklearn(truth, predicted):
    labels = [str(i) for i in range(truth.shape[1])]
    ours = metrics.scores(count(truth, predicted), labels)
    for average in ("micro", "macro", "weighted", "samples"):
        theirs = precision_recall_fscore_support(truth, predicted, average=average, zero_division=0)
        for name, value in zip(NAMES, theirs):
            assert ours[f"{name}_{average}"] == pytest.approx(value, abs=1e-12), (name, average)
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
    whole = count(truth, score >= 0.5)
    parts = [count(t, s >= 0.5) for t, s in zip(np.array_split(truth, 7), np.array_split(score, 7))]
    parts.append(metrics.Counts(43))  # a rank without samples
    summed = sum(part.as_array() for part in parts)
    assert summed.dtype == np.int64
    # equal to the last bit
    assert metrics.scores(metrics.Counts.from_array(summed)) == metrics.scores(whole)
    np.testing.assert_array_equal(
        whole.tp + whole.fp + whole.fn + whole.tn, np.full(43, len(truth))
    )


def test_counts_by_a_loop():
    truth, score = example(50, 5)
    counts = count(truth, score >= 0.5)
    for c in range(5):
        pairs = [(bool(t), bool(p)) for t, p in zip(truth[:, c], score[:, c] >= 0.5)]
        assert (counts.tp[c], counts.fp[c], counts.fn[c], counts.tn[c]) == tuple(
            pairs.count(pair)
            for pair in ((True, True), (False, True), (True, False), (False, False))
        )


def test_a_split_without_samples_scores_zero():
    scores = metrics.scores(metrics.Counts())
    assert all(value == 0 for name, value in scores.items() if name != "per_class")
    assert len(scores["per_class"]) == 43


def test_rows_carry_the_labels_and_plain_numbers():
    truth, score = example()
    rows = metrics.scores(count(truth, score >= 0.5))["per_class"]
    assert [row["label"] for row in rows] == list(nomenclature.LABELS)
    assert json.loads(json.dumps(rows)) == rows


@pytest.mark.parametrize("decimals", [1, 7])
def test_average_precision_equals_sklearn(decimals):
    truth, score = example(decimals=decimals)
    ours = metrics.average_precision(truth, score)
    with pytest.warns(UserWarning, match="No positive class"):
        each = average_precision_score(truth, score, average=None)
        macro = average_precision_score(truth, score, average="macro")
    np.testing.assert_allclose(ours["per_class"], each, atol=1e-12)
    assert ours["average_precision_macro"] == pytest.approx(macro, abs=1e-12)
    assert ours["average_precision_micro"] == pytest.approx(
        average_precision_score(truth, score, average="micro"), abs=1e-12
    )
