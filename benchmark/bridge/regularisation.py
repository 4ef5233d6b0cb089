"""What keeps a bridge from learning its pairs by heart: inputs left out, pairs mixed, weights averaged.

Shapes: B windows of a batch, D features; targets have any further dimensions.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


class Perturbation:
    """Dropout of input features (Srivastava et al., 2014), and mixup of pairs (Zhang et al., 2018, arXiv 1710.09412).

    ``dropout`` is the probability of a feature, ``mixing`` the parameter of the beta distribution that a batch's share
    is drawn from; 0: not at all.
    """

    def __init__(self, dropout: float, mixing: float, seed: int):
        self.dropout, self.mixing = dropout, mixing
        self.generator = torch.Generator().manual_seed(seed)
        self.shares = np.random.default_rng(seed)

    def __call__(self, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """(B, D) and (B, ...), as the bridge is trained on them."""
        if self.mixing:
            share = float(self.shares.beta(self.mixing, self.mixing))
            others = torch.randperm(len(x), generator=self.generator)
            x, target = (share * one + (1 - share) * one[others] for one in (x, target))
        if self.dropout:
            kept = torch.rand(x.shape, generator=self.generator) >= self.dropout
            x = x * kept.to(x) / (1 - self.dropout)
        return x, target

    def state_dict(self) -> dict[str, Any]:
        return {"generator": self.generator.get_state(), "shares": json.dumps(self.shares.bit_generator.state)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.generator.set_state(state["generator"])
        self.shares.bit_generator.state = json.loads(state["shares"])


class Averaging:
    """The mean of a module's weights at the ends of the late epochs (Izmailov et al., 2018, arXiv 1803.05407): those in
    the second half of ``epochs``."""

    def __init__(self, module: nn.Module, epochs: int):
        self.module, self.begin, self.epoch = module, epochs // 2, 0
        self.mean: AveragedModel | None = None

    def end_epoch(self) -> None:
        """Take note of the weights."""
        self.epoch += 1
        if self.epoch > self.begin:
            self.mean = self.mean or AveragedModel(self.module)
            self.mean.update_parameters(self.module)

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "mean": None if self.mean is None else self.mean.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.epoch = state["epoch"]
        if state["mean"] is not None:
            self.mean = AveragedModel(self.module)
            self.mean.load_state_dict(state["mean"])

    @property
    def current(self) -> nn.Module:
        """What predicts: the mean, once there is one."""
        return self.module if self.mean is None else self.mean.module
