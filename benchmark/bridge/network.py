"""The prototype bridge: the only thing that is trained between two frozen encoders.

Shapes: B windows, D features, T tokens of the old block's input, r rank, P prototypes.
Source: BioX-Bridge (Li et al., ICLR 2026, arXiv 2510.02276), section on the prototype network.
"""

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.errors import InputError


class PrototypeBridge(nn.Module):
    """Low-rank weights over learned prototypes: (B, D_new) -> (B, D_old, T).

    ``weights = (x A^T) B^T`` is viewed as (B, P, T), and the output is ``prototypes @ weights``. There is no
    softmax. A is Kaiming-uniform with a = sqrt(5), B starts at zero, prototypes are standard normal. One that was
    ``folded`` adds an offset (r,) to ``x A^T``.

    Args:
        d_new: width of the pooled new features.
        tokens: T, tokens of the old block's input (1 at the head).
        d_old: width of the old block's input.
        rank: r >= 1.
        prototypes: P >= 1.
        generator: where the initial values are drawn from; torch's default if absent.
    """

    def __init__(
        self,
        d_new: int,
        tokens: int,
        d_old: int,
        rank: int,
        prototypes: int,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        for option, value in (("bridge.rank", rank), ("bridge.prototypes", prototypes)):
            if value < 1:
                raise InputError(f"{option}={value}: a bridge needs a whole number of at least 1; raise {option}")
        self.tokens = tokens
        self.offset: Tensor | None = None
        self.A = nn.Parameter(torch.empty(rank, d_new))
        self.B = nn.Parameter(torch.zeros(prototypes * tokens, rank))
        self.prototypes = nn.Parameter(torch.randn(d_old, prototypes, generator=generator))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5), generator=generator)

    @torch.no_grad()
    def set_prototypes(self, tokens: Tensor) -> None:
        """Start from real token vectors, (P, D_old): the ``randreal`` initialisation."""
        self.prototypes.copy_(tokens.T)

    def forward(self, x: Tensor) -> Tensor:
        inner = x @ self.A.T
        weights = (inner if self.offset is None else inner + self.offset) @ self.B.T
        return self.prototypes @ weights.view(len(x), -1, self.tokens)

    @torch.no_grad()
    def folded(self, mean: Tensor, deviation: Tensor) -> "PrototypeBridge":
        """The bridge that makes of x what this one makes of ``standardised`` x, at the cost of one addition."""
        other = copy.deepcopy(self)
        other.A = nn.Parameter(self.A[:, :-1] / deviation)
        other.offset = self.A[:, -1] - other.A @ mean
        return other


def standardised(x: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """(x - mean) / deviation, and a constant 1 behind it, without which a mean of the output could not be learned:
    (B, D) -> (B, D + 1)."""
    return F.pad((x - mean) / deviation, (0, 1), value=1.0)


def count_parameters(d_new: int, tokens: int, d_old: int, rank: int, prototypes: int) -> int:
    """Trainable parameters of a bridge: r D_new + P T r + D_old P."""
    return rank * d_new + prototypes * tokens * rank + d_old * prototypes
