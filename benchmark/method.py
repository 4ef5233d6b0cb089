"""The seam of everything that competes: the bridge, the baselines, the references."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from benchmark.encoders.base import Encoder
from benchmark.encoders.registry import parameter_count
from benchmark.frozen.task import Task


@dataclass(frozen=True)
class Epoch:
    """What one epoch of training was."""

    loss: float
    steps: int


class Method(ABC):
    """One configuration of one competitor on one task.

    Transfer methods read unlabelled pairs only. ``reads_labels`` marks references that read the true classes.
    """

    name: ClassVar[str]
    reads_labels: ClassVar[bool] = False
    trainable_parameters: int = 0
    stored_parameters: int = 0
    """What a device must hold to predict: frozen and trained, without blocks that are never run."""
    n_epochs: int = 0
    seeded: ClassVar[bool] = True
    """Whether another seed gives another result."""

    @abstractmethod
    def __init__(self, task: Task, options: Mapping[str, Any], seed: int): ...

    @abstractmethod
    def logits(self, split: str) -> Tensor:
        """(N, classes) for every window of ``val`` or ``test``."""

    def train_epoch(self) -> Epoch:
        """One pass over the pair split. Methods with ``n_epochs == 0`` never train."""
        raise RuntimeError(f"{self.name} is not trained by epochs")

    def state(self) -> dict[str, Tensor]:
        """A copy of the trained weights."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go back to weights that ``state`` gave."""
        return None

    def predict(self, windows: np.ndarray) -> Tensor | None:
        """Raw new-modality windows (B, C, N) -> logits, as a device would; None where there is no such thing."""
        return None

    def describe(self) -> dict[str, Any]:
        """Columns of the row that only this method has (bridge position, rank, ...)."""
        return {}


def copied(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def block_parameters(encoder: Encoder, start: int, stop: int) -> int:
    """Parameters of blocks ``start`` .. ``stop - 1``."""
    prefixes = tuple(f"{name}." for name in encoder.block_names[start:stop])
    return sum(p.numel() for name, p in encoder.named_parameters() if prefixes and name.startswith(prefixes))


def embed_parameters(encoder: Encoder) -> int:
    """Parameters in front of block 0."""
    return parameter_count(encoder, backbone_only=True) - block_parameters(encoder, 0, encoder.n_blocks)


def linear_parameters(head: torch.nn.Linear) -> int:
    return sum(p.numel() for p in head.parameters())
