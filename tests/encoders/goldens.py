"""The goldens' weights and inputs, rebuilt by the formula that their README gives."""

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import torch

from benchmark.data.signals.spec import SignalSpec

EEG = ("F3", "C3", "O1", "F4", "C4", "O2")
ISRUC_EEG = SignalSpec("eeg", EEG, 200.0, 6000, "uV")
FOG_EEG = SignalSpec("eeg", EEG, 200.0, 600, "uV")
ISRUC_ECG = SignalSpec("ecg", ("X2",), 100.0, 3000, "z")
WESAD_ECG = SignalSpec("ecg", ("ECG",), 100.0, 6000, "z")
WESAD_PPG = SignalSpec("ppg", ("BVP",), 125.0, 7500, "z")
FOG_EMG = SignalSpec("emg", ("EMG1", "EMG2", "EMG3"), 130.0, 390, "z")


def golden_tensor(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """The float32 value of a state-dict entry (or of a bridge's parameter) of that name and shape."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little") % 2**63
    z = np.random.Generator(np.random.PCG64(seed)).standard_normal(math.prod(shape)).reshape(shape)
    leaf = name.rsplit(".", 1)[-1]
    if name.endswith("running_var"):
        z = np.abs(0.1 * z) + 1
    elif (
        (len(shape) == 1 and name.endswith("weight"))
        or leaf in ("gamma_1", "gamma_2")
        or name.endswith("parametrizations.weight.original0")
    ):
        z = 1 + 0.1 * z
    elif len(shape) >= 2 and leaf in ("weight", "original1"):
        z = z / math.sqrt(math.prod(shape[1:]))
    else:
        z = 0.1 * z
    return torch.from_numpy(z.astype(np.float32))


def manifest(shared: Path, model: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the original state dict, in order."""
    entries = json.loads((shared / "golden" / f"{model}.manifest.json").read_text())
    return {name: tuple(shape) for name, shape in entries}


def golden_weights(shared: Path, model: str) -> dict[str, torch.Tensor]:
    """The original state dict; counters of batches are zero, as in a model that was never trained."""
    return {
        name: torch.tensor(0) if name.endswith("num_batches_tracked") else golden_tensor(name, shape)
        for name, shape in manifest(shared, model).items()
    }


def golden_input(shape: tuple[int, ...], seed: int = 12345) -> torch.Tensor:
    z = np.random.Generator(np.random.PCG64(seed)).standard_normal(shape)
    return torch.from_numpy(z.astype(np.float32))
