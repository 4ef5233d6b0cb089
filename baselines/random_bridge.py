"""Floor: a bridge that was never trained, from the last new block into the first old one."""

import numpy as np
import torch
from torch import Tensor

from benchmark.bridge.layout import to_block_input
from benchmark.bridge.network import PrototypeBridge
from benchmark.config.options import MethodOptions
from benchmark.encoders.registry import parameter_count
from benchmark.frozen.task import Task
from benchmark.method import Method, linear_parameters

RANK, PROTOTYPES = 8, 32


class RandomBridge(Method):
    """What the frozen models, and a random map between them, give by themselves. B, which a bridge starts at zero, is
    normal like the prototypes."""

    name = "random_bridge"
    label = "Random bridge"
    kind = "floor"

    def __init__(self, task: Task, options: MethodOptions, seed: int):
        self.task, self.old, self.new = task, task.old, task.new
        generator = torch.Generator().manual_seed(seed)
        width = self.new.shape_at(self.new.n_blocks)[1]
        self.bridge = PrototypeBridge(width, *self.old.shape_at(0), RANK, PROTOTYPES, generator).requires_grad_(False)
        self.bridge.B.copy_(torch.randn(self.bridge.B.shape, generator=generator))
        self.bridge.to(task.device, self.new.dtype)
        encoders = sum(parameter_count(encoder, backbone_only=True) for encoder in (self.old, self.new))
        self.stored_parameters = (
            encoders + linear_parameters(task.head) + sum(p.numel() for p in self.bridge.parameters())
        )

    def _logits(self, x: Tensor) -> Tensor:
        hidden = to_block_input(self.old, self.bridge(x))
        return self.task.decide(self.old.pool(self.old.run(hidden, 0, self.old.n_blocks)))

    @torch.no_grad()
    def logits(self, split: str) -> Tensor:
        x = self.task.pooled("new", split, self.new.n_blocks)
        return torch.cat([self._logits(part) for part in x.split(64)])

    @torch.no_grad()
    def predict(self, windows: np.ndarray) -> Tensor:
        pooled = self.new.pool(self.new(self.new.inputs(windows)))
        return self._logits(self.task.first_seen("new", self.new.n_blocks, pooled))
