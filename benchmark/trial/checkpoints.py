"""Where a trial that takes longer than a minute goes on, should its process or its node be lost.

A file of plain tensors and numbers, which is read without running any code. It lies in the cache of the trial's node,
and in that of the driver's, and is removed when the trial ends.
"""

import contextlib
import io
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from benchmark.common import elsewhere
from benchmark.common.files import write_bytes
from benchmark.common.keys import digest, libraries
from benchmark.config.schema import Config
from benchmark.errors import Notice
from benchmark.method import Method
from benchmark.plan import Spec

EVERY = 60.0  # seconds of training between two checkpoints
FOLDER = "checkpoints"
_GARBLED = (OSError, RuntimeError, UnpicklingError, LookupError, ValueError, TypeError, AttributeError, EOFError)


class Checkpoint:
    """A trial's file. Its name says the configuration, the trial and the libraries; of another one it is never read."""

    def __init__(self, config: Config, spec: Spec, clock: Callable[[], float] = time.perf_counter):
        key = {"config": config.model_dump(exclude={"cluster", "results", "resume", "overwrite"}), "spec": asdict(spec)}
        self.path = Path(config.cache) / FOLDER / f"{digest({**key, 'libraries': libraries()})}.pt"
        self.clock, self.last, self.written = clock, clock(), False

    @property
    def due(self) -> bool:
        return self.clock() - self.last >= EVERY

    def write(self, state: Mapping[str, Any]) -> None:
        """What cannot be written is said, and the trial goes on."""
        self.last, self.written = self.clock(), True
        content = io.BytesIO()
        torch.save(dict(state), content)
        try:
            elsewhere.keep(write_bytes(self.path, content.getvalue()))
        except OSError as error:
            warnings.warn(f"{self.path} cannot be written ({error.strerror}); the trial goes on", Notice, stacklevel=2)

    def read(self) -> dict[str, Any]:
        """What was written last; empty where nothing was. A damaged file is said, and the trial starts again."""
        if not (self.path.exists() or elsewhere.fetch(self.path)):
            return {}
        try:
            found = torch.load(self.path, map_location="cpu", weights_only=True)
            if not isinstance(found, dict):
                raise TypeError(f"it holds a {type(found).__name__}")
        except _GARBLED as error:
            said = " ".join(str(error).split())[:120]
            warnings.warn(f"{self.path} is damaged ({said}); its trial starts again", Notice, stacklevel=2)
            return {}
        self.written = True
        return found

    def remove(self) -> None:
        """The trial has ended: where there is a file, it is not needed any more."""
        if not self.written:
            return
        self.written = False
        elsewhere.drop(self.path)
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)


def taken(method: Method) -> dict[str, Any]:
    """What a method needs to go on: of each attribute in ``resumable`` its state."""
    return {name: _state(getattr(method, name)) for name in method.resumable}


def given(method: Method, found: Mapping[str, Any]) -> None:
    """Give a method what was taken of one with the same configuration."""
    for name in method.resumable:
        _set(getattr(method, name), found[name])


def _state(thing: Any) -> Any:
    if isinstance(thing, list):
        return [_state(one) for one in thing]
    if isinstance(thing, torch.Generator):
        return thing.get_state()
    return None if thing is None else thing.state_dict()


def _set(thing: Any, state: Any) -> None:
    if isinstance(thing, list):
        for one, own in zip(thing, state, strict=True):
            _set(one, own)
    elif isinstance(thing, torch.Generator):
        thing.set_state(state)
    elif thing is not None:
        thing.load_state_dict(state)
