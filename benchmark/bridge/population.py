"""Several bridges at one position as one: a forward and a backward for all of them.

Shapes: K members, B windows of a batch, D features, T tokens.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmark.bridge.objectives import MOST_GRADIENT
from benchmark.method import Epoch

Member = Any
"""A ``training.Bridge``; that file imports this one."""


class Population:
    """Bridges at one position that take their training steps together: one forward and backward for all of them.

    Members may differ in rank, prototypes, learning rate, initial values and order of windows; each is trained as it
    would be alone, but for rounding. Smaller ones are padded with zeros, which receive no gradient and stay zero.

    Raises
    ------
    ValueError
        If members differ in what they must share.
    """

    def __init__(self, members: Sequence[Member]):
        self.members, self.first = members, members[0]
        for name in type(members[0].options).shared:
            found = {getattr(member.options, name) for member in members}
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
        decay = self.first.options.weight_decay
        kind = torch.optim.AdamW if decay else torch.optim.Adam
        self.optimizer = kind(self.stacked, lr=1.0, weight_decay=decay, fused=True)
        rates = [member.learning_rate for member in members]
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
        for rows in orders.split(first.options.batch_size, dim=1):
            x, target = self._perturbed(first.x[rows], first.target[rows].to(first.x))
            output = first.compared(self._outputs(x))
            losses = self.losses(output.view(*rows.shape, *output.shape[1:]), target)
            self.optimizer.zero_grad()
            losses.sum().backward()
            self._rescale_large_gradients()
            self._step()
            totals, steps = totals + losses.detach(), steps + 1
        self._hand_out()
        return [Epoch(total / steps, steps, n) for total in totals.tolist()]

    def _perturbed(self, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """(K, B, ...), each member's as it would be alone."""
        options = self.first.options
        if not options.dropout and not options.mixing:
            return x, target
        found = [member.perturbed(x[k], target[k]) for k, member in enumerate(self.members)]
        xs, targets = zip(*found, strict=True)
        return torch.stack(xs), torch.stack(targets)

    def _rescale_large_gradients(self, most: float = MOST_GRADIENT) -> None:
        """``rescale_large_gradients``, for each member by itself."""
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
            member.end_epoch()
