"""What is measured on predictions, against scikit-learn and where it says nothing."""

import warnings

import numpy as np
import pytest
from sklearn import metrics as sklearn

from benchmark.trial.metrics import scores


def expected(label: np.ndarray, said: np.ndarray, n_classes: int) -> dict[str, float]:
    options = {"labels": np.arange(n_classes), "zero_division": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes that are predicted and not there
        return {
            "balanced_accuracy": sklearn.balanced_accuracy_score(label, said),
            "macro_f1": sklearn.f1_score(label, said, average="macro", **options),
            "weighted_f1": sklearn.f1_score(label, said, average="weighted", **options),
            "accuracy": sklearn.accuracy_score(label, said),
            "kappa": sklearn.cohen_kappa_score(label, said, labels=options["labels"]),
        }


@pytest.mark.parametrize("n_classes", [2, 3, 5])
@pytest.mark.parametrize("present", [1, 2, 5])
def test_scores_are_scikit_learns(n_classes: int, present: int) -> None:
    """With classes that the labels lack, and with few windows."""
    rng = np.random.default_rng(n_classes + 10 * present)
    for n in (4, 50, 400):
        label, said = rng.integers(0, min(present, n_classes), n), rng.integers(0, n_classes, n)
        assert scores(label, said, n_classes) == pytest.approx(expected(label, said, n_classes))


@pytest.mark.parametrize("n_classes", [2, 3])
def test_kappa_of_a_single_class_is_that_of_chance(n_classes: int) -> None:
    """0 / 0: chance alone would agree everywhere, so nothing was done better than by chance."""
    one = np.ones(7, dtype=int)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert np.isnan(sklearn.cohen_kappa_score(one, one, labels=np.arange(n_classes)))
    found = scores(one, one, n_classes)
    assert (found["kappa"], found["accuracy"], found["balanced_accuracy"]) == (0.0, 1.0, 1.0)
    other = scores(one, np.r_[0, one[1:]], n_classes)
    assert other["kappa"] == pytest.approx(0.0)  # one class in the labels alone: as everywhere
