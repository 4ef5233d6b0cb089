"""Cross-modal distillation, C2KD (Huo et al., 2024, CVPR): through proxies, and only of what both rank alike.

Published: teacher and student, both trained with labels, have a proxy each, a small head of its own on the features;
model and proxy learn from each other, and the proxies from each other (bidirectional distillation): of classes that are
not the target, and of windows alone that both proxies rank alike, by Kendall's rank correlation of their soft labels
(on-the-fly selection distillation, OFSD).

Here the teacher is frozen and pairs have no label. So the teacher's own cross-entropy and what it learns from its proxy
fall away; its proxy, on its stored pooled last output (standardised over pair), learns from it and from the student's
proxy as published. The teacher's most likely class stands in for the label: as the target that is left out, and in the
student's cross-entropy. Of two classes one is no target, so that nothing passes between the proxies: what remains is
learning from the teacher's most likely class. Proxies are two linear layers with a leaky ReLU, and are thrown away. The
released code differs: it keeps the target among the classes with a logit of 0, and its proxies normalise batches.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines._distillation import SMALLEST, Distillation, standardised, without_target
from baselines._student import Outputs
from benchmark.encoders.base import Encoder
from benchmark.frozen.task import Task
from search_spaces.kd_crossmodal import Options


def rank_correlation(x: Tensor, y: Tensor) -> Tensor:
    """Kendall's tau-b of each row of two matrices (B, K): (B,); 0 where a row is constant."""
    first, second = torch.triu_indices(x.shape[1], x.shape[1], offset=1, device=x.device)
    signs = [(z[:, first] - z[:, second]).sign() for z in (x, y)]
    untied = (signs[0].square().sum(1) * signs[1].square().sum(1)).sqrt()
    return (signs[0] * signs[1]).sum(1) / untied.clamp_min(SMALLEST)


def proxy(width: int, n_classes: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, width), nn.LeakyReLU(0.1), nn.Linear(width, n_classes))


class CrossModalDistillation(Distillation):
    """Loss, with S and T the logits of student and teacher, P_S and P_T of their proxies, y the teacher's argmax:

    CE(S, y) + KL(S || P_S) + KL(P_S || S) + KL(T || P_T) + beta mean[selected (KL'(P_T || P_S) + KL'(P_S || P_T))],

    where the first of each KL is not trained by it, KL' is of the classes but y, all KL are softened and take
    temperature^2, and a window is selected where tau(P_T, P_S) is above the threshold.
    """

    name = "kd_crossmodal"
    label = "KD cross-modal"

    @classmethod
    def helper_parameters(cls, old: Encoder, new: Encoder, n_classes: int, space: Mapping[str, Any]) -> tuple[int, int]:
        widths = [encoder.shape_at(encoder.n_blocks)[1] for encoder in (old, new)]
        size = sum((width + 1) * (width + n_classes) for width in widths)
        return size, size

    def __init__(self, task: Task, options: Options, seed: int):
        assert options.beta is not None
        self.beta, self.threshold = options.beta, options.threshold
        self.embeddings = standardised(task.pooled("old", "pair", task.old.n_blocks))
        super().__init__(task, options, seed)

    def make_helpers(self, options: Any) -> nn.ModuleDict:
        widths = {"student": self.task.new.shape_at(self.task.new.n_blocks)[1], "teacher": self.embeddings.shape[1]}
        return nn.ModuleDict({name: proxy(width, self.task.n_classes) for name, width in widths.items()})

    def batch_loss(self, outputs: Outputs, rows: Tensor) -> Tensor:
        student, teacher = outputs.logits, self.teacher[rows]
        of_student = self.helpers["student"](outputs.embedding)
        of_teacher = self.helpers["teacher"](self.embeddings[rows])
        own = self._learns(of_student, student) + self._learns(student, of_student) + self._learns(of_teacher, teacher)
        target = teacher.argmax(1)
        others = [without_target(logits, target) for logits in (of_student, of_teacher)]
        across = self._each(others[0], others[1]) + self._each(others[1], others[0])
        selected = rank_correlation(of_teacher.detach(), of_student.detach()) > self.threshold
        return F.cross_entropy(student, target) + own + self.beta * (selected * across).mean()

    def _learns(self, learner: Tensor, source: Tensor) -> Tensor:
        return self._each(learner, source).mean()

    def _each(self, learner: Tensor, source: Tensor) -> Tensor:
        """temperature^2 KL(source || learner) of each window, (B,), softened; the source is not trained."""
        learner, source = ((logits / self.temperature).log_softmax(1) for logits in (learner, source.detach()))
        return self.temperature**2 * F.kl_div(learner, source, log_target=True, reduction="none").sum(1)
