"""Ceiling: the teacher itself on the old modality, which nobody wears any more."""

from torch import Tensor

from benchmark.config.options import MethodOptions
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
        self.task = task
        old, head = task.old, task.head
        whole = embed_parameters(old) + block_parameters(old, 0, old.n_blocks)
        finetuned = task.config.teacher.training == "finetune"
        self.trainable_parameters = linear_parameters(head) + (
            sum(p.numel() for p in old.parameters()) if finetuned else 0
        )
        self.stored_parameters = whole + linear_parameters(head)

    def logits(self, split: str) -> Tensor:
        return self.task.teacher_logits(split)
