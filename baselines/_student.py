"""The training loop of a student: the whole new model and a linear head."""

import copy
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.encoders.base import Encoder
from benchmark.encoders.registry import reached_parameters
from benchmark.frozen.task import Task
from benchmark.frozen.teacher import new_head
from benchmark.method import (
    Epoch,
    ForwardSeconds,
    Method,
    Size,
    block_parameters,
    copied,
    embed_parameters,
    linear_parameters,
)

STEP_SECONDS = 5e-3  # of a step beside the model's own, for estimates


class Training(Protocol):
    """What the loop reads of a method's options."""

    @property
    def learning_rate(self) -> float | None: ...
    @property
    def batch_size(self) -> int | None: ...
    @property
    def epochs(self) -> int: ...


class Student(Method):
    """All weights of the new modality's encoder, from its pre-trained state, and a new linear head.

    A subclass says what a batch is compared with: ``batch_loss(logits, rows)``, rows being positions in the windows of
    ``trains_on``.
    """

    trains_on: ClassVar[tuple[str, ...]] = ("pair",)
    """The parts of the split whose windows are trained on, one after the other."""

    @classmethod
    def sizes(cls, old: Encoder, new: Encoder, n_classes: int, space: Mapping[str, Sequence[Any]]) -> Sequence[Size]:
        whole = reached_parameters(new) + (new.shape_at(new.n_blocks)[1] + 1) * n_classes
        return [Size("the whole new model", whole, whole)]

    @classmethod
    def seconds(
        cls, forward: ForwardSeconds, n_train: int, n_pair: int, n_val: int, space: Mapping[str, Sequence[Any]]
    ) -> float:
        windows = {"train": n_train, "pair": n_pair}
        n = sum(windows[part] for part in cls.trains_on)
        steps = n / min(space["batch_size"])
        return space["epochs"][0] * (sum(forward.new) * (3 * n + n_val) + STEP_SECONDS * steps)

    def __init__(self, task: Task, options: Training, seed: int):
        assert options.learning_rate is not None
        assert options.batch_size is not None
        self.task, self.batch_size = task, options.batch_size
        self.n_epochs = options.epochs
        self.generator = torch.Generator().manual_seed(seed)
        encoder = copy.deepcopy(task.new).requires_grad_(True)
        head = new_head(encoder.shape_at(encoder.n_blocks)[1], task.n_classes, seed).to(task.device)
        self.model = nn.ModuleDict({"encoder": encoder, "head": head})
        self.encoder, self.head = encoder, head
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=options.learning_rate)
        self.trainable_parameters = reached_parameters(encoder) + linear_parameters(head)
        self.stored_parameters = (
            embed_parameters(encoder) + block_parameters(encoder, 0, encoder.n_blocks) + linear_parameters(head)
        )
        self.inputs = task.prepared(*self.trains_on)

    @property
    def declared_parameters(self) -> int:
        return sum(p.numel() for p in self.model.parameters())

    @abstractmethod
    def batch_loss(self, logits: Tensor, rows: Tensor) -> Tensor: ...

    def _logits(self, inputs: Tensor) -> Tensor:
        """From the encoder's prepared inputs."""
        inputs = inputs.to(self.encoder.device, self.encoder.dtype)
        return self.head(self.encoder.pool(self.encoder(inputs)))

    def train_epoch(self) -> Epoch:
        self.model.train()
        total, steps = 0.0, 0
        order = torch.randperm(len(self.inputs), generator=self.generator)
        for rows in order.split(self.batch_size):
            loss = self.batch_loss(self._logits(self.inputs[rows]), rows)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            total, steps = total + loss.item(), steps + 1
        return Epoch(total / steps, steps)

    @torch.no_grad()
    def logits(self, split: str) -> Tensor:
        self.model.eval()
        inputs = self.task.prepared(split)
        return torch.cat([self._logits(inputs[rows]) for rows in torch.arange(len(inputs)).split(64)])

    @torch.no_grad()
    def predict(self, windows: np.ndarray) -> Tensor:
        self.model.eval()
        return self._logits(self.encoder.inputs(windows))

    def state(self) -> dict[str, Tensor]:
        return copied(self.model)

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.model.load_state_dict(state)
