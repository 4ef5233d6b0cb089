"""NormWear: a vision transformer over wavelet scalograms, one channel at a time, fused through CLS tokens.

Luo et al., "Toward Foundation Model for Multivariate Wearable Sensing of Physiological Signals",
arXiv 2412.09758. The wavelet transform is that of SciPy before 1.15 (``signal.cwt`` with ``signal.ricker``).

One file because an encoder is one file: its transform is part of the key of what it computes.

Shapes: B windows, C channels, N samples, L = N - 2 time steps of the scalogram, W = 65 widths,
T tokens of one channel, D features.
"""

import math
from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.data.signals.spec import SignalSpec
from benchmark.encoders.base import Encoder, ReleasedWeights
from benchmark.errors import InputError

WIDTHS = 0.1 + np.arange(65)
"""Widths of the Ricker wavelet in samples."""
PRETRAINING_SAMPLES = 390
"""The window that the released decoder reconstructs."""
_CHUNK = 48
"""Signals transformed at once: bounds the scalogram's memory at about 100 MB."""


def ricker(points: float, width: float) -> np.ndarray:
    """The Ricker wavelet, float64, at ``ceil(points)`` unit steps centred on ``(points - 1) / 2``.

    2 / (sqrt(3 a) pi^(1/4)) (1 - t^2 / a^2) exp(-t^2 / (2 a^2)), with a the width in samples.
    """
    squared = ((np.arange(0, points) - (points - 1) / 2) / width) ** 2
    return 2 / (math.sqrt(3 * width) * math.pi**0.25) * (1 - squared) * np.exp(-squared / 2)


@cache
def _wavelets(length: int) -> tuple[Tensor, Tensor, int]:
    """Spectra (W, F) of the reversed wavelets, the first step (W,) of each 'same' output, and the FFT's size."""
    # min() keeps 10 * width as a float: SciPy's arange turned 161.00000000000003 into 162 points
    kernels = [ricker(min(10 * width, length), width)[::-1] for width in WIDTHS]
    size = 2 ** math.ceil(math.log2(length + max(map(len, kernels)) - 1))
    spectra = np.stack([np.fft.rfft(kernel, size) for kernel in kernels])
    firsts = np.array([(len(kernel) - 1) // 2 for kernel in kernels])
    return torch.from_numpy(spectra), torch.from_numpy(firsts), size


def cwt(signals: Tensor) -> Tensor:
    """Continuous wavelet transform with the Ricker wavelet at ``WIDTHS``: (..., L) -> (..., L, W), float32.

    Wavelets have min(10 width, L) points; the convolution is 'same'. Computed by FFT in float64.
    """
    length = signals.shape[-1]
    spectra, firsts, size = _wavelets(length)
    flat = signals.reshape(-1, length)
    out = flat.new_empty(len(flat), length, len(WIDTHS), dtype=torch.float32)
    steps = firsts[:, None] + torch.arange(length, device=firsts.device)  # (W, L)
    for begin in range(0, len(flat), _CHUNK):
        chunk = torch.fft.rfft(flat[begin : begin + _CHUNK].double(), size)
        full = torch.fft.irfft(chunk[:, None] * spectra, size)  # (chunk, W, size)
        out[begin : begin + _CHUNK] = full.gather(2, steps.expand(len(full), -1, -1)).transpose(1, 2)
    return out.reshape(*signals.shape, len(WIDTHS))


def scalogram(windows: Tensor) -> Tensor:
    """(B, C, N) -> (B, C, 3, N - 2, 65): the signal from sample 2, its first and its second difference."""
    first = windows.diff(dim=-1)
    return cwt(torch.stack([windows[..., 2:], first[..., 1:], first.diff(dim=-1)], dim=2))


def sincos_positions(width: int, rows: int, columns: int) -> Tensor:
    """Fixed position table (1, 1 + rows * columns, width): zeros for CLS, then row by row.

    Half of the features encode the column, half the row, as sines and cosines of geometric frequencies.
    """
    omega = 1 / 10000 ** (np.arange(width // 4) / (width // 4))
    row, column = np.divmod(np.arange(rows * columns), columns)
    halves = [f(place[:, None] * omega) for place in (column, row) for f in (np.sin, np.cos)]
    table = np.concatenate([np.zeros((1, width)), np.concatenate(halves, axis=1)])
    return torch.from_numpy(table).float()[None]


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, bias: bool):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=bias)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class MLP(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class TransformerBlock(nn.Module):
    """A pre-norm transformer block, (batch, tokens, D) -> the same."""

    def __init__(self, width: int, heads: int, bias: bool = True):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-5)
        self.attn = Attention(width, heads, bias)
        self.norm2 = nn.LayerNorm(width, eps=1e-5)
        self.mlp = MLP(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class EncoderBlock(nn.Module):
    """A transformer block for each channel; every other block then mixes the channels' CLS tokens."""

    def __init__(self, width: int, heads: int, fuses: bool):
        super().__init__()
        self.variate_encoder = TransformerBlock(width, heads)
        self.cls_fusion = TransformerBlock(width, heads) if fuses else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, D) -> the same."""
        x = self.variate_encoder(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        if self.cls_fusion is not None:
            x = torch.cat([self.cls_fusion(x[:, :, 0]).unsqueeze(2), x[:, :, 1:]], dim=2)
        return x


class PatchEmbedding(nn.Module):
    def __init__(self, width: int, patch: tuple[int, int]):
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)


class SpatialReconstruction(nn.Module):
    """The decoder's mixing of channels. Never run here: a student carries it along."""

    def __init__(self, channels: int, width: int, hidden: int):
        super().__init__()
        self.norm = nn.BatchNorm1d(channels * width)
        self.conv1 = nn.Conv1d(channels * width, hidden, 1)
        self.conv2 = nn.Conv1d(hidden, channels, 1)


class Backbone(nn.Module):
    """The masked autoencoder. Its decoder keeps the size of the pre-training whatever the window."""

    def __init__(self, sizes: Mapping[str, Any], grid: tuple[int, int], pretraining_grid: tuple[int, int]):
        super().__init__()
        width, heads, narrow = sizes["width"], sizes["heads"], sizes["decoder_width"]
        n_decoder_tokens = 1 + math.prod(pretraining_grid)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(sincos_positions(width, *grid).to(self.cls_token.device), requires_grad=False)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, narrow))
        self.decoder_pos_embed = nn.Parameter(
            sincos_positions(narrow, *pretraining_grid).to(self.cls_token.device), requires_grad=False
        )
        self.patch_embed = PatchEmbedding(width, sizes["patch"])
        self.encoder_blocks = nn.ModuleList(EncoderBlock(width, heads, k % 2 == 0) for k in range(sizes["depth"]))
        self.norm = nn.LayerNorm(width, eps=1e-5)
        self.decoder_embed = nn.Linear(width, narrow)
        self.decoder_blocks = nn.ModuleList(
            TransformerBlock(narrow, sizes["decoder_heads"], bias=False) for _ in range(sizes["decoder_depth"])
        )
        self.temporal_recon = nn.Linear(n_decoder_tokens, PRETRAINING_SAMPLES - 2)
        self.spatial_recon = SpatialReconstruction(4, narrow, width // 2)
        self.decoder_norm = nn.LayerNorm(narrow, eps=1e-5)
        nn.init.normal_(self.cls_token, std=0.02)
        nn.init.normal_(self.mask_token, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


class NormWear(Encoder):
    """Any signal at 130 Hz, standardised. A hidden is (B, C, T, D); tokens are (B, C T, D), channel by channel.

    EDA is played 20 times as fast: at 6.5 Hz, 60 s are the 390 samples of the pre-training, and the wavelets reach from
    its 2 Hz down to 0.02 Hz, where responses of the skin and their spacing lie. At 130 Hz they would end at 0.5 Hz.

    Each channel has its own CLS token first. The position table is fixed; weights of another window length
    have theirs interpolated bicubically over the grid of patches, as in the original.
    """

    name = "normwear"
    modalities = ("emg", "ecg", "ppg", "eeg", "eda")
    rate = 130.0
    played: ClassVar[Mapping[str, float]] = {"eda": 6.5}
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {
            "width": 48,
            "depth": 4,
            "heads": 4,
            "patch": (18, 13),
            "decoder_width": 32,
            "decoder_depth": 1,
            "decoder_heads": 4,
        },
        "base": {
            "width": 768,
            "depth": 12,
            "heads": 12,
            "patch": (9, 5),
            "decoder_width": 512,
            "decoder_depth": 2,
            "decoder_heads": 8,
        },
    }
    released: ClassVar[Mapping[str, ReleasedWeights]] = {
        "base": ReleasedWeights(
            file="normwear_pretrain_ckpt.pth",
            url=(
                "https://github.com/Mobile-Sensing-and-UbiComp-Laboratory/NormWear/releases/download/v1.0.0-alpha/"
                "normwear_pretrain_ckpt.pth"
            ),
            page="https://github.com/Mobile-Sensing-and-UbiComp-Laboratory/NormWear/releases/tag/v1.0.0-alpha",
            licence="Apache-2.0",
            checksum="sha256:36d0bca18356ccfc8e8916058bf838f26f1212a646f5780b487ad78581a92561",
        )
    }
    example = SignalSpec("emg", ("EMG1", "EMG2", "EMG3"), 130.0, PRETRAINING_SAMPLES, "z")
    prefix = "backbone."
    outside_path = (
        "backbone.norm.",
        "backbone.mask_token",
        "backbone.decoder_",
        "backbone.temporal_recon.",
        "backbone.spatial_recon.",
    )

    def __init__(self, signal: SignalSpec, preset: str = "tiny"):
        super().__init__(signal, preset)
        sizes = self.presets[preset]
        self.width: int = sizes["width"]
        self.grid = _grid(signal.n_samples, sizes["patch"])
        if self.grid[0] < 1:
            raise InputError(
                f"encoder normwear needs at least {sizes['patch'][0] + 2} samples a window, the {signal.modality} "
                f"windows have {signal.n_samples}; choose a longer window"
            )
        self.backbone = Backbone(sizes, self.grid, _grid(PRETRAINING_SAMPLES, sizes["patch"]))

    @property
    def block_names(self) -> tuple[str, ...]:
        return tuple(f"backbone.encoder_blocks.{k}" for k in range(len(self.backbone.encoder_blocks)))

    def prepare(self, windows: np.ndarray) -> Tensor:
        """(B, C, N) -> scalograms (B, C, 3, N - 2, 65)."""
        return scalogram(self._windows(windows))

    def embed(self, inputs: Tensor) -> Tensor:
        patches = self.backbone.patch_embed(inputs.flatten(0, 1)) + self.backbone.pos_embed[:, 1:]
        cls = (self.backbone.cls_token + self.backbone.pos_embed[:, :1]).expand(len(patches), -1, -1)
        return torch.cat([cls.to(patches.dtype), patches], dim=1).unflatten(0, inputs.shape[:2])

    def run(self, hidden: Tensor, start: int, stop: int) -> Tensor:
        self._check_blocks(start, stop)
        for block in self.backbone.encoder_blocks[start:stop]:
            hidden = block(hidden)
        return hidden

    def to_tokens(self, hidden: Tensor) -> Tensor:
        return hidden.flatten(1, 2)

    def from_tokens(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(1, (self.signal.n_channels, -1))

    def shape_at(self, block: int) -> tuple[int, int]:
        return self.signal.n_channels * (1 + math.prod(self.grid)), self.width

    def requires_grad_(self, requires_grad: bool = True) -> "NormWear":
        super().requires_grad_(requires_grad)
        self.backbone.pos_embed.requires_grad_(False)
        self.backbone.decoder_pos_embed.requires_grad_(False)
        return self

    def _adapt(self, entries: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
        table = entries.get("backbone.pos_embed")
        columns = self.grid[1]
        if table is None or table.ndim != 3 or (table.shape[1] - 1) % columns:
            return entries, []
        rows = (table.shape[1] - 1) // columns
        if rows == self.grid[0]:
            return entries, []
        patches = table[:, 1:].float().unflatten(1, (rows, columns)).permute(0, 3, 1, 2)
        patches = F.interpolate(patches, size=self.grid, mode="bicubic", align_corners=False)
        entries = dict(entries)
        entries["backbone.pos_embed"] = torch.cat([table[:, :1].float(), patches.flatten(2).transpose(1, 2)], dim=1)
        return entries, [f"backbone.pos_embed: {rows} x {columns} -> {self.grid[0]} x {columns} patches, interpolated"]


def _grid(n_samples: int, patch: tuple[int, int]) -> tuple[int, int]:
    """Patches along time and along widths."""
    return (n_samples - 2) // patch[0], len(WIDTHS) // patch[1]
