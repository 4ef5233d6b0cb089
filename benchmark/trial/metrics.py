"""What is measured on predictions. Every function is scikit-learn's, by the field's names."""

import warnings

import numpy as np
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, cohen_kappa_score, f1_score
from torch import Tensor
from torch.nn import functional as F


def scores(label: np.ndarray, prediction: np.ndarray, n_classes: int) -> dict[str, float]:
    """Balanced accuracy, macro-F1, weighted-F1, accuracy and Cohen's kappa of int arrays (N,)."""
    classes = np.arange(n_classes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a class that a small test split lacks is not an error
        return {
            "balanced_accuracy": float(balanced_accuracy_score(label, prediction)),
            "macro_f1": float(f1_score(label, prediction, labels=classes, average="macro", zero_division=0)),
            "weighted_f1": float(f1_score(label, prediction, labels=classes, average="weighted", zero_division=0)),
            "accuracy": float(accuracy_score(label, prediction)),
            "kappa": float(cohen_kappa_score(label, prediction, labels=classes)),
        }


def agreement(logits: Tensor, teacher_logits: Tensor) -> float:
    """Share of windows for which both choose the same class."""
    return float((logits.argmax(1) == teacher_logits.argmax(1)).double().mean())


def balanced_agreement(logits: Tensor, teacher_logits: Tensor) -> float:
    """Agreement within each class that the teacher names, averaged over these classes.

    A teacher that favours one class on new subjects would otherwise reward whoever always says that class.
    """
    chosen, said = logits.argmax(1), teacher_logits.argmax(1)
    return float(torch.stack([(chosen[said == name] == name).double().mean() for name in said.unique()]).mean())


def divergence(logits: Tensor, teacher_logits: Tensor) -> float:
    """Mean KL(teacher || method) over windows, in nats."""
    return (
        float(
            F.kl_div(
                logits.double().log_softmax(1),
                teacher_logits.double().log_softmax(1),
                log_target=True,
                reduction="batchmean",
            )
        )
        if torch.isfinite(logits).all()
        else float("inf")
    )
