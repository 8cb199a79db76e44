"""Decision thresholds per class, tuned on the validation split alone: one answer to class
imbalance, at no cost in training."""

import numpy as np

DEFAULT = 0.5


def tune(truth: np.ndarray, score: np.ndarray) -> np.ndarray:
    """The threshold of each class that gives it the highest F1 on the given samples; a class is
    predicted where score >= threshold.

    Every cut between two different scores is tried. Of equally good cuts the one nearest to 0.5 is
    taken, and a threshold stands in the middle between the two scores that it separates. A class
    without positives keeps 0.5.

    Args:
        truth: (N, C) multi-hot, validation split.
        score: (N, C) probabilities.

    Returns:
        (C,) float64.
    """
    truth, score = np.asarray(truth) != 0, np.asarray(score, np.float64)
    return np.array([_tune_class(truth[:, c], score[:, c]) for c in range(truth.shape[1])])


def _tune_class(truth: np.ndarray, score: np.ndarray) -> float:
    if not truth.any():
        return DEFAULT
    order = np.argsort(-score, kind="stable")
    score = score[order]
    # equal scores stay on one side
    last = np.append(np.flatnonzero(np.diff(score)), len(score) - 1)
    f1 = 2 * np.cumsum(truth[order])[last] / (last + 1 + truth.sum())
    lower = np.append(score[last[:-1] + 1], 0.0)
    middle = (score[last] + lower) / 2
    best = np.flatnonzero(f1 == f1.max())
    return float(middle[best[np.argmin(np.abs(middle[best] - DEFAULT))]])
