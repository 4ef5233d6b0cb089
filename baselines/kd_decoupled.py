"""Decoupled distillation, DKD (Zhao et al., 2022, arXiv 2203.08679).

The divergence of teacher and student is taken apart: how sure they are of the target class, and what they think of the
others. The published loss reads the label twice: as the target, for which the teacher's most likely class stands in
here, and in a cross-entropy that is added, which is left out. With two classes the second part is always 0.
"""

import torch
from torch import Tensor

from baselines._distillation import Distillation, divergence, without_target
from baselines._student import Outputs
from benchmark.frozen.task import Task
from search_spaces.kd_decoupled import Options


def decoupled(student: Tensor, teacher: Tensor, alpha: float, beta: float) -> Tensor:
    """alpha KL(b^T || b^S) + beta KL(p^T || p^S) of logits (B, K).

    b = (p_target, 1 - p_target); p are probabilities among the classes that are not the teacher's most likely one.
    """
    target = teacher.argmax(1)
    parts = []
    for logits in (student, teacher):
        at, others = logits.gather(1, target[:, None]), without_target(logits, target)
        binary = torch.cat([at, others.logsumexp(1, keepdim=True)], dim=1)
        parts.append((binary.log_softmax(1), others.log_softmax(1)))
    (b_student, p_student), (b_teacher, p_teacher) = parts
    return alpha * divergence(b_student, b_teacher) + beta * divergence(p_student, p_teacher)


class DecoupledDistillation(Distillation):
    """Loss: temperature^2 (alpha TCKD + beta NCKD), both softened."""

    name = "kd_decoupled"
    label = "KD decoupled"

    def __init__(self, task: Task, options: Options, seed: int):
        assert options.beta is not None
        super().__init__(task, options, seed)
        self.alpha, self.beta = options.alpha, options.beta

    def batch_loss(self, outputs: Outputs, rows: Tensor) -> Tensor:
        t = self.temperature
        return t**2 * decoupled(outputs.logits / t, self.teacher[rows] / t, self.alpha, self.beta)
