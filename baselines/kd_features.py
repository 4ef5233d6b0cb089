"""Feature distillation, FitNets (Romero et al., 2015, arXiv 1412.6550), with soft targets.

A linear regressor, thrown away afterwards, makes a hint, the pooled output of a block of the teacher, of the pooled
output of a guided block of the student. Published in two stages, hints first; here the terms are added, as usual since.
Hints are standardised over pair, so that ``beta`` means the same for all encoders. It needs pairs alone.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from baselines._distillation import Distillation, standardised
from baselines._student import Outputs
from benchmark.encoders.base import Encoder
from benchmark.frozen.task import Task
from search_spaces.kd_features import Options


def hint_loss(regressed: Tensor, hint: Tensor) -> Tensor:
    """Half the squared error (B, D), the mean over windows and features."""
    return (regressed - hint).square().mean() / 2


class FeatureDistillation(Distillation):
    """Loss: soft targets + beta / 2 |regressor(student block) - teacher block|^2 / D."""

    name = "kd_features"
    label = "KD features"
    reads_blocks: ClassVar[bool] = True

    @classmethod
    def helper_parameters(cls, old: Encoder, new: Encoder, n_classes: int, space: Mapping[str, Any]) -> tuple[int, int]:
        sizes = [
            (new.shape_at(i + 1)[1] + 1) * old.shape_at(j + 1)[1]
            for i in space["student_block"]
            for j in space["teacher_block"]
        ]
        return min(sizes), max(sizes)

    def __init__(self, task: Task, options: Options, seed: int):
        assert options.student_block is not None
        assert options.teacher_block is not None
        assert options.beta is not None
        self.block, self.beta = options.student_block, options.beta
        self.hints = standardised(task.pooled("old", "pair", options.teacher_block + 1))
        super().__init__(task, options, seed)

    def make_helpers(self, options: Any) -> nn.ModuleDict:
        width = self.task.new.shape_at(self.block + 1)[1]
        return nn.ModuleDict({"regressor": nn.Linear(width, self.hints.shape[1])})

    def batch_loss(self, outputs: Outputs, rows: Tensor) -> Tensor:
        regressed = self.helpers["regressor"](outputs.pooled[self.block])
        return self.soft_loss(outputs.logits, rows) + self.beta * hint_loss(regressed, self.hints[rows])
