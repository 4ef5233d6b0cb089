"""HuBERT-ECG: a convolutional feature extractor and a post-norm transformer over ECG at 100 Hz.

Coppola et al., "HuBERT-ECG as a self-supervised foundation model for broad and scalable cardiac
applications", medRxiv 2024.11.14.24317328. The layers are those of transformers' ``HubertModel``.

Shapes: B windows, C leads, N samples a lead, T tokens, D features.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from transformers import HubertConfig, HubertModel

from benchmark.data.signals.spec import SignalSpec
from benchmark.encoders.base import Encoder, ReleasedWeights
from benchmark.errors import InputError

KERNELS = (10, 3, 3, 2, 2)
STRIDES = (4, 2, 2, 2, 2)


def _released(size: str, sha256: str) -> ReleasedWeights:
    page = f"https://huggingface.co/Edoardo-BS/hubert-ecg-{size}"
    return ReleasedWeights(
        file=f"hubert-ecg-{size}.safetensors",
        url=f"{page}/resolve/main/model.safetensors",
        page=page,
        licence="CC BY-NC 4.0",
        checksum=f"sha256:{sha256}",
    )


def _size(width: int, depth: int, heads: int, projection: int, filters: int = 512, **more: Any) -> dict[str, Any]:
    sizes = {"width": width, "depth": depth, "heads": heads, "projection": projection, "filters": filters}
    return {**sizes, "position_kernel": 128, "position_groups": 16, "dropout": 0.1, **more}


class HubertECG(Encoder):
    """ECG at 100 Hz; leads are laid end to end. A hidden is (B, T, D).

    LayerDrop and SpecAugment are off in every mode; dropout is the original's while training.
    """

    name = "hubert_ecg"
    modalities = ("ecg",)
    rate = 100.0
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": _size(48, 4, 4, 32, filters=32, position_kernel=32, position_groups=4, dropout=0.0),
        "small": _size(512, 8, 8, 256),
        "base": _size(768, 12, 12, 256),
        "large": _size(960, 16, 12, 512),
    }
    released: ClassVar[Mapping[str, ReleasedWeights]] = {
        "small": _released("small", "c78fa955268212f8ed20bc69fb1b882d76a4351df2466061335950949394a4d2"),
        "base": _released("base", "05bc1b1317f8e3063811a03fb840f5bf8a85968191e209c0cfbaa0c52c8aa1ae"),
        "large": _released("large", "9a0eb8484f73793aa678936984243da92ae80d7b81e2fe77d1ea6dee2bdf5ec2"),
    }
    example = SignalSpec("ecg", ("X2",), 100.0, 3000, "z")
    outside_path = ("masked_spec_embed", "final_proj.", "label_embedding.")

    def __init__(self, signal: SignalSpec, preset: str = "tiny"):
        super().__init__(signal, preset)
        sizes = self.presets[preset]
        self.width: int = sizes["width"]
        self.n_tokens = _conv_length(signal.n_channels * signal.n_samples)
        if self.n_tokens < 1:
            raise InputError(
                f"encoder hubert_ecg needs at least {_shortest()} samples a window, the ecg windows have "
                f"{signal.n_channels} x {signal.n_samples}; choose a longer window"
            )
        dropout = sizes["dropout"]
        config = HubertConfig(
            hidden_size=self.width,
            num_hidden_layers=sizes["depth"],
            num_attention_heads=sizes["heads"],
            intermediate_size=4 * self.width,
            conv_dim=(sizes["filters"],) * len(KERNELS),
            conv_kernel=KERNELS,
            conv_stride=STRIDES,
            num_conv_pos_embeddings=sizes["position_kernel"],
            num_conv_pos_embedding_groups=sizes["position_groups"],
            hidden_dropout=dropout,
            activation_dropout=dropout,
            attention_dropout=dropout,
            layerdrop=0.0,
            apply_spec_augment=False,
            do_stable_layer_norm=False,
        )
        model = HubertModel(config)
        # not the model's own, which ignores the default device
        self.masked_spec_embed = nn.Parameter(torch.empty(self.width).uniform_())
        self.feature_extractor = model.feature_extractor
        self.feature_projection = model.feature_projection
        self.encoder = model.encoder
        self.final_proj = nn.ModuleList([nn.Linear(self.width, sizes["projection"])])
        self.label_embedding = nn.ModuleList([nn.Embedding(100, sizes["projection"])])

    @property
    def block_names(self) -> tuple[str, ...]:
        return tuple(f"encoder.layers.{k}" for k in range(len(self.encoder.layers)))

    def prepare(self, windows: np.ndarray) -> Tensor:
        """(B, C, N) -> (B, C N), unchanged otherwise: data sets filter and standardise."""
        return self._windows(windows).flatten(1)

    def embed(self, inputs: Tensor) -> Tensor:
        features = inputs.unsqueeze(1)
        # the layers one by one: their container would set requires_grad on the input while training
        for layer in self.feature_extractor.conv_layers:
            features = layer(features)
        hidden = self.feature_projection(features.transpose(1, 2))
        hidden = self.encoder.layer_norm(hidden + self.encoder.pos_conv_embed(hidden))
        return self.encoder.dropout(hidden)

    def run(self, hidden: Tensor, start: int, stop: int) -> Tensor:
        self._check_blocks(start, stop)
        for layer in self.encoder.layers[start:stop]:
            output = layer(hidden)
            hidden = output[0] if isinstance(output, tuple) else output
        return hidden

    def to_tokens(self, hidden: Tensor) -> Tensor:
        return hidden

    def from_tokens(self, tokens: Tensor) -> Tensor:
        return tokens

    def shape_at(self, block: int) -> tuple[int, int]:
        return self.n_tokens, self.width

    def _adapt(self, entries: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
        conv = "encoder.pos_conv_embed.conv."
        new = {
            conv + "weight_g": conv + "parametrizations.weight.original0",
            conv + "weight_v": conv + "parametrizations.weight.original1",
        }
        return {new.get(name, name): value for name, value in entries.items()}, []


def _conv_length(n_samples: int) -> int:
    """Tokens that the convolutions make of ``n_samples``."""
    for kernel, stride in zip(KERNELS, STRIDES, strict=True):
        n_samples = (n_samples - kernel) // stride + 1
    return n_samples


def _shortest() -> int:
    n = 1
    for kernel, stride in zip(reversed(KERNELS), reversed(STRIDES), strict=True):
        n = (n - 1) * stride + kernel
    return n
