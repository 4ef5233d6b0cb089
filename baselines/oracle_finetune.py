"""Reference: the whole student trained with the new modality's labels, the most that the new sensor gives here."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from baselines._student import Student
from benchmark.frozen.task import Task
from benchmark.frozen.teacher import class_weights


class Competitor(Student):
    """Cross-entropy on the labelled windows of train and pair; the student's other options are ``oracle.*``."""

    name = "oracle_finetune"
    reads_labels = True

    def __init__(self, task: Task, options: Mapping[str, Any], seed: int):
        super().__init__(task, task.config["oracle"], seed)
        self.indices = np.concatenate([task.indices("train"), task.indices("pair")])
        self.label = torch.from_numpy(task.data.label[self.indices]).to(task.device)
        self.weight = class_weights(self.label, task.n_classes)

    def batch_loss(self, logits: Tensor, rows: Tensor) -> Tensor:
        return F.cross_entropy(logits, self.label[rows], self.weight)
