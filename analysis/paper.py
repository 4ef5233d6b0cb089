"""The parameter table of the paper: its six directions, counted on the original models without their weights.

Everything is built on torch's meta device, where a parameter has a shape and takes no memory. Nothing is copied
from the paper but its hyperparameters (``search_spaces.bridge.PAPER``).

Li, Liu, Denison and Zhu, "BioX-Bridge: Model Bridging for Unsupervised Cross-Modal Knowledge Transfer across
Biosignals", ICLR 2026, arXiv 2510.02276.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl
import torch
from torch import nn

from analysis.writers import Column, Row, Table, integer, label, number
from benchmark.bridge.network import PrototypeBridge
from benchmark.data.signals.spec import SignalSpec
from benchmark.encoders import registry
from benchmark.encoders.base import Encoder
from search_spaces.bridge import PAPER

META = torch.device("meta")


@dataclass(frozen=True)
class Model:
    """An encoder as the paper uses it, and the windows it sees."""

    name: str
    preset: str
    signal: SignalSpec

    def build(self) -> Encoder:
        return registry.build(self.name, self.signal, self.preset, weights="random", device=META)


EEG_CHANNELS = ("F3", "C3", "O1", "F4", "C4", "O2")
MODELS: Mapping[str, Mapping[str, Model]] = {
    "wesad": {  # 60 s
        "ppg": Model("papagei", "s", SignalSpec("ppg", ("BVP",), 125.0, 7500, "z")),
        "ecg": Model("hubert_ecg", "small", SignalSpec("ecg", ("ECG",), 100.0, 6000, "z")),
    },
    "isruc": {  # 30 s
        "eeg": Model("labram", "base", SignalSpec("eeg", EEG_CHANNELS, 200.0, 6000, "uV")),
        "ecg": Model("hubert_ecg", "small", SignalSpec("ecg", ("X2",), 100.0, 3000, "z")),
    },
    "fog": {  # 3 s
        "eeg": Model("labram", "base", SignalSpec("eeg", EEG_CHANNELS, 200.0, 600, "uV")),
        "emg": Model("normwear", "base", SignalSpec("emg", ("EMG1", "EMG2", "EMG3"), 130.0, 390, "z")),
    },
}
CLASSES = {"wesad": 3, "isruc": 2, "fog": 2}

OWN_HEAD = ("labram",)
"""Models whose released class keeps a classification head of its own beside the one that is trained; the paper's
counts of the student include it."""


def student(encoder: Encoder, classes: int) -> nn.ModuleDict:
    """What distillation trains in the paper: the whole new model and a linear head on its pooled last block."""
    width = encoder.shape_at(encoder.n_blocks)[1]
    parts: dict[str, nn.Module] = {"encoder": encoder, "head": nn.Linear(width, classes, device=META)}
    if encoder.name in OWN_HEAD:
        parts["own_head"] = nn.Linear(width, classes, device=META)
    return nn.ModuleDict(parts)


def bridge(new: Encoder, old: Encoder, point: Mapping[str, int]) -> PrototypeBridge:
    """The bridge from the output of block ``input`` of ``new`` to the input of block ``output`` of ``old``."""
    tokens, d_old = old.shape_at(point["output"])
    d_new = new.shape_at(point["input"] + 1)[1]
    with META:
        return PrototypeBridge(d_new, tokens, d_old, point["rank"], point["prototypes"])


def count(module: nn.Module) -> int:
    """Parameters, whether a gradient reaches them or not: what the paper counts of the student."""
    return sum(parameter.numel() for parameter in module.parameters())


def build() -> pl.DataFrame:
    """One row per direction of the paper: models, position, shapes and counts."""
    encoders = {(data, modality): model.build() for data, sides in MODELS.items() for modality, model in sides.items()}
    rows = []
    for experiment, point in PAPER.items():
        data, direction = experiment.split("_")
        old_modality, new_modality = direction.split("2")
        old, new = encoders[data, old_modality], encoders[data, new_modality]
        built, whole = bridge(new, old, point), student(new, CLASSES[data])
        reached = registry.reached_parameters(new) + count(whole["head"])
        rows.append(
            {
                "experiment": experiment,
                "dataset": data.upper(),
                "direction": f"{old_modality.upper()} → {new_modality.upper()}",
                "old_model": old.name,
                "new_model": new.name,
                "bridge_input": point["input"],
                "bridge_output": point["output"],
                "at_head": point["output"] == old.n_blocks,
                "rank": point["rank"],
                "prototypes": point["prototypes"],
                "new_features": built.A.shape[1],
                "old_features": built.prototypes.shape[0],
                "old_tokens": built.tokens,
                "bridge_parameters": count(built),
                "published_student": count(whole),
                "published_reduction": 1 - count(built) / count(whole),
                "student_parameters": reached,
                "reduction": 1 - count(built) / reached,
            }
        )
    return pl.DataFrame(rows)


def position(row: Row) -> str:
    """``i → j``, with the head by name."""
    return f"{row['bridge_input']} → {'head' if row['at_head'] else row['bridge_output']}"


def columns() -> Sequence[Column]:
    return [
        Column("Direction", lambda row: f"{row['dataset']} {row['direction']}", right=False),
        label("old_model", "Old model"),
        label("new_model", "New model"),
        Column("i → j", position),
        integer("rank", "r"),
        integer("prototypes", "P"),
        integer("new_features", "D new"),
        integer("old_features", "D old"),
        integer("old_tokens", "T"),
        integer("bridge_parameters", "Bridge"),
        integer("published_student", "Student, published"),
        number("published_reduction", "Reduction, published (%)", scale=100),
        integer("student_parameters", "Student"),
        number("reduction", "Reduction (%)", scale=100),
    ]


def parameters() -> Table:
    """The table for the writers. Takes seconds and no weights."""
    models = "; ".join(
        f"{data.upper()} {CLASSES[data]} classes, "
        + ", ".join(f"{model.name} {model.preset} on {model.signal.seconds:g} s" for model in sides.values())
        for data, sides in MODELS.items()
    )
    caption = (
        "Trainable parameters in the six directions of the paper (arXiv 2510.02276), counted on the original models "
        "at its hyperparameters. Bridge: r D_new + P T r + D_old P, from the output of block i of the new model to "
        "the input of block j of the old one. Student, published: the paper's own count, all that the whole new model "
        "and a linear head hold, for LaBraM also the head that its released class has. Student: those of them that a "
        f"gradient reaches; the reduction beside it is of these. {models}. No trials, seeds or folds, and no weights "
        "were read."
    )
    return Table("parameters", "Parameters in the paper's six directions", caption, build(), columns())
