"""What is fitted in closed form on stored features: no epochs, no gradient through an encoder.

Shapes: N windows, D features of the block that is read, K classes.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.encoders.base import Encoder
from benchmark.frozen.task import Task
from benchmark.method import Method, Size, block_parameters, embed_parameters
from benchmark.results.schema import Column


class Reads(Protocol):
    """What is read of the options of all of them."""

    @property
    def block(self) -> int | None: ...


class OnFeatures(Method):
    """Reads the pooled output of one block of the frozen new encoder.

    A subclass fits itself in ``fit`` on the pair split, and says what its features give in ``from_features``.
    """

    columns: ClassVar[tuple[Column, ...]] = (
        Column("new_block", "int", "block of the new model whose pooled output is read", "Block"),
    )

    def __init__(self, task: Task, options: Reads, seed: int):
        assert options.block is not None
        self.task, self.block = task, options.block
        self.fit(self.features("pair"), options, seed)
        self.stored_parameters = self.held + embed_parameters(task.new) + block_parameters(task.new, 0, self.block + 1)

    @property
    def held(self) -> int:
        """Numbers beside the encoder that a device must hold to predict."""
        return self.trainable_parameters

    @abstractmethod
    def fit(self, x: Tensor, options: Any, seed: int) -> None:
        """Fit on features (N, D) of the pair split, and set ``trainable_parameters``."""

    @abstractmethod
    def from_features(self, x: Tensor) -> Tensor:
        """(N, D) -> logits (N, K)."""

    def features(self, split: str) -> Tensor:
        return self.task.pooled("new", split, self.block + 1)

    def logits(self, split: str) -> Tensor:
        return self.from_features(self.features(split))

    @torch.no_grad()
    def predict(self, windows: np.ndarray) -> Tensor:
        new = self.task.new
        hidden = new.run(new.embed(new.inputs(windows)), 0, self.block + 1)
        return self.from_features(self.task.first_seen("new", self.block + 1, new.pool(hidden)))

    def describe(self) -> dict[str, Any]:
        return {"new_block": self.block}


class LinearOnFeatures(OnFeatures):
    """One linear layer from features to logits."""

    layer: nn.Linear

    @classmethod
    def sizes(cls, old: Encoder, new: Encoder, n_classes: int, space: Mapping[str, Sequence[Any]]) -> Sequence[Size]:
        widths = [new.shape_at(block + 1)[1] for block in space["block"]]
        return [Size("a linear head", (min(widths) + 1) * n_classes, (max(widths) + 1) * n_classes)]

    def keep(self, layer: nn.Linear) -> None:
        """The layer, where the features are and in their precision."""
        self.layer = layer.requires_grad_(False).to(self.task.device, self.task.new.dtype)
        self.trainable_parameters = sum(p.numel() for p in layer.parameters())

    def from_features(self, x: Tensor) -> Tensor:
        return self.layer(x)
