"""Frozen encoders with the weights that a configuration asks for; weights=local are trained once and kept."""

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from benchmark.common.files import atomic_write
from benchmark.common.keys import digest, source_digest
from benchmark.common.progress import Progress, silent
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


def local_path(config: Config, data: PairedWindows, split: Split, side: Side) -> Path:
    """Where the local weights of a side lie, whose windows of train and pair they are trained on."""
    options = options_of(config, side)
    key = {
        "what": "local weights",
        "encoder": options.name,
        "preset": options.preset,
        **data.windows_key(options.modality, np.union1d(split.train, split.pair)),
        "options": config.pretraining.model_dump(),
        "seed": config.seed,
        "code": source_digest(pretraining, descriptors, base, encoder_module(options.name)),
        "torch": torch.__version__,
    }
    return Path(config.cache) / "weights" / f"{digest(key)}.safetensors"


def identity(config: Config, data: PairedWindows, split: Split, side: Side) -> str:
    """Equal for splits whose encoder has the same weights."""
    options = options_of(config, side)
    return local_path(config, data, split, side).stem if options.weights == "local" else options.weights


def train_local(config: Config, data: PairedWindows, split: Split, side: Side, progress: Progress = silent) -> Path:
    """The file of weights from self-supervised training on the unlabelled windows of train and pair."""
    path = local_path(config, data, split, side)
    if path.exists():
        return path
    begin = time.perf_counter()
    options = options_of(config, side)
    windows = data.side(options.modality)
    encoder = registry.build(
        options.name, windows.spec, preset=options.preset, weights="random", seed=config.seed, device=config.device
    )
    unlabelled = windows.take(np.union1d(split.train, split.pair))
    pretraining.pretrain(encoder, unlabelled, config.pretraining, config.seed, progress)
    save_tensors(path, encoder.state_dict(), time.perf_counter() - begin)
    return path


def pretrained(config: Config, data: PairedWindows, split: Split, side: Side, progress: Progress = silent) -> Encoder:
    """The frozen encoder of a side."""
    options = options_of(config, side)
    weights: str | Path = options.weights
    if weights == "local":
        weights = train_local(config, data, split, side, progress)
    spec = data.side(options.modality).spec
    encoder = registry.build(
        options.name, spec, preset=options.preset, weights=weights, seed=config.seed, device=config.device
    )
    return encoder.freeze()


def shapes(config: Config, data: PairedWindows, side: Side) -> Encoder:
    """The encoder of a side without memory: what its blocks take, and how many parameters they have."""
    options = options_of(config, side)
    spec = data.side(options.modality).spec
    return registry.build(options.name, spec, preset=options.preset, weights="random", device="meta")


def save_tensors(path: Path, state: Mapping[str, Tensor], seconds: float) -> None:
    """Write tensors whole, with the seconds that computing them took."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    with atomic_write(path) as temporary:
        safetensors.torch.save_file(state, str(temporary), metadata={"seconds": f"{seconds:.3f}"})


def seconds_of(path: Path) -> float:
    """What computing a file of ``save_tensors`` took."""
    with safetensors.safe_open(str(path), "pt") as opened:
        found: Mapping[str, Any] = opened.metadata()
        return float(found["seconds"])
