"""Frozen encoders with the weights that a configuration asks for; weights=local are trained once and kept."""

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
from torch import Tensor

from benchmark.common.keys import source_digest
from benchmark.common.machine import computing
from benchmark.common.progress import Progress, silent
from benchmark.common.store import Store
from benchmark.config.options import Blocks
from benchmark.config.schema import Config, EncoderOptions
from benchmark.data.base import PairedWindows
from benchmark.data.splits import Split
from benchmark.encoders import base, descriptors, pretraining, registry
from benchmark.encoders.base import Encoder

Side = Literal["old", "new"]
SIDES: tuple[Side, Side] = ("old", "new")


def options_of(config: Config, side: Side) -> EncoderOptions:
    return config.old if side == "old" else config.new


def encoder_module(name: str) -> ModuleType:
    """The file of an encoder: part of the key of what it computes."""
    return sys.modules[registry.encoder_class(name).__module__]


class Kept:
    """Named tensors that are computed once and kept: an entry of one row in the folder ``what`` of the cache."""

    def __init__(self, config: Config, what: str, key: Mapping[str, Any]):
        self.store, self.key = Store(Path(config.cache) / what), {**key, **computing(config.device)}

    @property
    def path(self) -> Path:
        return self.store.path(self.key)

    def seconds(self) -> float | None:
        """What computing took; None where they are not there, or damaged, which is warned of."""
        entry = self.store.open(self.key)
        return None if entry is None else entry.seconds

    def tensors(self, compute: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """The tensors as they are on disk; computed and written first where they are not there or damaged."""
        entry = self.store.open(self.key)
        if entry is None:
            begin = time.perf_counter()
            rows = {name: tensor.detach().cpu()[None].numpy() for name, tensor in compute().items()}
            with self.store.writer(self.key) as writer:
                writer.add(rows, time.perf_counter() - begin)
            entry = self.store.written(self.key)
        return {name: chunks[0][0] for name, chunks in entry.items()}


def kept_weights(config: Config, data: PairedWindows, split: Split, side: Side) -> Kept:
    """The local weights of a side, which are trained on its windows of train and pair."""
    options = options_of(config, side)
    key = {
        "what": "local weights",
        "encoder": options.name,
        "preset": options.preset,
        **data.windows_key(options.modality, np.union1d(split.train, split.pair)),
        "options": config.pretraining.model_dump(),
        "seed": config.seed,
        "code": source_digest(pretraining, descriptors, base, encoder_module(options.name)),
    }
    return Kept(config, "weights", key)


def identity(config: Config, data: PairedWindows, split: Split, side: Side) -> str:
    """Equal for splits whose encoder has the same weights."""
    options = options_of(config, side)
    return kept_weights(config, data, split, side).path.stem if options.weights == "local" else options.weights


def pretrained(config: Config, data: PairedWindows, split: Split, side: Side, progress: Progress = silent) -> Encoder:
    """The frozen encoder of a side; weights=local are trained without labels where they are not kept."""
    options = options_of(config, side)
    windows, local = data.side(options.modality), options.weights == "local"
    encoder = registry.build(
        options.name,
        windows.spec,
        preset=options.preset,
        weights="random" if local else options.weights,
        seed=config.seed,
        device=config.device,
    )

    def train() -> Mapping[str, Tensor]:
        unlabelled = windows.take(np.union1d(split.train, split.pair))
        pretraining.pretrain(encoder, unlabelled, config.pretraining, config.seed, progress)
        return encoder.state_dict()

    if local:
        encoder.load_state_dict(kept_weights(config, data, split, side).tensors(train))
    return encoder.freeze()


def check_weights(config: Config, data: PairedWindows) -> None:
    """Load the weights that are not made here, and forget them; InputError where they are not there or not of the
    encoder."""
    for options in (config.old, config.new):
        if options.weights not in ("local", "random"):
            registry.build(
                options.name, data.side(options.modality).spec, options.preset, options.weights, device="cpu"
            )


@dataclass(frozen=True)
class Shapes:
    """Both encoders without memory: what their blocks take, and how many parameters they have."""

    old: Encoder
    new: Encoder
    n_classes: int

    @property
    def blocks(self) -> Blocks:
        """What search spaces depend on."""
        sides = (self.new, self.old)
        widths = (max(encoder.shape_at(k)[1] for k in range(encoder.n_blocks + 1)) for encoder in sides)
        return Blocks(self.new.n_blocks, self.old.n_blocks, *widths)


def shapes_of(config: Config, data: PairedWindows) -> Shapes:
    """The shapes of a configuration's encoders. InputError for encoders that do not take the data."""
    old, new = (
        registry.build(side.name, data.side(side.modality).spec, side.preset, weights="random", device="meta")
        for side in (config.old, config.new)
    )
    return Shapes(old, new, len(data.classes))
