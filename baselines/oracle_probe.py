"""Ceiling: a linear probe on the frozen new encoder, trained with the labels that no transfer method may read."""

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from benchmark.config.options import MethodOptions
from benchmark.frozen.task import Task
from benchmark.frozen.teacher import fit_head
from benchmark.method import Method, block_parameters, embed_parameters, linear_parameters


class OracleProbe(Method):
    """Trained on the labelled windows of train and pair, by the same procedure as the teacher's probe."""

    name = "oracle_probe"
    label = "Oracle probe"
    kind = "ceiling"
    reads_labels = True
    seeded = False
    trains_on: ClassVar[tuple[str, ...]] = ("train", "pair")

    def __init__(self, task: Task, options: MethodOptions, seed: int):
        self.task, self.new = task, task.new
        self.last = self.new.n_blocks
        pooled = torch.cat([task.pooled("new", split, self.last) for split in self.trains_on])
        label = np.concatenate([task.labels(split) for split in self.trains_on])
        subject = task.data.subject[task.indices(*self.trains_on)]
        self.head = fit_head(pooled, label, subject, task.n_classes, task.config.teacher, seed).to(task.device)
        self.trainable_parameters = linear_parameters(self.head)
        self.stored_parameters = (
            embed_parameters(self.new) + block_parameters(self.new, 0, self.last) + self.trainable_parameters
        )

    def logits(self, split: str) -> Tensor:
        return self.head(self.task.pooled("new", split, self.last))

    @torch.no_grad()
    def predict(self, windows: np.ndarray) -> Tensor:
        pooled = self.new.pool(self.new(self.new.inputs(windows)))
        return self.head(self.task.first_seen("new", self.last, pooled))
