"""The training loop of a student: the new model, or a part of it, and a linear head.

Shapes: N windows, B of a batch, D features of a block, K classes.
"""

import copy
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from baselines._adapt import FULL, Adaptation
from baselines._deepspeed import Recipe, Workers
from baselines._whole_batch import Moments
from benchmark.encoders.base import Encoder
from benchmark.encoders.registry import reached_parameters
from benchmark.frozen.calibration import Population, population_of
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
START_SECONDS = 10.0  # until a worker is ready, for estimates


class Training(Protocol):
    """What the loop reads of a method's options."""

    @property
    def learning_rate(self) -> float | None: ...
    @property
    def batch_size(self) -> int | None: ...
    @property
    def epochs(self) -> int: ...
    @property
    def processes(self) -> int: ...


class Outputs(NamedTuple):
    """What a student makes of a batch."""

    logits: Tensor
    """(B, K)"""
    pooled: Sequence[Tensor]
    """(B, D), the mean over tokens of the last block's output; of every block's where the method ``reads_blocks``."""

    @property
    def embedding(self) -> Tensor:
        """The pooled output of the last block, (B, D)."""
        return self.pooled[-1]


class Student(Method):
    """The new modality's encoder, trained from its pre-trained state as far as its ``Adaptation`` says, and a new head.

    A subclass says what a batch is compared with: ``batch_loss(outputs, rows)``, rows being positions in the windows of
    ``trains_on``; and which modules help with that, and are thrown away afterwards.

    By one process it is trained with PyTorch alone, by several with DeepSpeed: these are then told how to make the same
    student, and this one has what they trained after each epoch. Weights that it goes back to are not trained further.
    """

    trains_on: ClassVar[tuple[str, ...]] = ("pair",)
    """The parts of the split whose windows are trained on, one after the other."""
    reads_blocks: ClassVar[bool] = False
    """Whether its loss reads the outputs of all blocks."""
    resumable = ("parts", "optimizer", "generator", "workers")

    @classmethod
    def helper_parameters(cls, old: Encoder, new: Encoder, n_classes: int, space: Mapping[str, Any]) -> tuple[int, int]:
        """The least and the most parameters of its helpers over the search space."""
        return 0, 0

    @classmethod
    def sizes(cls, old: Encoder, new: Encoder, n_classes: int, space: Mapping[str, Sequence[Any]]) -> Sequence[Size]:
        head = (new.shape_at(new.n_blocks)[1] + 1) * n_classes
        least, most = cls.helper_parameters(old, new, n_classes, space)
        found: dict[str, list[int]] = {}
        for adaptation in Adaptation.searched(space, new.n_blocks):
            found.setdefault(adaptation.place, []).append(reached_parameters(new, adaptation) + head)
        return [Size(where, min(n) + least, max(n) + most) for where, n in found.items()]

    @classmethod
    def seconds(
        cls, forward: ForwardSeconds, n_train: int, n_pair: int, n_val: int, space: Mapping[str, Sequence[Any]]
    ) -> float:
        windows = {"train": n_train, "pair": n_pair}
        n = sum(windows[part] for part in cls.trains_on)
        steps = n / min(space["batch_size"])
        whole, taken = sum(forward.new), []
        adaptations = Adaptation.searched(space, len(forward.new) - 1)
        for adaptation in adaptations:
            through = {"head": 0.0, "last_k": sum(forward.new[-adaptation.amount :])}.get(adaptation.kind, whole)
            forwards = 0 if adaptation.kind == "head" else whole * (n + n_val)
            taken.append(forwards + 2 * through * n + STEP_SECONDS * steps)
        workers = space.get("workers", [1])[0]
        return space["epochs"][0] * sum(taken) / len(taken) + (workers > 1) * workers * START_SECONDS

    def __init__(self, task: Task, options: Training, seed: int, adaptation: Adaptation = FULL):
        assert options.learning_rate is not None
        assert options.batch_size is not None
        self.task, self.batch_size = task, options.batch_size
        self.n_epochs, self.adaptation = options.epochs, adaptation
        self.generator = torch.Generator().manual_seed(seed)
        encoder = copy.deepcopy(task.new).freeze()
        head = new_head(encoder.shape_at(encoder.n_blocks)[1], task.n_classes, seed).to(task.device)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.in_training = adaptation(encoder)
            self.helpers = self.make_helpers(options).to(task.device, encoder.dtype)
        self.model = nn.ModuleDict({"encoder": encoder, "head": head})
        self.parts = nn.ModuleDict({"model": self.model, "helpers": self.helpers})
        self.encoder, self.head = encoder, head
        trained = [p for p in self.parts.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(trained, lr=options.learning_rate)
        self.trainable_parameters = (
            reached_parameters(task.new, adaptation) + linear_parameters(head) + self._helper_count
        )
        self.stored_parameters = (
            embed_parameters(encoder) + block_parameters(encoder, 0, encoder.n_blocks) + linear_parameters(head)
        )
        self.n, self.pooled = self._reader(*self.trains_on)
        # Of a head alone, the store's features are calibrated already.
        self.calibrates = task.calibrates("new") and adaptation.kind != "head"
        self._people: list[Population] = []
        self.workers = Workers(Recipe.of(type(self), task, options, seed)) if options.processes > 1 else None

    @property
    def _helper_count(self) -> int:
        return sum(p.numel() for p in self.helpers.parameters())

    @property
    def declared_parameters(self) -> int:
        full = self.adaptation.kind == "full"
        return self._helper_count + sum(p.numel() for p in self.model.parameters() if full or p.requires_grad)

    def make_helpers(self, options: Any) -> nn.ModuleDict:
        """Modules that its loss trains along. They help in training alone: no device stores them."""
        return nn.ModuleDict()

    @abstractmethod
    def batch_loss(self, outputs: Outputs, rows: Tensor) -> Tensor: ...

    def _reader(self, *parts: str) -> tuple[int, Callable[[Tensor], list[Tensor]]]:
        """How many windows these parts have, and what gives the pooled outputs of some: the store, where the whole
        encoder is frozen."""
        if self.adaptation.kind != "head":
            inputs = self.task.prepared(*parts)
            return len(inputs), lambda rows: self._pooled(inputs[rows])
        first = 1 if self.reads_blocks else self.encoder.n_blocks
        stored = [
            torch.cat([self.task.pooled("new", part, block) for part in parts])
            for block in range(first, self.encoder.n_blocks + 1)
        ]
        return len(stored[0]), lambda rows: [x[rows] for x in stored]

    def _pooled(self, inputs: Tensor) -> list[Tensor]:
        """From the encoder's prepared inputs."""
        inputs = inputs.to(self.encoder.device, self.encoder.dtype)
        if self.reads_blocks:
            return [self.encoder.pool(hidden) for hidden in self.encoder.block_outputs(inputs)[1:]]
        return [self.encoder.pool(self.encoder(inputs))]

    def train_epoch(self) -> Epoch:
        order = torch.randperm(self.n, generator=self.generator)
        wearers = self._wearers()
        if self.workers:
            trained = self.workers.train_epoch(order, wearers)
            self.parts.load_state_dict(trained.weights, strict=False)
            return Epoch(trained.loss / trained.steps, trained.steps, self.n, trained.seconds)
        for module in self.in_training:
            module.train()
        total, steps = 0.0, 0
        for rows in order.split(self.batch_size):
            loss = self.loss_of(self.pooled(rows), rows, wearers)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            total, steps = total + loss.item(), steps + 1
        return Epoch(total / steps, steps, self.n)

    def loss_of(self, pooled: Sequence[Tensor], rows: Tensor, wearers: Moments) -> Tensor:
        """The loss of a batch from what its windows came to, (B, D) by block, which is calibrated here."""
        if self.calibrates:
            pooled = [(x - m[rows]) / d[rows] for x, (m, d) in zip(pooled, wearers, strict=True)]
        return self.batch_loss(Outputs(self.head(pooled[-1]), pooled), rows)

    @torch.no_grad()
    def logits(self, split: str) -> Tensor:
        self.model.eval()
        n, pooled = self._reader(split)
        x = torch.cat([pooled(rows)[-1] for rows in torch.arange(n).split(64)])
        if self.calibrates:
            x = self.task.within_wearers(x, self.task.indices(split), self._population()[-1])
        return self.head(x)

    @torch.no_grad()
    def predict(self, windows: np.ndarray) -> Tensor:
        self.model.eval()
        x = self._pooled(self.encoder.inputs(windows))[-1]
        if self.calibrates:
            return self.head(self._population()[-1](x))
        return self.head(self.task.first_seen("new", self.encoder.n_blocks, x))

    @torch.no_grad()
    def _outputs(self) -> list[Tensor]:
        """The pooled outputs of all windows that are trained on, as they are now."""
        self.model.eval()
        parts = [self.pooled(rows) for rows in torch.arange(self.n).split(64)]
        return [torch.cat(block) for block in zip(*parts, strict=True)]

    def _population(self) -> list[Population]:
        """What people are like to the encoder as it is now: from the windows that are trained on."""
        if not self._people:
            subject = self.task.data.subject[self.task.indices(*self.trains_on)]
            self._people = [population_of(x, subject) for x in self._outputs()]
        return self._people

    def _wearers(self) -> Moments:
        """For an epoch, the wearers' moments as the encoder is at its beginning; they are constants to a gradient."""
        if not self.calibrates:
            return []
        self._people = []  # the epoch changes them
        windows = self.task.indices(*self.trains_on)
        subject = self.task.data.subject[windows]
        return [self.task.wearers_moments(x, windows, population_of(x, subject)) for x in self._outputs()]

    def state(self) -> dict[str, Tensor]:
        return copied(self.model)

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.model.load_state_dict(state)
        self._people = []
        self.close()

    def close(self) -> None:
        if self.workers:
            self.workers.close()
