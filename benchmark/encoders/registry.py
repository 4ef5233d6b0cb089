"""Encoders by name. An encoder is one file of this package; nothing else needs to know of it."""

import importlib
import logging
import pkgutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

import benchmark.encoders
from benchmark.common import elsewhere
from benchmark.common.suggest import choose
from benchmark.data.signals.spec import SignalSpec
from benchmark.encoders import checkpoints
from benchmark.encoders.base import Encoder
from benchmark.errors import InputError

WEIGHTS_FOLDER = Path("weights")
"""Where released weights are looked for, unless a caller says otherwise."""

_NOT_ENCODERS = {"base", "checkpoints", "descriptors", "pretraining", "registry", "__main__"}
_log = logging.getLogger(__name__)


def names() -> tuple[str, ...]:
    """Names of all encoders, sorted: the modules of this package, without importing them."""
    modules = pkgutil.iter_modules(benchmark.encoders.__path__)
    return tuple(sorted(m.name for m in modules if m.name not in _NOT_ENCODERS and not m.name.startswith("_")))


def encoder_class(name: str) -> type[Encoder]:
    """The class behind a name. Raises InputError that names similar ones."""
    known = names()
    if name not in known:
        raise InputError(f"there is no encoder {name!r}; {choose(name, known)}")
    module = importlib.import_module(f"benchmark.encoders.{name}")
    for value in vars(module).values():
        if isinstance(value, type) and issubclass(value, Encoder) and value.__dict__.get("name") == name:
            return value
    raise TypeError(f"benchmark/encoders/{name}.py has no Encoder whose name is {name!r}")


def build(
    name: str,
    signal: SignalSpec,
    preset: str = "tiny",
    weights: str | Path = "random",
    seed: int = 0,
    device: str | torch.device | None = None,
    weights_folder: str | Path = WEIGHTS_FOLDER,
    **options: Any,
) -> Encoder:
    """An encoder for a signal, in evaluation mode.

    ``weights`` is ``"random"`` (seeded by ``seed``; the caller's random state is left alone), ``"released"``
    (the authors' file, looked for in ``weights_folder``) or the path of a file: as released, or a
    .safetensors file in this package's own names. ``device`` None keeps torch's default device, so that
    ``with torch.device("meta")`` builds without memory. Other options go to the class.
    """
    cls = encoder_class(name)
    path: Path | None = None
    if weights == "released":
        path = released_path(name, preset, weights_folder)
    elif weights != "random":
        path = Path(weights)
    entries = None if path is None else checkpoints.read(path)
    with torch.random.fork_rng(devices=[]):
        # not torch.manual_seed, which would reseed the caller's accelerators too
        torch.default_generator.manual_seed(seed)
        if device is not None and torch.device(device).type == "meta":
            with torch.device("meta"):
                encoder = cls(signal, preset, **options)
        else:
            encoder = cls(signal, preset, **options)
    if entries is not None:
        report = encoder.load_original_state_dict(entries, source=str(path))
        counts = ", ".join(f"{len(report[key])} {key}" for key in ("used", "ignored", "missing"))
        _log.info("%s %s from %s: %s", name, preset, path, "; ".join([counts, *report["adapted"]]))
    if device is not None:
        encoder = encoder.to(device)
    return encoder.eval()


def released_path(name: str, preset: str, weights_folder: str | Path = WEIGHTS_FOLDER) -> Path:
    """Where the authors' weights of a preset lie. Raises InputError that says what to fetch if they do not."""
    cls = encoder_class(name)
    if preset not in cls.released:
        having = ", ".join(cls.released) or "none"
        raise InputError(
            f"there are no released weights for {name} {preset}; presets that have them: {having}: "
            "choose one, or weights=random, or the path of weights that you trained"
        )
    source = cls.released[preset]
    path = Path(weights_folder) / source.file
    if not (path.is_file() or elsewhere.fetch(path)):
        raise InputError(
            f"released weights of {name} {preset} are not at {path}; fetch {source.url} and save it as {path}, or run "
            f"python -m benchmark.encoders fetch {name} --preset {preset} (see {source.page})"
        )
    return path


def parameter_count(encoder: Encoder, backbone_only: bool = False) -> int:
    """Number of parameters; with ``backbone_only`` those of the embedding and the blocks."""
    outside = encoder.outside_path if backbone_only else ()
    return sum(value.numel() for name, value in encoder.named_parameters() if not name.startswith(outside))


def unfrozen(encoder: Encoder) -> Encoder:
    """The encoder, in place, with all its weights to be trained."""
    return encoder.requires_grad_(True)


def reached_parameters(encoder: Encoder, adapt: Callable[[Encoder], object] = unfrozen) -> int:
    """Number of parameters that get a gradient when they are trained through the pooled last block.

    ``adapt``, which must be hashable, says of a copy which are trained: by default all that can be.
    """
    return _reached(encoder.name, encoder.preset, encoder.signal, adapt)


@cache
def _reached(name: str, preset: str, signal: SignalSpec, adapt: Callable[[Encoder], object]) -> int:
    """Counted in a forward and a backward of an encoder without memory."""
    encoder = build(name, signal, preset, device="meta").freeze()
    adapt(encoder)
    if not any(parameter.requires_grad for parameter in encoder.parameters()):
        return 0
    inputs = encoder.inputs(np.zeros((1, signal.n_channels, signal.n_samples), np.float32))
    with torch.enable_grad():
        encoder.pool(encoder(inputs)).sum().backward()
    return sum(parameter.numel() for parameter in encoder.parameters() if parameter.grad is not None)
