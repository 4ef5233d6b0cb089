"""Weight files: read without running anything that is in them, written under the encoders' own names."""

import argparse
import json
import pickle
import re
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmark.common import elsewhere
from benchmark.common.files import atomic_write
from benchmark.encoders.base import Encoder
from benchmark.errors import InputError

# Training scripts keep their command line and NumPy numbers (learning rates) beside the weights. These four
# rebuild plain data only; the second name of `scalar` is the one that NumPy before 2.0 wrote.
_SCALAR: Any = np.float64(0).__reduce__()[0]
_PLAIN: list[Any] = [
    argparse.Namespace,
    np.dtype,
    np.dtypes.Float64DType,
    _SCALAR,
    (_SCALAR, "numpy.core.multiarray.scalar"),
]
_NESTS = ("model", "state_dict", "model_state_dict", "module", "student", "net", "weights")


def read(path: str | Path) -> dict[str, Tensor]:
    """Names and tensors of a weight file: .safetensors, or a PyTorch file as released.

    PyTorch files are unpickled with ``weights_only=True``; a state dict nested under ``model``,
    ``state_dict`` and the like is found. Raises InputError for a file that is missing, truncated, of another
    format, or holds anything that would have to be executed.
    """
    path = Path(path)
    if not (path.is_file() or elsewhere.fetch(path)):
        what = "is a folder" if path.is_dir() else "does not exist"
        raise InputError(f"weights {path}: {what}; give a .safetensors file or a PyTorch state dict (.pt, .pth, .bin)")
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise InputError(f"weights {path}: cannot be read ({error.strerror}); check its permissions") from None
    if head.startswith(b"version https://git-lfs"):
        raise InputError(f"weights {path}: is a Git LFS pointer, not the weights; fetch the file itself")
    if head.startswith((b"PK", b"\x80")):
        return _state_dict(_unpickle(path), path)
    if head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] < 100_000_000:
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise InputError(f"weights {path}: damaged safetensors file ({error}); get it again") from None
    raise InputError(
        f"weights {path}: starts with {head[:8]!r}, which is neither a .safetensors nor a PyTorch file; get it again"
    )


def _unpickle(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals(_PLAIN), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a pickle of another protocol, refused just below
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # PyTorch's own message advises weights_only=False
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        if found is None:
            raise InputError(f"weights {path}: not a PyTorch state dict, or a damaged one; get it again") from None
        raise InputError(
            f"weights {path}: asks to run {found[1]}, so that it is damaged or holds more than tensors; nothing was "
            "run: get it again, save its state dict alone, or use a .safetensors version"
        ) from None
    except Exception as error:  # truncated files fail in many ways: RuntimeError, EOFError, struct.error, ...
        raise InputError(
            f"weights {path}: damaged or truncated PyTorch file ({str(error).split('. ')[0][:200]}); get it again"
        ) from None


def _state_dict(loaded: Any, path: Path) -> dict[str, Tensor]:
    if not isinstance(loaded, Mapping):
        raise InputError(f"weights {path}: holds a {type(loaded).__name__}, not a state dict of named tensors")
    found = _most_tensors(loaded)
    if not found:
        keys = ", ".join(str(key) for key in list(loaded)[:5])
        raise InputError(f"weights {path}: no tensors under the keys {keys or 'of an empty dict'}; give a state dict")
    return found


def _most_tensors(node: Mapping[Any, Any]) -> dict[str, Tensor]:
    """The largest state dict among this one and those nested under the usual keys."""
    here = {str(name): value for name, value in node.items() if isinstance(value, Tensor)}
    nested = [_most_tensors(node[key]) for key in _NESTS if isinstance(node.get(key), Mapping)]
    return max([here, *nested], key=len)


def save(encoder: Encoder, path: str | Path, notes: Mapping[str, Any] | None = None) -> None:
    """Write an encoder's state dict as .safetensors, whole or not at all; ``build(weights=path)`` reads it."""
    path = Path(path)
    state = {name: value.detach().cpu().contiguous() for name, value in encoder.state_dict().items()}
    metadata = {"encoder": encoder.name, "preset": encoder.preset, "notes": json.dumps(dict(notes or {}))}
    with atomic_write(path) as temporary:
        save_file(state, temporary, metadata)
