"""Scores of multi-label predictions, from integer counts that can be summed over ranks (paper,
section 4: Tables 2 and 3).

Every definition is scikit-learn's (precision_recall_fscore_support with zero_division=0,
average_precision_score). Works on any number of classes: the 43 of CORINE, or 19 after
nomenclature.to_19 on both truth and prediction (scores too: the maximum is kept).
"""

from typing import Sequence

import numpy as np

from bigearth import nomenclature


class Counts:
    """What all scores at given thresholds follow from, as integers.

    Attributes:
        tp, fp, fn: (C,) int64, true positives, false positives and false negatives of each class.
        samples: (C + 1, C + 1, C + 1) int64, how many samples have t true positives, p predicted
            and s present classes at [t, p, s]: the averages over samples follow from it exactly, in
            whatever order the samples came.
    """

    def __init__(self, classes: int = len(nomenclature.LABELS)):
        self.tp, self.fp, self.fn = (np.zeros(classes, np.int64) for _ in range(3))
        self.samples = np.zeros((classes + 1,) * 3, np.int64)

    @property
    def tn(self) -> np.ndarray:
        """(C,) int64 true negatives of each class."""
        return self.samples.sum() - self.tp - self.fp - self.fn

    def update(self, truth: np.ndarray, predicted: np.ndarray) -> None:
        """Adds samples: truth (n, C) multi-hot, predicted (n, C) bool."""
        truth, predicted = np.asarray(truth) != 0, np.asarray(predicted) != 0
        hit = truth & predicted
        self.tp += hit.sum(0)
        self.fp += (predicted & ~truth).sum(0)
        self.fn += (truth & ~predicted).sum(0)
        np.add.at(self.samples, (hit.sum(1), predicted.sum(1), truth.sum(1)), 1)

    def as_array(self) -> np.ndarray:
        """All counts in one int64 vector, to be summed over ranks in one all-reduce."""
        return np.concatenate([self.tp, self.fp, self.fn, self.samples.ravel()])

    @classmethod
    def from_array(cls, array: np.ndarray, classes: int = len(nomenclature.LABELS)) -> "Counts":
        """The counts again from (a sum of) `as_array()`."""
        counts = cls(classes)
        counts.tp, counts.fp, counts.fn, samples = np.split(
            np.asarray(array, np.int64), [classes, 2 * classes, 3 * classes]
        )
        counts.samples = samples.reshape((classes + 1,) * 3)
        return counts


def _ratio(numerator, denominator) -> np.ndarray:
    """Elementwise quotient, 0 where the denominator is 0."""
    numerator, denominator = np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    return np.divide(
        numerator,
        denominator,
        out=np.zeros(np.broadcast(numerator, denominator).shape),
        where=denominator != 0,
    )


def _three(tp, predicted, support) -> np.ndarray:
    """Precision, recall and F1 (F1 as 2 tp / (predicted + support), which needs no precision),
    stacked."""
    return np.stack(
        [_ratio(tp, predicted), _ratio(tp, support), _ratio(2 * tp, predicted + support)]
    )


def scores(counts: Counts, labels: Sequence[str] = nomenclature.LABELS) -> dict:
    """Precision, recall and F1.

    Returns:
        "precision_micro", "recall_micro", "f1_micro", and the same with "_macro" (mean over
        classes), "_weighted" (by support) and "_samples" (mean over samples): float; "per_class":
        rows {label, support, precision, recall, f1} in the order of the labels.
    """
    support, predicted = counts.tp + counts.fn, counts.tp + counts.fp
    each = _three(counts.tp, predicted, support)
    tp, p, s = np.nonzero(counts.samples)
    number = counts.samples[tp, p, s]
    averages = {
        "micro": _three(counts.tp.sum(), predicted.sum(), support.sum()),
        "macro": each.mean(axis=1),
        "weighted": _ratio((each * support).sum(axis=1), support.sum()),
        "samples": _ratio((_three(tp, p, s) * number).sum(axis=1), number.sum()),
    }
    result = {
        f"{name}_{kind}": float(v)
        for kind, three in averages.items()
        for name, v in zip(("precision", "recall", "f1"), three)
    }
    result["per_class"] = [
        {
            "label": label,
            "support": int(n),
            "precision": float(p),
            "recall": float(r),
            "f1": float(f),
        }
        for label, n, p, r, f in zip(labels, support, *each)
    ]
    return result


def average_precision(truth: np.ndarray, score: np.ndarray) -> dict:
    """Area under the precision-recall curve as a step function; needs the scores of all samples.

    Args:
        truth: (N, C) multi-hot.
        score: (N, C) float, higher is more likely.

    Returns:
        "average_precision_micro", "average_precision_macro": float; "per_class": (C,) float64, 0
        for a class without positives.
    """
    truth = np.asarray(truth) != 0
    each = np.array([_average_precision(truth[:, c], score[:, c]) for c in range(truth.shape[1])])
    return {
        "average_precision_micro": _average_precision(truth.ravel(), np.asarray(score).ravel()),
        "average_precision_macro": float(each.mean()),
        "per_class": each,
    }


def _average_precision(truth: np.ndarray, score: np.ndarray) -> float:
    order = np.argsort(-score, kind="stable")
    # equal scores are one threshold
    last = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    tp = np.cumsum(truth[order])[last]
    return float(np.sum(np.diff(tp, prepend=0) * _ratio(tp, last + 1)) / max(tp[-1], 1))
