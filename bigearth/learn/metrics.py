"""Scores of multi-label predictions (paper, section 4: Tables 2 and 3).

Validation needs F1 alone, from integer counts that ranks can add up. The test split is scored by
scikit-learn on the rows of all ranks.
"""

from typing import Optional, Sequence, Tuple

import numpy as np
from sklearn.metrics import average_precision_score, precision_recall_fscore_support

from bigearth import intervals

SCORES = ("precision", "recall", "f1")
AVERAGES = ("micro", "macro", "weighted", "samples")
MOST_PARTS = 1000  # of neighbouring patches, for the intervals


def count(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """True positives, false positives and false negatives of each class.

    Args:
        truth: (n, C) multi-hot.
        predicted: (n, C) bool.

    Returns:
        (3, C) int64, in this order; counts of parts of a split add up to those of the whole.
    """
    truth, predicted = np.asarray(truth) != 0, np.asarray(predicted) != 0
    parts = (truth & predicted, predicted & ~truth, truth & ~predicted)
    return np.stack([part.sum(0, dtype=np.int64) for part in parts])


def f1(counts: np.ndarray) -> Tuple[float, float]:
    """F1 micro and F1 macro from the (3, C) counts; a class that is neither present nor predicted
    counts 0."""
    found, wrong, missed = counts
    twice, total = 2.0 * found, (found + wrong) + (found + missed)
    each = np.divide(twice, total, out=np.zeros(len(found)), where=total != 0)
    return float(twice.sum() / max(total.sum(), 1)), float(each.mean())


def scores(truth: np.ndarray, predicted: np.ndarray, labels: Sequence[str]) -> dict:
    """Precision, recall and F1 as scikit-learn defines them; what has no denominator is 0.

    Args:
        truth: (n, C) multi-hot.
        predicted: (n, C) bool.
        labels: the C names of the classes.

    Returns:
        "precision_micro", "recall_micro", "f1_micro", and the same with "_macro" (mean over
        classes), "_weighted" (by support) and "_samples" (mean over samples): float; "per_class":
        rows {label, support, precision, recall, f1} in the order of the labels.
    """
    truth, predicted = (np.asarray(x).astype(np.uint8) for x in (truth, predicted))
    result = {}
    for average in AVERAGES:
        three = precision_recall_fscore_support(truth, predicted, average=average, zero_division=0)
        result.update({f"{name}_{average}": float(v) for name, v in zip(SCORES, three)})
    *each, support = precision_recall_fscore_support(truth, predicted, zero_division=0)
    result["per_class"] = [
        {"label": label, "support": int(n), **{s: float(v) for s, v in zip(SCORES, values)}}
        for label, n, *values in zip(labels, support, *each)
    ]
    return result


def score_intervals(truth: np.ndarray, predicted: np.ndarray) -> dict:
    """95 % intervals of the scores over all classes together and of the means over classes.

    What each patch adds to a score's error (its influence) goes into a bootstrap over blocks of
    neighbours: patches of one tile resemble each other and are not counted as independent.

    Args:
        truth: (n, C) multi-hot, patches in the order of the file.
        predicted: (n, C) bool.

    Returns:
        "precision_micro", "f1_macro" etc. -> (low, high); a score whose interval is unknown
        (few patches, no spread) is not among them.
    """
    truth, predicted = np.asarray(truth) != 0, np.asarray(predicted) != 0
    found = (truth & predicted).astype(float)
    # score -> its numerator and denominator, (n, C): 2 TP / (2 TP + FP + FN) is F1
    ratios = {
        "precision": (found, predicted.astype(float)),
        "recall": (found, truth.astype(float)),
        "f1": (2 * found, truth.astype(float) + predicted),
    }
    result = {}
    for name, (above, below) in ratios.items():
        total = np.maximum(below.sum(0), 1)  # a class without a denominator counts 0
        each = above.sum(0) / total
        macro = (above - each * below) / total
        result[f"{name}_macro"] = _interval(each.mean(), macro.mean(1))
        over_all = above.sum() / max(below.sum(), 1)
        micro = (above - over_all * below).sum(1) / max(below.sum(), 1)
        result[f"{name}_micro"] = _interval(over_all, micro)
    return {name: interval for name, interval in result.items() if interval is not None}


def _interval(score: float, influence: np.ndarray) -> Optional[Tuple[float, float]]:
    """Interval of a score from what each of n patches adds to its error; None if it cannot be
    told."""
    if not influence.any():
        return None
    parts = np.array_split(influence, min(len(influence), MOST_PARTS))
    found = intervals.ratio_interval(
        [part.sum() * len(influence) for part in parts], [part.size for part in parts]
    )
    if found is None:
        return None
    return max(score + min(found[0], 0), 0.0), min(score + max(found[1], 0), 1.0)


def average_precision(truth: np.ndarray, score: np.ndarray) -> dict:
    """Area under the precision-recall curve as scikit-learn defines it.

    Args:
        truth: (n, C) multi-hot, at least one of them not 0.
        score: (n, C) float, higher is more likely.

    Returns:
        "average_precision_micro"; "average_precision_macro", the mean over classes with a positive:
        float; "per_class": list of C floats, None for a class without positives.
    """
    present = np.asarray(truth).any(0)
    each = average_precision_score(truth[:, present], score[:, present], average=None)
    values = iter(np.atleast_1d(each).tolist())
    return {
        "average_precision_micro": float(average_precision_score(truth, score, average="micro")),
        "average_precision_macro": float(np.mean(each)),
        "per_class": [next(values) if there else None for there in present],
    }
