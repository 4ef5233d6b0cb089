"""Logit distillation: soft targets at a temperature (Hinton et al., 2015, arXiv 1503.02531).

With ``standardise`` the logits of teacher and student are z-scores over the classes of each window (Sun et al., 2024,
"Logit Standardization in Knowledge Distillation", arXiv 2403.01427): the student learns the order of classes and their
relative distances, and is free in shift and scale. Both need pairs alone.
"""

from torch import Tensor

from baselines._distillation import Distillation
from baselines._student import Outputs
from benchmark.errors import InputError
from benchmark.frozen.task import Task
from search_spaces.kd_logits import Options

SMALLEST = 1e-7


def standardised(logits: Tensor) -> Tensor:
    """(z - mean) / standard deviation, over the classes of each window (B, K)."""
    return (logits - logits.mean(1, keepdim=True)) / (logits.std(1, correction=0, keepdim=True) + SMALLEST)


class LogitDistillation(Distillation):
    """Loss: temperature^2 KL(teacher || student), both softened; the teacher's logits come from the store."""

    name = "kd_logits"
    label = "KD logits"

    def __init__(self, task: Task, options: Options, seed: int):
        if options.standardise and task.n_classes == 2:
            raise InputError(
                "kd_logits.standardise=true leaves nothing to learn of two classes: the z-scores of two logits are "
                "always 1 and -1; leave it out"
            )
        super().__init__(task, options, seed)
        self.standardise = options.standardise
        if self.standardise:
            self.soft = (standardised(self.teacher) / self.temperature).log_softmax(1)

    def batch_loss(self, outputs: Outputs, rows: Tensor) -> Tensor:
        return self.soft_loss(standardised(outputs.logits) if self.standardise else outputs.logits, rows)
