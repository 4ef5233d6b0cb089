"""Names for what was computed once: digests of all that changes the numbers, and files that are whole or absent."""

import functools
import hashlib
import inspect
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

Progress = Callable[[int, int, str], None]
"""Called with what is done, what there is to do, and a few words."""


def silent(done: int, total: int, text: str) -> None:
    """The progress that nobody watches."""


def digest(key: Mapping[str, Any]) -> str:
    """32 hexadecimal digits of SHA-256 over the key as canonical JSON."""
    text = json.dumps(key, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def array_digest(array: np.ndarray) -> str:
    return hashlib.sha256(f"{array.dtype}{array.shape}".encode() + np.ascontiguousarray(array).tobytes()).hexdigest()[
        :32
    ]


@functools.cache
def source_digest(*modules: ModuleType) -> str:
    """The code version of what these modules compute."""
    return hashlib.sha256("".join(inspect.getsource(module) for module in modules).encode()).hexdigest()[:16]


@contextmanager
def whole(path: Path, folder: Path | None = None) -> Iterator[Path]:
    """A temporary name to write to; renamed to ``path`` at the end, removed after an error.

    It is in ``folder``, by default that of ``path``, and unlike that of any other process or node.
    """
    folder = folder or path.parent
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp"
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
