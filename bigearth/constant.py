"""The best constant guess: what a score must beat before anything was learned."""


def best(support, samples: int) -> tuple:
    """The fixed guess, the same set of classes for every sample, with the highest micro F1.

    Guessing k classes with T true labels among them on N samples that have L labels in all gives
    TP = T, FP = kN - T, FN = L - T, so F1 = 2T / (kN + L). For each k the most frequent classes
    are the best guess.

    Args:
        support: how many of the samples have each class.
        samples: N.

    Returns:
        that F1 (0 without a label), and the indices of the guessed classes.
    """
    order = sorted(range(len(support)), key=lambda index: -support[index])
    total, true = sum(support), 0
    found, guess = 0.0, []
    for k, index in enumerate(order, 1):
        true += support[index]
        f1 = 2 * true / (k * samples + total) if true else 0.0
        if f1 > found:
            found, guess = f1, order[:k]
    return float(found), guess
