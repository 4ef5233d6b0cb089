"""Logit distillation into the whole student: soft targets at a temperature (Hinton et al., 2015, arXiv 1503.02531)."""

from torch import Tensor
from torch.nn import functional as F

from baselines._student import Student
from benchmark.frozen.task import Task
from search_spaces.kd_logits import Options


class LogitDistillation(Student):
    """Loss: temperature^2 KL(teacher || student), both softened; the teacher's logits come from the store."""

    name = "kd_logits"
    label = "KD logits"
    student = True

    def __init__(self, task: Task, options: Options, seed: int):
        assert options.temperature is not None
        super().__init__(task, options, seed)
        self.temperature = options.temperature
        self.soft = (task.teacher_logits("pair") / self.temperature).log_softmax(1)

    def batch_loss(self, logits: Tensor, rows: Tensor) -> Tensor:
        student = (logits / self.temperature).log_softmax(1)
        return self.temperature**2 * F.kl_div(student, self.soft[rows], log_target=True, reduction="batchmean")
