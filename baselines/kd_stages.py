"""Distillation across architectures, OFA-KD (Hao et al., 2023, arXiv 2310.19444).

Features of different architectures do not compare; decisions do. So the student has a head at the end of every stage,
and each meets the teacher in logit space. The target class is enhanced by how sure the teacher is of it; for the label,
which the published loss reads as the target, the teacher's most likely class stands in. Stages are equal parts of the
new encoder's blocks; their heads are linear on pooled outputs, and all but the last one are thrown away. The released
code differs: other classes are raised to gamma, too, and 1 of the target's weight is left to a cross-entropy with the
label, which the last head alone has.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from baselines._distillation import Distillation
from baselines._student import Outputs
from benchmark.encoders.base import Encoder
from benchmark.frozen.task import Task
from search_spaces.kd_stages import Options


def stage_ends(n_blocks: int, stages: int) -> list[int]:
    """The last block of each of so many stages, fewer where there are fewer blocks."""
    stages = min(stages, n_blocks)
    return [n_blocks * (k + 1) // stages - 1 for k in range(stages)]


def enhanced(student: Tensor, teacher: Tensor, gamma: float) -> Tensor:
    """-(1 + p_t)^gamma log q_t - sum over other classes of p log q, the mean over windows.

    q and p are the probabilities of student and teacher, of logits (B, K); t is the teacher's most likely class.
    """
    p = teacher.softmax(1)
    target = p.argmax(1, keepdim=True)
    weight = torch.scatter(p, 1, target, (1 + p.gather(1, target)) ** gamma)
    return -(weight * student.log_softmax(1)).sum(1).mean()


class StageDistillation(Distillation):
    """Loss: the mean over stages of the enhanced cross-entropy of softened logits."""

    name = "kd_stages"
    label = "KD stages"
    reads_blocks: ClassVar[bool] = True

    @classmethod
    def helper_parameters(cls, old: Encoder, new: Encoder, n_classes: int, space: Mapping[str, Any]) -> tuple[int, int]:
        sizes = [
            sum((width + 1) * n_classes for width in _widths(new, stage_ends(new.n_blocks, stages)[:-1]))
            for stages in space["stages"]
        ]
        return min(sizes), max(sizes)

    def __init__(self, task: Task, options: Options, seed: int):
        assert options.gamma is not None
        self.gamma, self.ends = options.gamma, stage_ends(task.new.n_blocks, options.stages)
        super().__init__(task, options, seed)

    def make_helpers(self, options: Any) -> nn.ModuleDict:
        earlier = self.ends[:-1]
        heads = (nn.Linear(width, self.task.n_classes) for width in _widths(self.task.new, earlier))
        return nn.ModuleDict({str(end): head for end, head in zip(earlier, heads, strict=True)})

    def batch_loss(self, outputs: Outputs, rows: Tensor) -> Tensor:
        logits = [self.helpers[str(end)](outputs.pooled[end]) for end in self.ends[:-1]] + [outputs.logits]
        teacher = self.teacher[rows] / self.temperature
        losses = [enhanced(one / self.temperature, teacher, self.gamma) for one in logits]
        return torch.stack(losses).mean()


def _widths(encoder: Encoder, blocks: Sequence[int]) -> list[int]:
    """Features of the outputs of these blocks."""
    return [encoder.shape_at(block + 1)[1] for block in blocks]
