"""Ceiling: the whole student trained with the new modality's labels, the most that the new sensor gives here."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from baselines._student import Outputs, Student
from benchmark.frozen.task import Task
from benchmark.frozen.teacher import class_weights
from search_spaces.oracle_finetune import Options


class OracleFinetune(Student):
    """Cross-entropy on the labelled windows of train and pair."""

    name = "oracle_finetune"
    label = "Oracle fine-tuned"
    kind = "ceiling"
    reads_labels = True
    trains_on = ("train", "pair")

    def __init__(self, task: Task, options: Options, seed: int):
        super().__init__(task, options, seed)
        label = np.concatenate([task.labels(split) for split in self.trains_on])
        self.classes = torch.from_numpy(label).to(task.device)
        self.weight = class_weights(self.classes, task.n_classes)

    def batch_loss(self, outputs: Outputs, rows: Tensor) -> Tensor:
        return F.cross_entropy(outputs.logits, self.classes[rows], self.weight)
