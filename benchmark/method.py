"""The seam of everything that competes: the bridge, the baselines, floors and ceilings.

A method declares itself: its class says what it is called, what kind it is, what it reads and which columns of a row
are its own; results, TensorBoard and tables ask the class. It is handed a task (data, frozen models, stored features)
and owns all that trains: optimiser, precision, process group, an adapted copy of an encoder. What trains by epochs is
driven by the trial, so that pruning and the choice of an epoch are the same for all; a closed-form method is fitted
when it is made and has no epochs.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from benchmark.encoders.base import Encoder
from benchmark.encoders.registry import parameter_count, reached_parameters
from benchmark.frozen.task import Task
from benchmark.results.schema import Column, Kind, MethodCard


@dataclass(frozen=True)
class Epoch:
    """What one epoch of training was."""

    loss: float
    steps: int
    windows: int
    """That it was trained on, each as often as it was seen."""
    seconds: float | None = None
    """Of its steps, where more was waited for."""


@dataclass(frozen=True)
class Preselection:
    """What a method chose from frozen features before its search began: options that are fixed from now on, and rows of
    the tables that it declares."""

    options: Mapping[str, Any]
    tables: Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True)
class ForwardSeconds:
    """Seconds that the encoders take for one window: until block 0 can start, and of each block."""

    old: Sequence[float]
    new: Sequence[float]


@dataclass(frozen=True)
class Size:
    """How many parameters are trained at one place, over the search space: from ``least`` to ``most``."""

    where: str
    least: int
    most: int


class Group(Protocol):
    """Members that take their training steps together."""

    def train_epoch(self) -> Sequence[Epoch]:
        """One pass over the pair split for every member."""
        ...


class Method(ABC):
    """One configuration of one method on one task.

    Transfer methods read unlabelled pairs only: their task has no labels. ``reads_labels`` marks those that read true
    classes. ``options`` are those of its search space, none of them null.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    """What people read in tables and figures."""
    kind: ClassVar[Kind] = "transfer"
    reads_labels: ClassVar[bool] = False
    saves: ClassVar[bool] = False
    """Whether it claims to train much less than the whole new model: then ``search.min_reduction`` holds it to that."""
    calibrated: ClassVar[bool] = True
    """Whether it reads features, so that calibration to the wearer changes it."""
    seeded: ClassVar[bool] = True
    """Whether another seed gives another result."""
    columns: ClassVar[tuple[Column, ...]] = ()
    """Its own columns of a row; ``describe`` fills them."""
    tables: ClassVar[Mapping[str, tuple[Column, ...]]] = {}
    """What else it leaves behind: columns by table."""

    trainable_parameters: int = 0
    """Those that a gradient reaches."""
    stored_parameters: int = 0
    """What a device must hold to predict: frozen and trained, without blocks that are never run."""
    n_epochs: int = 0
    resumable: ClassVar[tuple[str, ...]] = ()
    """Attributes that change as it trains: modules, optimisers, generators, whatever has a ``state_dict``, lists of
    them, or None. With them a trial that was lost goes on from its checkpoint; without, it starts again."""

    @property
    def declared_parameters(self) -> int:
        """Parameters of all modules that are trained, whether a gradient reaches them or not: the paper's own count."""
        return self.trainable_parameters

    @classmethod
    def card(cls) -> MethodCard:
        """What the class declares, for the run's folder."""
        return MethodCard(cls.name, cls.label, cls.kind, cls.columns, cls.tables)

    # -- before a search ------------------------------------------------------------------------------------------

    @classmethod
    def reads_last_tokens(cls, options: Any) -> bool:
        """Whether it reads the teacher's last output token by token on ``pair``: then one pass keeps that too."""
        return False

    @classmethod
    def preselects(cls, options: Any) -> bool:
        """Whether ``preselect`` is to be asked before each search."""
        return False

    @classmethod
    def preselect(cls, task: Task, options: Any, seed: int) -> Preselection:
        """Fix options from frozen features, without a label."""
        raise NotImplementedError(f"{cls.name} fixes nothing before its search")

    @classmethod
    def sizes(cls, old: Encoder, new: Encoder, n_classes: int, space: Mapping[str, Sequence[Any]]) -> Sequence[Size]:
        """Trainable parameters by place, from encoders without weights; ``space``: values that each option may have."""
        return ()

    @classmethod
    def seconds(
        cls, forward: ForwardSeconds, n_train: int, n_pair: int, n_val: int, space: Mapping[str, Sequence[Any]]
    ) -> float:
        """An estimate of a trial's seconds from those of bare forwards, for so many windows."""
        return 1.0

    # -- a trial --------------------------------------------------------------------------------------------------

    @abstractmethod
    def __init__(self, task: Task, options: Any, seed: int): ...

    @abstractmethod
    def logits(self, split: str) -> Tensor:
        """(N, classes) for every window of ``val`` or ``test``."""

    def train_epoch(self) -> Epoch:
        """One pass over the pair split. Methods with ``n_epochs == 0`` never train."""
        raise RuntimeError(f"{self.name} is not trained by epochs")

    @classmethod
    def together(cls, members: "Sequence[Method]") -> Group:
        """Members whose options ask for it (``MethodOptions.trained_together``) as one."""
        raise NotImplementedError(f"{cls.name} is trained one by one")

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
        """Values of ``columns``."""
        return {}

    def close(self) -> None:
        """Let go of what outlives the object, such as a process group; called however the trial ended."""
        return None


def copied(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def block_parameters(encoder: Encoder, start: int, stop: int) -> int:
    """Parameters of blocks ``start`` .. ``stop - 1``."""
    prefixes = tuple(f"{name}." for name in encoder.block_names[start:stop])
    return sum(p.numel() for name, p in encoder.named_parameters() if prefixes and name.startswith(prefixes))


def embed_parameters(encoder: Encoder) -> int:
    """Parameters in front of block 0."""
    return parameter_count(encoder, backbone_only=True) - block_parameters(encoder, 0, encoder.n_blocks)


def student_parameters(new: Encoder, n_classes: int) -> int:
    """What a gradient reaches of the whole new model with a linear head: what savings are measured against."""
    return reached_parameters(new) + (new.shape_at(new.n_blocks)[1] + 1) * n_classes


def linear_parameters(head: torch.nn.Linear) -> int:
    return sum(p.numel() for p in head.parameters())
