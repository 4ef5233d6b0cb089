"""One loss of a batch whose windows are shared among the workers of a student.

Shapes: B windows of a batch, or of a part of it, b of a worker's share, W workers, C channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, distributed, nn

if TYPE_CHECKING:
    from baselines._student import Student

Moments = Sequence[tuple[Tensor, Tensor]]
"""Mean and deviation (N, D) of each window's wearer, by block; none without calibration to the wearer."""


@dataclass
class Share:
    """How many of the ``windows`` of a batch are a worker's ``own``; others that it has are padding."""

    own: int = 0
    windows: int = 0


class Step(nn.Module):
    """Windows of a batch (B,), the same in all workers -> their loss, the same in all workers.

    What a worker's share comes to is gathered from all, with its gradient, and the loss is computed in each.
    """

    def __init__(self, student: "Student", rank: int, size: int):
        super().__init__()
        self.parts = student.parts
        self.student, self.rank, self.size, self.share = student, rank, size, Share()
        for module in self.modules():
            if type(module) is nn.BatchNorm1d:
                module.__class__ = WholeBatchNorm
                vars(module)["share"] = self.share

        self.wearers: Moments = []

    def forward(self, rows: Tensor) -> Tensor:
        shares = rows.tensor_split(self.size)
        mine, most = shares[self.rank], len(shares[0])
        self.share.own, self.share.windows = len(mine), len(rows)
        padded = torch.cat([mine, rows[:1].expand(most - len(mine))])
        pooled = [
            torch.cat([x[: len(share)] for x, share in zip(gathered(outputs), shares, strict=True)])
            for outputs in self.student.pooled(padded)
        ]
        return self.student.loss_of(pooled, rows, self.wearers)


class WholeBatchNorm(nn.BatchNorm1d):
    """Batch normalisation (b, C, ...) by the moments of all workers' shares, without what pads them.

    PyTorch's SyncBatchNorm computes on GPUs alone, and has no padding.
    """

    share: Share

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        own = x[: self.share.own].float().transpose(0, 1).flatten(1)
        n = self.share.windows * x[0, 0].numel()
        mean = gathered(own.sum(1)).sum(0) / n
        variance = gathered((own - mean[:, None]).square().sum(1)).sum(0) / n
        self._remember(mean.detach(), variance.detach() * n / max(1, n - 1))
        scale = self.weight / (variance + self.eps).sqrt()
        mean, scale, bias = (value.view(-1, *[1] * (x.dim() - 2)) for value in (mean, scale, self.bias))
        return ((x - mean) * scale + bias).to(x.dtype)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked.add_(1)


class Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        found = [torch.empty_like(x) for _ in range(distributed.get_world_size())]
        distributed.all_gather(found, x.contiguous())
        return torch.stack(found)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        distributed.all_reduce(total)
        return total[distributed.get_rank()]


def gathered(x: Tensor) -> Tensor:
    """A tensor of each worker, (b, ...) -> all by rank, (W, b, ...), in every worker.

    The gradient is that of the sum of the workers' losses, W times that of one; DeepSpeed takes the mean over workers.
    """
    return Gathered.apply(x)
