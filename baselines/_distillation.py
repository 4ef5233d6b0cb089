"""Distillation into a student from the teacher's stored outputs; no label is read.

Shapes: N windows of pair, B of a batch, D features, K classes.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from baselines._adapt import Adaptation
from baselines._student import Student
from benchmark.frozen.task import Task
from benchmark.results.schema import Column
from search_spaces._student import StudentOptions

SMALLEST = 1e-8


def divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(teacher || student) of log-probabilities (B, K), the mean over windows."""
    return F.kl_div(student, teacher, log_target=True, reduction="batchmean")


def without_target(logits: Tensor, target: Tensor) -> Tensor:
    """Logits (B, K) of all classes but ``target`` (B,): (B, K - 1)."""
    k = logits.shape[1]
    return logits.gather(1, (target[:, None] + torch.arange(1, k, device=target.device)) % k)


def standardised(x: Tensor) -> Tensor:
    """(N, D) with mean 0 and standard deviation 1 over windows; a feature that is constant becomes 0."""
    return (x - x.mean(0)) / x.std(0, correction=0).clamp_min(SMALLEST)


class Distillation(Student):
    """What a subclass compares is its ``batch_loss``; most add something to ``soft_loss``.

    With ``adapt=head`` no block of the student moves: a loss on its features then trains helpers alone.
    """

    columns: ClassVar[tuple[Column, ...]] = (
        Column("adapt", "str", "what of the new encoder is trained beside a linear head", "Trained"),
    )

    def __init__(self, task: Task, options: StudentOptions, seed: int):
        assert options.temperature is not None
        self.temperature = options.temperature
        self.teacher = task.teacher_logits("pair")
        self.soft = (self.teacher / self.temperature).log_softmax(1)
        super().__init__(task, options, seed, Adaptation.of(options))

    def soft_loss(self, logits: Tensor, rows: Tensor) -> Tensor:
        """temperature^2 KL(teacher || student), both softened (Hinton et al., 2015)."""
        return self.temperature**2 * divergence((logits / self.temperature).log_softmax(1), self.soft[rows])

    def describe(self) -> dict[str, Any]:
        return {"adapt": str(self.adaptation)}
