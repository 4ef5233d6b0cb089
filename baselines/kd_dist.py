"""Distillation from a stronger teacher, DIST (Huang et al., 2022, arXiv 2205.10536).

Relations instead of values: the Pearson correlation of teacher and student over the classes of each window
(inter-class) and over the windows of a batch for each class (intra-class). The published loss adds a cross-entropy with
the label, which is left out. With two classes the first correlation is always 1 or -1 and has no gradient: the second
then does all the work.
"""

from torch import Tensor
from torch.nn import functional as F

from baselines._distillation import SMALLEST, Distillation
from baselines._student import Outputs
from benchmark.frozen.task import Task
from search_spaces.kd_dist import Options


def distance(student: Tensor, teacher: Tensor) -> Tensor:
    """1 - Pearson correlation of the rows of two matrices, the mean over rows; that of a constant row is 0."""
    student, teacher = (x - x.mean(1, keepdim=True) for x in (student, teacher))
    return (1 - F.cosine_similarity(student, teacher, dim=1, eps=SMALLEST)).mean()


class RelationDistillation(Distillation):
    """Loss: temperature^2 (beta inter-class + gamma intra-class), of softened probabilities."""

    name = "kd_dist"
    label = "KD DIST"

    def __init__(self, task: Task, options: Options, seed: int):
        assert options.gamma is not None
        super().__init__(task, options, seed)
        self.beta, self.gamma = options.beta, options.gamma

    def batch_loss(self, outputs: Outputs, rows: Tensor) -> Tensor:
        student, teacher = (outputs.logits / self.temperature).softmax(1), self.soft[rows].exp()
        inter, intra = distance(student, teacher), distance(student.T, teacher.T)
        return self.temperature**2 * (self.beta * inter + self.gamma * intra)
