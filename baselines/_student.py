"""The training loop of a student: the whole new model and a linear head."""

import copy
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.method import Epoch, Method, block_parameters, copied, embed_parameters, linear_parameters
from benchmark.frozen.task import Task
from benchmark.frozen.teacher import new_head


class Student(Method):
    """All weights of the new modality's encoder, from its pre-trained state, and a new linear head.

    A subclass says what a batch is compared with: ``batch_loss(logits, rows)``, rows being positions in ``indices``.
    """

    indices: np.ndarray
    """The windows that are trained on, as indices into the data set."""

    def __init__(self, task: Task, options: Mapping[str, Any], seed: int):
        self.task, self.options = task, options
        self.n_epochs = int(options["epochs"])
        self.generator = torch.Generator().manual_seed(seed)
        encoder = copy.deepcopy(task.new).requires_grad_(True)
        head = new_head(encoder.shape_at(encoder.n_blocks)[1], task.n_classes, seed).to(task.device)
        self.model = nn.ModuleDict({"encoder": encoder, "head": head})
        self.encoder, self.head = encoder, head
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=float(options["learning_rate"]))
        self.trainable_parameters = sum(p.numel() for p in self.model.parameters())
        self.stored_parameters = (
            embed_parameters(encoder) + block_parameters(encoder, 0, encoder.n_blocks) + linear_parameters(head)
        )
        self.indices = task.indices("pair")

    @abstractmethod
    def batch_loss(self, logits: Tensor, rows: Tensor) -> Tensor: ...

    def _logits(self, windows: np.ndarray) -> Tensor:
        return self.head(self.encoder.pool(self.encoder(self.encoder.inputs(windows))))

    def train_epoch(self) -> Epoch:
        self.model.train()
        windows = self.task.windows("new")
        total, steps = 0.0, 0
        order = torch.randperm(len(self.indices), generator=self.generator)
        for rows in order.split(int(self.options["batch_size"])):
            loss = self.batch_loss(self._logits(windows.take(self.indices[rows.numpy()])), rows)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            total, steps = total + loss.item(), steps + 1
        return Epoch(total / steps, steps)

    @torch.no_grad()
    def logits(self, split: str) -> Tensor:
        self.model.eval()
        windows, indices = self.task.windows("new"), self.task.indices(split)
        return torch.cat([self._logits(windows.take(part)) for part in self.task.data.batches(indices, 64)])

    @torch.no_grad()
    def predict(self, windows: np.ndarray) -> Tensor:
        self.model.eval()
        return self._logits(windows)

    def state(self) -> dict[str, Tensor]:
        return copied(self.model)

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.model.load_state_dict(state)
