"""Ceiling: the teacher itself on the old modality, which nobody wears any more."""

from torch import Tensor

from benchmark.config.options import MethodOptions
from benchmark.encoders.registry import parameter_count, reached_parameters
from benchmark.frozen.task import Task
from benchmark.method import Method, block_parameters, embed_parameters, linear_parameters


class Teacher(Method):
    """What a perfect transfer would agree with in every window."""

    name = "teacher"
    label = "Teacher"
    kind = "ceiling"
    reads_labels = True
    seeded = False

    def __init__(self, task: Task, options: MethodOptions, seed: int):
        self.task, self.finetuned = task, task.config.teacher.training == "finetune"
        old, head = task.old, task.head
        whole = embed_parameters(old) + block_parameters(old, 0, old.n_blocks)
        self.trainable_parameters = linear_parameters(head) + (reached_parameters(old) if self.finetuned else 0)
        self.stored_parameters = whole + linear_parameters(head)

    @property
    def declared_parameters(self) -> int:
        return linear_parameters(self.task.head) + (parameter_count(self.task.old) if self.finetuned else 0)

    def logits(self, split: str) -> Tensor:
        return self.task.teacher_logits(split)
