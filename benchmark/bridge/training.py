"""Fit and evaluate one bridge on stored features: no frozen block runs that did not have to.

Shapes: B windows of a batch, D features, T tokens. Positions as in the paper: the bridge leaves the new model at the
*output* of block i and enters the old one at the *input* of block j; j = ``head`` enters the teacher's linear head.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from benchmark.bridge import positions
from benchmark.bridge.initialisation import MOST_WINDOWS, real_inputs, real_tokens, regress
from benchmark.bridge.layout import entered_block, entered_shape, to_block_input
from benchmark.bridge.network import PrototypeBridge, count_parameters, standardised
from benchmark.bridge.objectives import LOSSES, OBJECTIVES, on_pooled, rescale_large_gradients
from benchmark.bridge.population import Population
from benchmark.bridge.regularisation import Averaging, Perturbation
from benchmark.common.store import Rows
from benchmark.encoders.base import Encoder
from benchmark.frozen.task import Task
from benchmark.method import (
    Epoch,
    ForwardSeconds,
    Method,
    Preselection,
    Size,
    block_parameters,
    copied,
    embed_parameters,
    linear_parameters,
)
from benchmark.results.schema import Column
from search_spaces.bridge import Options

AUTOCAST = {"bfloat16": torch.bfloat16}
STEP_SECONDS = 2e-3  # of a step without any block of the old model, for estimates


class Bridge(Method):
    """The published method: only the prototype bridge is trained."""

    name: ClassVar[str] = "bridge"
    label: ClassVar[str] = "Bridge"
    saves: ClassVar[bool] = True
    columns: ClassVar[tuple[Column, ...]] = (
        Column("bridge_input", "int", "block of the new model whose output the bridge takes"),
        Column("bridge_output", "int", "block of the old model whose input it gives; their number means the head"),
        Column(
            "bridge_position",
            "str",
            "the block of the new model that the bridge leaves and the block of the old model whose input it enters",
            "Position i → j",
        ),
        Column("rank", "int", "of the prototypes' weights", "Rank"),
        Column("prototypes", "int", "token vectors that its output is made of", "Prototypes"),
        Column(
            "objective",
            "str",
            "what it is trained for: the published loss, the teacher's decision, pooled features or both",
            "Objective",
        ),
    )
    tables: ClassVar[Mapping[str, tuple[Column, ...]]] = {"positions": positions.COLUMNS}
    resumable = ("bridge", "optimizer", "generator", "perturbed", "averaging")

    @classmethod
    def reads_last_tokens(cls, options: Options) -> bool:
        published = options.objective in (None, "published")
        return published and options.loss_at == "last_layer" and options.output != "head"

    @classmethod
    def preselects(cls, options: Options) -> bool:
        return options.position == "two_stage"

    @classmethod
    def preselect(cls, task: Task, options: Options, seed: int) -> Preselection:
        found = positions.select(task, seed, options.similarity)
        fixed = {"input": found.input, "output": found.output}
        return Preselection(fixed, {"positions": positions.rows(found, task.fold)})

    @classmethod
    def sizes(cls, old: Encoder, new: Encoder, n_classes: int, space: Mapping[str, Sequence[Any]]) -> Sequence[Size]:
        starts = itertools.product(space["objective"], space.get("standardise", [None]))
        offsets = {Options(objective=objective, standardise=given).standardises for objective, given in starts}
        # Standardised inputs have a constant beside them.
        widths = [new.shape_at(i + 1)[1] + offset for i in space["input"] for offset in offsets]
        found = []
        for output in space["output"]:
            tokens, d_old = entered_shape(old, entered_block(old, output))
            least, most = (
                count_parameters(pick(widths), tokens, d_old, pick(space["rank"]), pick(space["prototypes"]))
                for pick in (min, max)
            )
            found.append(Size(f"into {'the head' if output == 'head' else f'block {output}'}", least, most))
        return found

    @classmethod
    def seconds(
        cls, forward: ForwardSeconds, n_train: int, n_pair: int, n_val: int, space: Mapping[str, Sequence[Any]]
    ) -> float:
        blocks = forward.old[1:]
        entered = [len(blocks) if output == "head" else output for output in space["output"]]
        tail = sum(sum(blocks[j:]) for j in entered) / len(entered)  # a mean over the places that may be entered
        steps = n_pair / space["batch_size"][0]
        return space["epochs"][0] * (tail * (3 * n_pair + n_val) + STEP_SECONDS * steps)

    @classmethod
    def together(cls, members: Sequence[Method]) -> Population:
        return Population([member for member in members if isinstance(member, cls)])

    def __init__(self, task: Task, options: Options, seed: int):
        assert options.input is not None
        assert options.output is not None
        assert options.rank is not None
        assert options.prototypes is not None
        assert options.learning_rate is not None
        assert options.objective is not None
        self.task, self.options, self.learning_rate = task, options, options.learning_rate
        self.old, self.head = task.old, task.head
        self.i, self.j = options.input, entered_block(task.old, options.output)
        self.n_epochs = options.epochs
        self.generator = torch.Generator().manual_seed(seed)
        tokens, d_old = entered_shape(self.old, self.j)
        x = task.pooled("new", "pair", self.i + 1)
        self.moments = x.mean(0), x.std(0).clamp_min(1e-6 * float(x.std(0).max()))
        self.x = self._as_taken(x)
        self.bridge = PrototypeBridge(self.x.shape[1], tokens, d_old, options.rank, options.prototypes, self.generator)
        if options.start == "randreal":
            self.bridge.set_prototypes(real_tokens(task, self.j, options.prototypes, len(x), self.generator))
        self.bridge.to(task.device, task.new.dtype)
        if options.start == "regression":
            windows = torch.arange(len(x))[:: -(-len(x) // MOST_WINDOWS)]
            regress(self.bridge, self.x[windows], real_inputs(task, self.j, windows))
        self.optimizer = adam(self.bridge.parameters(), options.learning_rate, options.weight_decay)
        self.precision = AUTOCAST.get(options.autocast)
        self.tail = self._tail()
        self.on_pooled = options.objective != "published"
        self.target = self._targets()
        self.loss = self._loss()
        self.perturbed = Perturbation(options.dropout, options.mixing, seed)
        self.averaging = Averaging(self.bridge, self.n_epochs) if options.averaging else None
        self.trainable_parameters = sum(p.numel() for p in self.bridge.parameters())
        self.stored_parameters = (
            sum(p.numel() for p in self._folded().parameters())
            + (options.rank if options.standardises else 0)
            + embed_parameters(task.new)
            + block_parameters(task.new, 0, self.i + 1)
            + block_parameters(self.old, self.j, self.old.n_blocks)
            + linear_parameters(self.head)
        )

    @property
    def at_head(self) -> bool:
        return self.j == self.old.n_blocks

    def _tail(self) -> Callable[[Tensor], Tensor]:
        """Blocks j.. of the old model."""

        def tail(hidden: Tensor) -> Tensor:
            return self.old.run(hidden, self.j, self.old.n_blocks)

        return torch.compile(tail, dynamic=False) if self.options.compile and not self.at_head else tail

    def _as_taken(self, x: Tensor) -> Tensor:
        """Pooled features of the new model (B, D_new) as the bridge takes them."""
        return standardised(x, *self.moments) if self.options.standardises else x

    def _folded(self) -> PrototypeBridge:
        """What a device runs, which takes pooled features as they are."""
        current = self.current
        return current.folded(*self.moments) if self.options.standardises else current

    @property
    def current(self) -> PrototypeBridge:
        """The bridge that predicts: the one that is trained, or the mean of its weights."""
        found = self.averaging.current if self.averaging else self.bridge
        assert isinstance(found, PrototypeBridge)
        return found

    def _loss(self) -> Callable[[Tensor, Tensor], Tensor]:
        if not self.on_pooled:
            return LOSSES[self.options.loss]
        assert isinstance(self.target, Tensor)
        decision, pooled = OBJECTIVES[self.options.objective or ""]
        weight, variance = pooled * self.options.pooled_weight, float(self.target.var(0).mean())
        return on_pooled(self.head, decision, weight, self.options.temperature, variance, self._class_weights())

    def _class_weights(self) -> Tensor:
        """1 / count of the teacher's classes, of mean 1 over pair; all 1 where they are not asked for."""
        count = torch.bincount(self.task.teacher_logits("pair").argmax(1), minlength=self.task.n_classes)
        if not self.options.class_weighted:
            return torch.ones_like(count, dtype=self.x.dtype)
        return (count.sum() / (count > 0).sum() / count.clamp_min(1)).to(self.x)

    def _targets(self) -> Tensor | Rows:
        if self.at_head or self.on_pooled:
            return self.task.pooled("old", "pair", self.old.n_blocks)
        if self.options.loss_at == "bridge_output":
            return self.task.block_input("pair", self.j)
        return self.task.last("pair")

    def compared(self, output: Tensor) -> Tensor:
        """What the loss compares, from a bridge's output (B, D_old, T)."""
        entered, last = self.through(output)
        if self.on_pooled:
            return last if self.at_head else self.task.first_seen("old", self.old.n_blocks, self.old.pool(last))
        return entered if self.options.loss_at == "bridge_output" else last

    def through(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """What enters the old model, and what comes out of its last block (pooled at the head), from a bridge's output
        (B, D_old, T)."""
        if self.at_head:
            return output.squeeze(-1), output.squeeze(-1)
        entered = to_block_input(self.old, output, self.options.layout)
        if self.options.loss_at == "bridge_output" and not self.on_pooled and torch.is_grad_enabled():
            return entered, entered
        if self.precision is None:
            return entered, self.tail(entered)
        with torch.autocast(self.task.device.type, self.precision):
            return entered, self.tail(entered).to(entered.dtype)

    def train_epoch(self) -> Epoch:
        total, steps = self.x.new_zeros(()), 0
        order = torch.randperm(len(self.x), generator=self.generator)
        for batch in order.split(self.options.batch_size):
            x, target = self.perturbed(self.x[batch], self.target[batch].to(self.x))
            loss = self.loss(self.compared(self.bridge(x)), target)
            self.optimizer.zero_grad()
            loss.backward()
            rescale_large_gradients(self.bridge)
            self.optimizer.step()
            total, steps = total + loss.detach(), steps + 1
        self.end_epoch()
        return Epoch(float(total) / steps, steps, len(self.x))

    def end_epoch(self) -> None:
        """All pairs have been seen once more."""
        if self.averaging:
            self.averaging.end_epoch()

    def _logits(self, bridge: PrototypeBridge, x: Tensor) -> Tensor:
        last = self.through(bridge(x))[1]
        return self.head(last) if self.at_head else self.task.decide(self.old.pool(last))

    @torch.no_grad()
    def logits(self, split: str) -> Tensor:
        x = self._as_taken(self.task.pooled("new", split, self.i + 1))
        return torch.cat([self._logits(self.current, part) for part in x.split(64)])

    @torch.no_grad()
    def predict(self, windows: np.ndarray) -> Tensor:
        new = self.task.new
        hidden = new.run(new.embed(new.inputs(windows)), 0, self.i + 1)
        x = self.task.first_seen("new", self.i + 1, new.pool(hidden))
        return self._logits(self._folded(), x)

    def state(self) -> dict[str, Tensor]:
        return copied(self.current)

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.bridge.load_state_dict(state)
        self.averaging = None  # what was averaged is in the state

    def describe(self) -> dict[str, Any]:
        return {
            "bridge_input": self.i,
            "bridge_output": self.j,
            "bridge_position": f"{self.i} → {'head' if self.at_head else self.j}",
            "rank": self.options.rank,
            "prototypes": self.options.prototypes,
            "objective": self.options.objective,
        }


def adam(parameters: Iterable[Tensor], learning_rate: float, weight_decay: float) -> torch.optim.Adam:
    """Adam, or with a decay of weights AdamW (Loshchilov and Hutter, 2019)."""
    if weight_decay:
        return torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=weight_decay, fused=True)
    return torch.optim.Adam(parameters, lr=learning_rate, fused=True)
