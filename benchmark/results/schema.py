"""What a run leaves behind: the schema of a trial's row, and tables on disk that are whole or absent."""

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl

from benchmark.errors import InputError

SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "run": pl.String,
    "experiment": pl.String,
    "dataset": pl.String,
    "direction": pl.String,  # "ecg2ppg": the teacher listens to the first, predictions come from the second
    "old_modality": pl.String,
    "new_modality": pl.String,
    "old_encoder": pl.String,
    "new_encoder": pl.String,
    "method": pl.String,
    "stage": pl.String,  # "search" | "final"
    "protocol": pl.String,  # what chose epochs and configurations
    "trial_id": pl.String,
    "seed": pl.Int64,
    "fold": pl.Int64,
    "leakage": pl.String,  # what parts of the split share: "none" | "subjects" | "samples": leaky
    "status": pl.String,  # "done" | "failed" | "pruned"
    "error": pl.String,
    "trainable_parameters": pl.Int64,
    "stored_parameters": pl.Int64,  # what a device must hold to predict from the new modality
    "bridge_input": pl.Int64,
    "bridge_output": pl.Int64,  # the number of old blocks means the head
    "rank": pl.Int64,
    "prototypes": pl.Int64,
    "learning_rate": pl.Float64,
    "epochs": pl.Int64,
    "best_epoch": pl.Int64,
    "val_agreement": pl.Float64,
    "val_balanced_agreement": pl.Float64,  # what the default protocol chooses by
    "val_divergence": pl.Float64,  # mean KL(teacher || method) on val pairs, nats; breaks ties
    "val_balanced_accuracy": pl.Float64,  # null unless the protocol reads val labels
    "test_balanced_accuracy": pl.Float64,
    "test_macro_f1": pl.Float64,
    "test_weighted_f1": pl.Float64,
    "test_accuracy": pl.Float64,
    "test_kappa": pl.Float64,
    "test_agreement": pl.Float64,
    "step_seconds": pl.Float64,
    "train_seconds": pl.Float64,
    "inference_seconds_per_window": pl.Float64,
    "peak_memory_bytes": pl.Int64,
    "started_at": pl.String,
    "versions": pl.String,
    "config": pl.String,
}

PREDICTIONS: dict[str, pl.DataType | type[pl.DataType]] = {
    "run": pl.String,
    "method": pl.String,
    "stage": pl.String,
    "trial_id": pl.String,
    "seed": pl.Int64,
    "fold": pl.Int64,
    "window": pl.Int64,
    "subject": pl.String,
    "label": pl.Int64,
    "prediction": pl.Int64,
    "teacher_prediction": pl.Int64,
}


POSITIONS: dict[str, pl.DataType | type[pl.DataType]] = {
    "trial_id": pl.String,
    "fold": pl.Int64,
    "bridge_input": pl.Int64,
    "bridge_output": pl.Int64,
    "quality": pl.Float64,  # of the new block's output: macro-F1 of a probe of the teacher's pseudo-labels
    "similarity": pl.Float64,  # of the new block's output and the old block's input: linear CKA
    "chosen": pl.Boolean,
}


def versions() -> dict[str, str]:
    """Versions of what changes the numbers, and the machine they were measured on."""
    packages = ("torch", "numpy", "scipy", "scikit-learn", "optuna", "ray", "mne", "bridgebench")
    found = {package: version(package) for package in packages}
    return {**found, "python": platform.python_version(), "machine": platform.machine()}


def frame(rows: Iterable[Mapping[str, Any]], schema: Mapping[str, Any] = SCHEMA) -> pl.DataFrame:
    """Rows as a table of exactly ``schema``; what a row does not say is null."""
    return pl.DataFrame([{name: row.get(name) for name in schema} for row in rows], schema=dict(schema))


def write_parquet(table: pl.DataFrame, path: Path) -> None:
    """Write the whole file or leave the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    table.write_parquet(temporary)
    os.replace(temporary, path)


def read_parquet(path: Path, schema: Mapping[str, Any] = SCHEMA) -> pl.DataFrame:
    """A table written by ``write_parquet``; empty if there is none yet."""
    if not path.exists():
        return frame([], schema)
    try:
        table = pl.read_parquet(path)
    except Exception as error:
        raise InputError(
            f"{path} is not a readable Parquet file ({error}); remove the run's folder and run it again"
        ) from None
    missing = [name for name in schema if name not in table.columns]
    if missing:
        raise InputError(
            f"{path} lacks the columns {', '.join(missing)}: it was written by another version; run the benchmark again"
        )
    return table.select(list(schema))


def append(path: Path, rows: Sequence[Mapping[str, Any]], schema: Mapping[str, Any] = SCHEMA) -> pl.DataFrame:
    """Add rows; one with a ``trial_id`` that is there already replaces it, so that resuming never doubles a row."""
    old, new = read_parquet(path, schema), frame(rows, schema)
    table = pl.concat([old.filter(~pl.col("trial_id").is_in(new["trial_id"].implode())), new])
    write_parquet(table, path)
    return table
