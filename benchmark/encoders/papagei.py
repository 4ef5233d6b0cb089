"""PaPaGei-S: a pre-activation residual network over PPG at 125 Hz, with mixture-of-experts heads.

Pillai, Spathis, Kawsar and Malekzadeh, "PaPaGei: Open Foundation Models for Optical Physiological
Signals", ICLR 2025.

Shapes: B windows, N samples, C filters and T time steps (both change along the blocks).
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.data.signals.spec import SignalSpec
from benchmark.encoders.base import Encoder, ReleasedWeights
from benchmark.errors import InputError

DOWNSAMPLE_GAP = 2
FILTER_GAP = 4


class SameConv(nn.Module):
    """A 1-D convolution with SAME padding: ceil(T / stride) steps come out, the smaller half is padded left."""

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int = 1):
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.conv = nn.Conv1d(n_in, n_out, kernel, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[-1]
        padding = max(0, (-(-length // self.stride) - 1) * self.stride + self.kernel - length)
        return self.conv(F.pad(x, (padding // 2, padding - padding // 2)))


class ResidualBlock(nn.Module):
    """BN, ReLU, conv, BN, ReLU, conv, plus a skip that is max-pooled in time and zero-padded in channels."""

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int, first: bool, dropout: float):
        super().__init__()
        self.n_in, self.n_out, self.stride, self.first = n_in, n_out, stride, first
        self.dropout = dropout
        self.bn1 = nn.BatchNorm1d(n_in)  # the first block has it, and does not use it
        self.conv1 = SameConv(n_in, n_out, kernel, stride)
        self.bn2 = nn.BatchNorm1d(n_out)
        self.conv2 = SameConv(n_out, n_out, kernel)

    def forward(self, x: Tensor) -> Tensor:
        out = x
        if not self.first:
            out = F.dropout(F.relu(self.bn1(out)), self.dropout, self.training)
        out = self.conv1(out)
        out = F.dropout(F.relu(self.bn2(out)), self.dropout, self.training)
        out = self.conv2(out)
        skip = x
        if self.stride > 1:
            left = (self.stride - 1) // 2
            skip = F.max_pool1d(F.pad(skip, (left, self.stride - 1 - left)), self.stride)
        extra = self.n_out - self.n_in
        if extra:
            skip = F.pad(skip, (0, 0, extra // 2, extra - extra // 2))
        return out + skip


class PaPaGei(Encoder):
    """One channel of PPG at 125 Hz, standardised. A hidden is (B, C, T); a token is a time step."""

    name = "papagei"
    modalities = ("ppg",)
    rate = 125.0
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {"filters": 16, "depth": 8, "kernel": 5, "stride": 4, "classes": 32, "experts": 3, "dropout": 0.0},
        "s": {"filters": 32, "depth": 18, "kernel": 3, "stride": 2, "classes": 512, "experts": 3, "dropout": 0.5},
    }
    released: ClassVar[Mapping[str, ReleasedWeights]] = {
        "s": ReleasedWeights(
            file="papagei_s.pt",
            url="https://zenodo.org/records/13983110/files/papagei_s.pt",
            page="https://zenodo.org/records/13983110",
            licence="see the Zenodo record",
            checksum="md5:a4cdb32392e2a7b25999128af92813b5",
        )
    }
    example = SignalSpec("ppg", ("BVP",), 125.0, 7500, "z")
    outside_path = ("final_bn.", "dense.", "expert_layers_", "gating_network_")

    def __init__(self, signal: SignalSpec, preset: str = "tiny"):
        super().__init__(signal, preset)
        if signal.n_channels != 1:
            raise InputError(
                f"encoder papagei takes one channel, the ppg windows have {signal.n_channels} "
                f"({', '.join(signal.channels)}); choose one"
            )
        sizes = self.presets[preset]
        filters, kernel, dropout = sizes["filters"], sizes["kernel"], sizes["dropout"]
        self.first_block_conv = SameConv(1, filters, kernel)
        self.first_block_bn = nn.BatchNorm1d(filters)
        self.basicblock_list = nn.ModuleList()
        width = filters
        for k in range(sizes["depth"]):
            n_in = width
            width = 2 * n_in if k and k % FILTER_GAP == 0 else n_in
            stride = sizes["stride"] if k % DOWNSAMPLE_GAP == 1 else 1
            self.basicblock_list.append(ResidualBlock(n_in, width, kernel, stride, k == 0, dropout))
        # What follows is behind the last block: pre-training heads that a student carries along.
        self.final_bn = nn.BatchNorm1d(width)
        self.dense = nn.Linear(width, sizes["classes"])
        self.expert_layers_1 = nn.ModuleList(_expert(width, dropout=None) for _ in range(sizes["experts"]))
        self.gating_network_1 = nn.Sequential(nn.Linear(width, sizes["experts"]), nn.Softmax(dim=1))
        self.expert_layers_2 = nn.ModuleList(_expert(width, dropout=0.3) for _ in range(sizes["experts"]))
        self.gating_network_2 = nn.Sequential(nn.Linear(width, sizes["experts"]), nn.Softmax(dim=1))

    @property
    def block_names(self) -> tuple[str, ...]:
        return tuple(f"basicblock_list.{k}" for k in range(len(self.basicblock_list)))

    def prepare(self, windows: np.ndarray) -> Tensor:
        """(B, 1, N) -> (B, 1, N), unchanged: data sets filter and standardise."""
        return self._windows(windows)

    def embed(self, inputs: Tensor) -> Tensor:
        return F.relu(self.first_block_bn(self.first_block_conv(inputs)))

    def run(self, hidden: Tensor, start: int, stop: int) -> Tensor:
        self._check_blocks(start, stop)
        for block in self.basicblock_list[start:stop]:
            hidden = block(hidden)
        return hidden

    def to_tokens(self, hidden: Tensor) -> Tensor:
        return hidden.transpose(1, 2)

    def from_tokens(self, tokens: Tensor) -> Tensor:
        return tokens.transpose(1, 2)

    def shape_at(self, block: int) -> tuple[int, int]:
        steps, width = self.signal.n_samples, self.presets[self.preset]["filters"]
        for earlier in self.basicblock_list[:block]:
            steps, width = -(-steps // earlier.stride), earlier.n_out  # type: ignore[operator, assignment]
        return steps, width


def _expert(width: int, dropout: float | None) -> nn.Sequential:
    hidden = [nn.Linear(width, width // 2), nn.ReLU(), *([] if dropout is None else [nn.Dropout(dropout)])]
    return nn.Sequential(*hidden, nn.Linear(width // 2, 1))
