"""Cache keys: digests of all that changes the numbers of what is computed once and kept."""

import functools
import hashlib
import importlib.metadata
import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any

import numpy as np

LIBRARIES = ("torch", "numpy", "scipy", "scikit-learn", "mne", "transformers")
"""Distributions whose versions change numbers."""


@functools.cache
def libraries() -> dict[str, str]:
    """Their versions. They are in the key of everything that a store keeps."""
    return {name: importlib.metadata.version(name) for name in LIBRARIES}


def digest(key: Mapping[str, Any]) -> str:
    """32 hexadecimal digits of SHA-256 over the key as canonical JSON."""
    text = json.dumps(key, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def array_digest(array: np.ndarray) -> str:
    """32 hexadecimal digits of SHA-256 over type, shape and values."""
    content = f"{array.dtype}{array.shape}".encode() + np.ascontiguousarray(array).tobytes()
    return hashlib.sha256(content).hexdigest()[:32]


def content_digest(parts: Iterable[tuple[str, np.ndarray]]) -> str:
    """SHA-256 over texts and the contiguous arrays that they are about, one after the other."""
    found = hashlib.sha256()
    for text, array in parts:
        found.update(text.encode())
        found.update(array.data)
    return found.hexdigest()


@functools.cache
def source_digest(*code: ModuleType | Callable[..., Any]) -> str:
    """The code version of what these modules and functions compute."""
    return hashlib.sha256("".join(inspect.getsource(part) for part in code).encode()).hexdigest()[:16]
