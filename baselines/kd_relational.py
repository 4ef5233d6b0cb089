"""Relational distillation, RKD (Park et al., 2019, arXiv 1904.05068), with soft targets.

Distances between the windows of a batch and angles of triples of them are to be the same for the embeddings of student
and teacher, the pooled last outputs, whatever their numbers of features. It needs pairs alone.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from baselines._distillation import SMALLEST, Distillation
from baselines._student import Outputs
from benchmark.frozen.task import Task
from search_spaces.kd_relational import Options


def relations(x: Tensor) -> tuple[Tensor, Tensor]:
    """Of embeddings (B, D): distances (B, B) as multiples of their mean, and cosines (B, B, B) of the angles at the
    first window between the two others."""
    apart = x[None] - x[:, None]
    distance = torch.linalg.vector_norm(apart, dim=2)
    pairs = max(1, len(x) * (len(x) - 1))
    direction = F.normalize(apart, dim=2)
    return distance / (distance.sum() / pairs).clamp_min(SMALLEST), direction @ direction.mT


def relational(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Huber losses (delta 1) of distances and of angles, the means over pairs and triples of different windows."""
    n, found = len(student), []
    for ours, theirs in zip(relations(student), relations(teacher), strict=True):
        # a window that is taken twice has a distance of 0 and cosines of 0 or 1, on both sides
        different = max(1, n * (n - 1) * (n - 2) if ours.ndim == 3 else n * (n - 1))
        found.append(F.smooth_l1_loss(ours, theirs, reduction="sum") / different)
    return found[0], found[1]


class RelationalDistillation(Distillation):
    """Loss: soft targets + beta (distances + 2 angles); the ratio is the published one."""

    name = "kd_relational"
    label = "KD relational"

    def __init__(self, task: Task, options: Options, seed: int):
        assert options.beta is not None
        super().__init__(task, options, seed)
        self.beta = options.beta
        self.embeddings = task.pooled("old", "pair", task.old.n_blocks)

    def batch_loss(self, outputs: Outputs, rows: Tensor) -> Tensor:
        distances, angles = relational(outputs.embedding, self.embeddings[rows])
        return self.soft_loss(outputs.logits, rows) + self.beta * (distances + 2 * angles)
