"""What is measured on predictions, from counts of windows by their true and their predicted class.

Counts of several groups of windows add up, so that what is pooled, or drawn again, is scored by the same formulae as
what is not. Where there is no 0 / 0, they are those of scikit-learn.
"""

import numpy as np


def confusion(label: np.ndarray, prediction: np.ndarray, n_classes: int) -> np.ndarray:
    """Counts (true class, predicted class) of classes (N,)."""
    return np.bincount(label * n_classes + prediction, minlength=n_classes**2).reshape(n_classes, n_classes)


def scores(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Balanced accuracy, macro-F1, weighted-F1, accuracy and Cohen's kappa (...) of counts (..., true, predicted).

    Balanced accuracy is the mean recall over the classes that are there. To F1, a class that is neither there nor
    predicted is 0. Kappa is 0 where labels and predictions are all of one class: chance alone agrees everywhere then,
    and nothing is better than chance. Without any window, balanced accuracy and accuracy are NaN.
    """
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    true, said = counts.sum(-1), counts.sum(-2)
    total, recall, f1 = true.sum(-1), _ratio(hits, true), _ratio(2 * hits, true + said)
    accuracy = _ratio(hits.sum(-1), total, np.nan)
    chance = _ratio((true * said).sum(-1), total**2)
    return {
        "balanced_accuracy": _ratio(recall.sum(-1), (true > 0).sum(-1), np.nan),
        "macro_f1": f1.mean(-1),
        "weighted_f1": _ratio((f1 * true).sum(-1), total),
        "accuracy": accuracy,
        "kappa": _ratio(accuracy - chance, 1 - chance),
    }


def _ratio(upper: np.ndarray, lower: np.ndarray, otherwise: float = 0.0) -> np.ndarray:
    """The ratio, and ``otherwise`` where it would be one to 0."""
    upper, lower = np.asarray(upper, float), np.asarray(lower, float)
    return np.divide(upper, lower, out=np.full(upper.shape, otherwise), where=lower > 0)
