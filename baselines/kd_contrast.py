"""Contrastive distillation between modalities, with soft targets.

A pair's two embeddings, the pooled last outputs of student and teacher, are to be closer than those of different
windows: InfoNCE in both directions between linear projections (Tian et al., 2020, "Contrastive Representation
Distillation", arXiv 1910.10699; between biosignals, with a frozen teacher, Abbaspourazad et al., 2024). Negatives are
the other windows of the batch, and not a memory bank, nor windows of other classes alone, for which labels would be
needed: many have the pair's own class. Teacher embeddings are standardised over pair; projections are thrown away.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines._distillation import Distillation, standardised
from baselines._student import Outputs
from benchmark.encoders.base import Encoder
from benchmark.frozen.task import Task
from search_spaces.kd_contrast import Options


def infonce(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of the pairs among cosines / temperature of embeddings (B, D), the mean of both directions."""
    cosines = F.normalize(student, dim=1) @ F.normalize(teacher, dim=1).T / temperature
    pairs = torch.arange(len(cosines), device=cosines.device)
    return (F.cross_entropy(cosines, pairs) + F.cross_entropy(cosines.T, pairs)) / 2


class ContrastiveDistillation(Distillation):
    """Loss: soft targets + beta InfoNCE."""

    name = "kd_contrast"
    label = "KD contrastive"

    @classmethod
    def helper_parameters(cls, old: Encoder, new: Encoder, n_classes: int, space: Mapping[str, Any]) -> tuple[int, int]:
        widths = sum(encoder.shape_at(encoder.n_blocks)[1] + 1 for encoder in (old, new))
        return widths * min(space["dimension"]), widths * max(space["dimension"])

    def __init__(self, task: Task, options: Options, seed: int):
        assert options.beta is not None
        self.beta, self.contrast_temperature = options.beta, options.contrast_temperature
        self.embeddings = standardised(task.pooled("old", "pair", task.old.n_blocks))
        super().__init__(task, options, seed)

    def make_helpers(self, options: Options) -> nn.ModuleDict:
        width = self.task.new.shape_at(self.task.new.n_blocks)[1]
        widths = {"student": width, "teacher": self.embeddings.shape[1]}
        return nn.ModuleDict({name: nn.Linear(width, options.dimension) for name, width in widths.items()})

    def batch_loss(self, outputs: Outputs, rows: Tensor) -> Tensor:
        student = self.helpers["student"](outputs.embedding)
        teacher = self.helpers["teacher"](self.embeddings[rows])
        return self.soft_loss(outputs.logits, rows) + self.beta * infonce(student, teacher, self.contrast_temperature)
