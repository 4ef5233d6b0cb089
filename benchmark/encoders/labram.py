"""LaBraM: a transformer over one-second EEG patches of any set of 10-20 channels.

Jiang, Zhao and Lu, "Large Brain Model for Learning Generic Representations with Tremendous EEG Data in
BCI", ICLR 2024. Used without its absolute position embedding, so that channels are a set.

Shapes: B windows, C channels, P patches a channel, S = 200 samples a patch, T = 1 + C P tokens, D features.
"""

import math
import re
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.data.signals.spec import SignalSpec
from benchmark.encoders.base import Encoder, ReleasedWeights
from benchmark.errors import InputError

PATCH = 200
"""Samples of a patch: one second at 200 Hz."""
MICROVOLTS = {"uV": 1.0, "mV": 1e3, "V": 1e6}

_PLACES: dict[str, tuple[str | int, ...]] = {
    "Fp": ("z", 1, 2),
    **dict.fromkeys(("AF", "F", "P", "PO"), ("z", *range(1, 11))),
    **dict.fromkeys(("FC", "C", "CP"), ("z", *range(1, 7))),
    **dict.fromkeys(("FT", "T", "TP"), (7, 8, 9, 10)),
    "O": ("z", 1, 2, 9, 10),
    "I": ("z", 1, 2),
    "A": (1, 2),
    "M": (1, 2),
}
_ELECTRODES = [f"{row}{place}" for row, places in _PLACES.items() for place in places] + ["T1", "T2"]
_KNOWN = {name.upper(): name for name in _ELECTRODES} | {"T3": "T7", "T4": "T8", "T5": "P7", "T6": "P8"}
_REFERENCES = r"A1|A2|M1|M2|A1A2|M1M2|A1\+A2|M1\+M2|REF|LE|LER|AVG|AV|AR|CAR"
_CHANNEL = re.compile(rf"(?:EEG[\s_:-]*)?([A-Z]{{1,3}}\d{{0,2}})\.*(?:[\s_:-]*(?:{_REFERENCES}))?", re.IGNORECASE)


def electrode(channel: str) -> str | None:
    """The 10-10 name of an EEG channel, or None: ``"EEG FP1-A2"`` -> ``"Fp1"``, ``"T3"`` -> ``"T7"``."""
    match = _CHANNEL.fullmatch(channel.strip())
    return _KNOWN.get(match[1].upper()) if match else None


class PatchEmbedding(nn.Module):
    """(B, C, P, S) -> (B, C P, D): conv, GroupNorm, GELU, three times; features ordered (time, filter)."""

    def __init__(self, filters: int, kernel: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(1, filters, (1, kernel), stride=(1, stride), padding=(0, kernel // 2))
        self.norm1 = nn.GroupNorm(4, filters)
        self.conv2 = nn.Conv2d(filters, filters, (1, 3), padding=(0, 1))
        self.norm2 = nn.GroupNorm(4, filters)
        self.conv3 = nn.Conv2d(filters, filters, (1, 3), padding=(0, 1))
        self.norm3 = nn.GroupNorm(4, filters)

    def forward(self, patches: Tensor) -> Tensor:
        x = patches.flatten(1, 2).unsqueeze(1)  # (B, 1, C P, S)
        x = F.gelu(self.norm1(self.conv1(x)))
        x = F.gelu(self.norm2(self.conv2(x)))
        x = F.gelu(self.norm3(self.conv3(x)))
        return x.permute(0, 2, 3, 1).flatten(2)


class Attention(nn.Module):
    """Self-attention without bias on q, k, v, and with LayerNorm on every head's q and k."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_norm = nn.LayerNorm(width // heads, eps=1e-6)
        self.k_norm = nn.LayerNorm(width // heads, eps=1e-6)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each (B, heads, T, D / heads)
        mixed = F.scaled_dot_product_attention(self.q_norm(q).type_as(v), self.k_norm(k).type_as(v), v)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class MLP(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """A pre-norm transformer block whose residuals are scaled by ``gamma_1`` and ``gamma_2``."""

    def __init__(self, width: int, heads: int, layer_scale: float):
        super().__init__()
        self.gamma_1 = nn.Parameter(torch.full((width,), layer_scale))
        self.gamma_2 = nn.Parameter(torch.full((width,), layer_scale))
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = MLP(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.gamma_1 * self.attn(self.norm1(x))
        return x + self.gamma_2 * self.mlp(self.norm2(x))


def _size(width: int, depth: int, heads: int, **more: Any) -> dict[str, Any]:
    return {"width": width, "depth": depth, "heads": heads, "filters": 8, **more}


class LaBraM(Encoder):
    """EEG at 200 Hz, microvolts. A hidden is (B, 1 + C P, D), the CLS token first, then channel by channel.

    ``time_positions`` is the size of the time embedding; by default the pre-training's, or the number of
    patches if a window has more. ``time_embedding`` says what to do with released weights that have fewer
    positions than that: ``"interpolate"`` them linearly, or leave them ``"random"``.
    """

    name = "labram"
    modalities = ("eeg",)
    rate = 200.0
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": _size(40, 4, 4, kernel=41, stride=40, positions=1, init_std=0.1, layer_scale=1.0),
        "base": _size(200, 12, 10, kernel=15, stride=8, positions=16, init_std=0.02, layer_scale=0.1),
    }
    released: ClassVar[Mapping[str, ReleasedWeights]] = {
        "base": ReleasedWeights(
            file="labram-base.pth",
            url="https://github.com/935963004/LaBraM/raw/main/checkpoints/labram-base.pth",
            page="https://github.com/935963004/LaBraM",
            licence="MIT",
            checksum="sha256:7c50583826afac76c4ab18f43d958df40496c8229accc09ed6a227c9bb57c37c",
        )
    }
    example = SignalSpec("eeg", ("F3", "C3", "O1", "F4", "C4", "O2"), 200.0, 6000, "uV")
    outside_path = ("fc_norm.",)

    def __init__(
        self,
        signal: SignalSpec,
        preset: str = "tiny",
        time_positions: int | None = None,
        time_embedding: str = "interpolate",
    ):
        super().__init__(signal, preset)
        if signal.n_samples == 0 or signal.n_samples % PATCH:
            raise InputError(
                f"encoder labram takes windows of whole {PATCH}-sample patches, the eeg windows have "
                f"{signal.n_samples} samples; choose a window of whole seconds"
            )
        unknown = [channel for channel in signal.channels if electrode(channel) is None]
        if unknown:
            raise InputError(
                f"encoder labram does not know the eeg channel(s) {', '.join(unknown)}; it takes electrodes of the "
                "10-20 and 10-10 systems such as Fp1, T3 or 'EEG F3-A2': rename or drop the others"
            )
        if signal.unit not in MICROVOLTS:
            raise InputError(
                f"encoder labram takes eeg in {', '.join(MICROVOLTS)}, the windows are in {signal.unit!r}; "
                "leave them unstandardised"
            )
        if time_embedding not in ("interpolate", "random"):
            raise InputError(f"time_embedding is {time_embedding!r}; choose interpolate or random")
        sizes = self.presets[preset]
        self.n_patches = signal.n_samples // PATCH
        positions = max(sizes["positions"], self.n_patches) if time_positions is None else time_positions
        if positions < self.n_patches:
            raise InputError(
                f"time_positions is {positions}, a window has {self.n_patches} patches; give at least that many"
            )
        self.width: int = sizes["width"]
        self.time_embedding = time_embedding
        self.cls_token = nn.Parameter(torch.zeros(1, 1, self.width))
        self.time_embed = nn.Parameter(torch.zeros(1, positions, self.width))
        self.patch_embed = PatchEmbedding(sizes["filters"], sizes["kernel"], sizes["stride"])
        self.blocks = nn.ModuleList(
            Block(self.width, sizes["heads"], sizes["layer_scale"]) for _ in range(sizes["depth"])
        )
        # The original's head reads the patches' mean through this norm; students carry it, blocks do not.
        self.fc_norm = nn.LayerNorm(self.width, eps=1e-6)
        self._initialise(sizes["init_std"])

    def _initialise(self, std: float) -> None:
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        nn.init.trunc_normal_(self.time_embed, std=0.02)
        for depth, block in enumerate(self.blocks, start=1):
            for module in block.modules():
                if isinstance(module, nn.Linear):
                    nn.init.trunc_normal_(module.weight, std=std)
                    if module.bias is not None:
                        nn.init.zeros_(module.bias)
            with torch.no_grad():
                block.attn.proj.weight.div_(math.sqrt(2.0 * depth))  # type: ignore[union-attr, operator]
                block.mlp.fc2.weight.div_(math.sqrt(2.0 * depth))  # type: ignore[union-attr, operator]

    @property
    def block_names(self) -> tuple[str, ...]:
        return tuple(f"blocks.{k}" for k in range(len(self.blocks)))

    def prepare(self, windows: np.ndarray) -> Tensor:
        """(B, C, N) in ``signal.unit`` -> (B, C, P, 200) in units of 100 microvolts."""
        scale = MICROVOLTS[self.signal.unit] / 100.0
        return (self._windows(windows) * scale).unflatten(-1, (-1, PATCH))

    def embed(self, inputs: Tensor) -> Tensor:
        channels, patches = inputs.shape[1:3]
        tokens = self.patch_embed(inputs) + self.time_embed[:, :patches].repeat(1, channels, 1)
        return torch.cat([self.cls_token.expand(len(tokens), -1, -1).to(tokens.dtype), tokens], dim=1)

    def run(self, hidden: Tensor, start: int, stop: int) -> Tensor:
        self._check_blocks(start, stop)
        for block in self.blocks[start:stop]:
            hidden = block(hidden)
        return hidden

    def to_tokens(self, hidden: Tensor) -> Tensor:
        return hidden

    def from_tokens(self, tokens: Tensor) -> Tensor:
        return tokens

    def shape_at(self, block: int) -> tuple[int, int]:
        return 1 + self.signal.n_channels * self.n_patches, self.width

    def _adapt(self, entries: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
        table = entries.get("time_embed")
        positions = self.time_embed.shape[1]
        if table is None or table.ndim != 3 or table.shape[1] == positions:
            return entries, []
        entries = dict(entries)
        line = f"time_embed: {table.shape[1]} -> {positions} positions, "
        if table.shape[1] > positions:
            entries["time_embed"] = table[:, :positions]
            return entries, [line + "the first ones kept"]
        if self.time_embedding == "random":
            entries["time_embed"] = self.time_embed.detach()
            return entries, [line + "random"]
        stretched = F.interpolate(table.float().transpose(1, 2), size=positions, mode="linear", align_corners=True)
        entries["time_embed"] = stretched.transpose(1, 2)
        return entries, [line + "interpolated"]
