"""Fit and evaluate one bridge on stored features: no frozen block runs that did not have to.

Shapes: B windows of a batch, D features, T tokens. Positions as in the paper: the bridge leaves the new model at the
*output* of block i and enters the old one at the *input* of block j; j = ``head`` enters the teacher's linear head.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmark.bridge.network import PrototypeBridge, land
from benchmark.encoders.base import Encoder
from benchmark.method import Epoch, Method, block_parameters, copied, embed_parameters, linear_parameters
from benchmark.frozen.task import Task

INFONCE_TEMPERATURE = 0.1
MOST_GRADIENT = 1e3
AUTOCAST = {"bfloat16": torch.bfloat16}


def cosine(output: Tensor, target: Tensor) -> Tensor:
    """1 - cosine similarity of the flattened tensors of each window, averaged."""
    return F.cosine_embedding_loss(output.flatten(1), target.flatten(1), output.new_ones(len(output)))


def infonce(output: Tensor, target: Tensor) -> Tensor:
    """InfoNCE over the batch (van den Oord et al., 2018): a window's own target among those of the others."""
    similarity = F.normalize(output.flatten(1)) @ F.normalize(target.flatten(1)).T
    return F.cross_entropy(similarity / INFONCE_TEMPERATURE, torch.arange(len(output), device=output.device))


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cosine": cosine,
    "mse": F.mse_loss,
    "l1": F.l1_loss,
    "infonce": infonce,
}


def tame(bridge: PrototypeBridge, most: float = MOST_GRADIENT) -> None:
    """Scale a gradient with an entry above ``most`` so that its largest is 1.

    The first output is zero (B is), where a cosine has no direction and a layer norm without bias multiplies by
    1 / sqrt(eps): gradients of 1e6 to 1e26. Adam would remember one for thousands of steps and hardly move.
    Other gradients are far below (at most 1 or so in the paper's directions), so that the published training is kept.
    """
    gradients = [p.grad for p in bridge.parameters() if p.grad is not None]
    largest = torch.stack([extreme for gradient in gradients for extreme in gradient.aminmax()]).abs().max()
    if largest > most:
        for gradient in gradients:
            gradient.div_(largest)


def output_block(old: Encoder, output: int | str) -> int:
    """The old block that is entered; the number of blocks means the head."""
    return old.n_blocks if output == "head" else int(output)


class Bridge(Method):
    """The published method: only the prototype bridge is trained."""

    name: ClassVar[str] = "bridge"

    def __init__(self, task: Task, options: Mapping[str, Any], seed: int):
        self.task, self.options = task, options
        self.old, self.head = task.old, task.head
        self.i, self.j = int(options["input"]), output_block(task.old, options["output"])
        self.n_epochs = int(options["epochs"])
        self.generator = torch.Generator().manual_seed(seed)
        tokens, d_old = self.old.shape_at(self.j)
        if self.at_head:
            tokens = 1
        d_new = task.new.shape_at(self.i + 1)[1]
        self.bridge = PrototypeBridge(
            d_new, tokens, d_old, int(options["rank"]), int(options["prototypes"]), self.generator
        )
        if options["init"] == "randreal":
            self.bridge.set_prototypes(self._real_tokens(int(options["prototypes"])))
        self.bridge.to(task.device, task.new.dtype)
        self.optimizer = torch.optim.Adam(self.bridge.parameters(), lr=float(options["learning_rate"]), fused=True)
        self.loss = LOSSES[options["loss"]]
        self.precision = AUTOCAST.get(options["autocast"])
        self.tail = self._tail()
        self.x = task.pooled("new", "pair", self.i + 1)
        self.target = self._targets()
        self.trainable_parameters = sum(p.numel() for p in self.bridge.parameters())
        self.stored_parameters = (
            self.trainable_parameters
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

        return torch.compile(tail, dynamic=False) if self.options["compile"] and not self.at_head else tail

    def _targets(self) -> Tensor:
        if self.at_head:
            return self.task.pooled("old", "pair", self.j)
        if self.options["loss_at"] == "bridge_output":
            return self.task.block_input("pair", self.j)
        return self.task.last("pair")

    def _real_tokens(self, prototypes: int) -> Tensor:
        """``prototypes`` token vectors drawn from real inputs of block j on the pair split, (P, D_old)."""
        if self.at_head:
            tokens = self.task.pooled("old", "pair", self.j)
            return tokens[torch.randint(len(tokens), (prototypes,), generator=self.generator)].cpu()
        inputs = self.task.block_input("pair", self.j)
        window = torch.randint(len(inputs), (prototypes,), generator=self.generator)
        tokens = self.old.to_tokens(inputs[window])
        token = torch.randint(tokens.shape[1], (prototypes,), generator=self.generator)
        return tokens[torch.arange(prototypes), token]

    def _forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What the bridge puts into the old model, and what comes out of its last block (pooled at the head)."""
        return self._through(self.bridge(x))

    def _through(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """The same from a bridge's output (B, D_old, T)."""
        if self.at_head:
            return output.squeeze(-1), output.squeeze(-1)
        landed = land(self.old, output, self.options["layout"])
        if self.options["loss_at"] == "bridge_output" and torch.is_grad_enabled():
            return landed, landed
        if self.precision is None:
            return landed, self.tail(landed)
        with torch.autocast(self.task.device.type, self.precision):
            return landed, self.tail(landed).to(landed.dtype)

    def train_epoch(self) -> Epoch:
        total, steps = self.x.new_zeros(()), 0
        order = torch.randperm(len(self.x), generator=self.generator)
        for batch in order.split(int(self.options["batch_size"])):
            landed, last = self._forward(self.x[batch])
            output = landed if self.options["loss_at"] == "bridge_output" else last
            loss = self.loss(output, self.target[batch].to(output))
            self.optimizer.zero_grad()
            loss.backward()
            tame(self.bridge)
            self.optimizer.step()
            total, steps = total + loss.detach(), steps + 1
        return Epoch(float(total) / steps, steps)

    def _logits(self, x: Tensor) -> Tensor:
        last = self._forward(x)[1]
        return self.head(last if self.at_head else self.old.pool(last))

    @torch.no_grad()
    def logits(self, split: str) -> Tensor:
        x = self.task.pooled("new", split, self.i + 1)
        return torch.cat([self._logits(part) for part in x.split(64)])

    @torch.no_grad()
    def predict(self, windows: np.ndarray) -> Tensor:
        new = self.task.new
        hidden = new.run(new.embed(new.inputs(windows)), 0, self.i + 1)
        return self._logits(new.pool(hidden))

    def state(self) -> dict[str, Tensor]:
        return copied(self.bridge)

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.bridge.load_state_dict(state)

    def describe(self) -> dict[str, Any]:
        return {
            "bridge_input": self.i,
            "bridge_output": self.j,
            "rank": int(self.options["rank"]),
            "prototypes": int(self.options["prototypes"]),
        }


class Population:
    """Bridges at one position that take their training steps together: one forward and backward for all of them.

    Members may differ in rank, prototypes, learning rate, initial values and order of windows; each is trained as it
    would be alone, but for rounding. Smaller ones are padded with zeros, which receive no gradient and stay zero.

    Raises
    ------
    ValueError
        If members differ in what they must share.
    """

    SHARED: ClassVar[tuple[str, ...]] = ("input", "output", "batch_size", "epochs", "loss", "loss_at", "layout")

    def __init__(self, members: Sequence[Bridge]):
        self.members, self.first = members, members[0]
        for name in self.SHARED:
            found = {member.options[name] for member in members}
            if len(found) > 1:
                raise ValueError(f"a population shares its {name}, these members have {sorted(map(str, found))}")
        bridges = [member.bridge for member in members]
        self.tokens = bridges[0].tokens
        rank = max(len(bridge.A) for bridge in bridges)
        self.prototypes = max(bridge.prototypes.shape[1] for bridge in bridges)
        padded = []
        for bridge in bridges:
            ranks, prototypes = rank - len(bridge.A), self.prototypes - bridge.prototypes.shape[1]
            pads = ((0, 0, 0, ranks), (0, ranks, 0, prototypes * self.tokens), (0, prototypes))
            padded.append([F.pad(p.detach(), pad) for p, pad in zip(bridge.parameters(), pads, strict=True)])
        # A (K, r, D_new), B (K, P T, r), prototypes (K, D_old, P) of K members.
        self.stacked = [torch.stack(tensors).requires_grad_() for tensors in zip(*padded, strict=True)]
        # Adam's step is proportional to its rate: at a rate of 1, then as far as each member's own goes.
        self.optimizer = torch.optim.Adam(self.stacked, lr=1.0, fused=True)
        rates = [float(member.options["learning_rate"]) for member in members]
        self.rates = self.stacked[0].new_tensor(rates)[:, None, None]
        self.losses = torch.vmap(self.first.loss)

    def _outputs(self, x: Tensor) -> Tensor:
        """(K, B, D_new) -> (K B, D_old, T), as each member's bridge gives it."""
        a, b, prototypes = self.stacked
        weights = (x @ a.mT) @ b.mT
        return (prototypes[:, None] @ weights.view(*x.shape[:2], self.prototypes, self.tokens)).flatten(0, 1)

    def train_epoch(self) -> list[Epoch]:
        """One pass over the pair split for every member."""
        first, n = self.first, len(self.first.x)
        totals, steps = self.rates.new_zeros(len(self.members)), 0
        orders = torch.stack([torch.randperm(n, generator=member.generator) for member in self.members])
        for rows in orders.split(int(first.options["batch_size"]), dim=1):
            landed, last = first._through(self._outputs(first.x[rows]))
            output = landed if first.options["loss_at"] == "bridge_output" else last
            outputs = output.view(*rows.shape, *output.shape[1:])
            losses = self.losses(outputs, first.target[rows].to(outputs))
            self.optimizer.zero_grad()
            losses.sum().backward()
            self._tame()
            self._step()
            totals, steps = totals + losses.detach(), steps + 1
        self._hand_out()
        return [Epoch(total / steps, steps) for total in totals.tolist()]

    def _tame(self, most: float = MOST_GRADIENT) -> None:
        """``tame``, for each member by itself."""
        gradients = [p.grad for p in self.stacked if p.grad is not None]
        largest = torch.stack([gradient.abs().amax((1, 2)) for gradient in gradients]).amax(0)
        if bool((largest > most).any()):
            scale = torch.where(largest > most, largest, 1.0)[:, None, None]
            for gradient in gradients:
                gradient.div_(scale)

    @torch.no_grad()
    def _step(self) -> None:
        before = [p.clone() for p in self.stacked]
        self.optimizer.step()
        for p, old in zip(self.stacked, before, strict=True):
            p.copy_(torch.lerp(old, p, self.rates))

    @torch.no_grad()
    def _hand_out(self) -> None:
        """Give the members their weights."""
        for k, member in enumerate(self.members):
            for p, stacked in zip(member.bridge.parameters(), self.stacked, strict=True):
                p.copy_(stacked[k, : p.shape[0], : p.shape[1]])
