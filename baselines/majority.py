"""Floor: always the class that ``train`` has most of."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmark.config.options import MethodOptions
from benchmark.frozen.task import Task
from benchmark.method import Method


class Majority(Method):
    """The lowest class wins a tie."""

    name = "majority"
    label = "Majority class"
    kind = "floor"
    reads_labels = True
    seeded = False
    calibrated = False

    def __init__(self, task: Task, options: MethodOptions, seed: int):
        self.task = task
        self.choice = int(np.bincount(task.labels("train"), minlength=task.n_classes).argmax())

    def logits(self, split: str) -> Tensor:
        choice = torch.full((len(self.task.indices(split)),), self.choice, device=self.task.device)
        return F.one_hot(choice, self.task.n_classes).float()
