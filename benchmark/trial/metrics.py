"""What is measured on predictions and on outputs."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmark.common import scores as counted


def scores(label: np.ndarray, prediction: np.ndarray, n_classes: int) -> dict[str, float]:
    """Balanced accuracy, macro-F1, weighted-F1, accuracy and Cohen's kappa of int arrays (N,)."""
    counts = counted.confusion(label, prediction, n_classes)
    return {name: float(value) for name, value in counted.scores(counts).items()}


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
    method, teacher = (one.double().log_softmax(1) for one in (logits, teacher_logits))
    return float(F.kl_div(method, teacher, log_target=True, reduction="batchmean"))
