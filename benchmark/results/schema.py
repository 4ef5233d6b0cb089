"""Columns of a trial's row, those that all have and those that methods declare, and tables of exactly these columns."""

import dataclasses
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, get_args

import polars as pl

from benchmark.common.files import atomic_write
from benchmark.common.keys import LIBRARIES
from benchmark.errors import InputError

Kind = Literal["floor", "transfer", "ceiling"]
"""What a method is in a comparison: what others must beat, what is compared, what labels would have given."""
DType = Literal["str", "int", "float", "bool"]
Schema = Mapping[str, pl.DataType | type[pl.DataType]]
TYPES: Mapping[str, type[pl.DataType]] = {"str": pl.String, "int": pl.Int64, "float": pl.Float64, "bool": pl.Boolean}


@dataclass(frozen=True)
class Column:
    """A column of a row: ``header`` is what tables call it, None where they do not show it."""

    name: str
    dtype: DType
    help: str
    header: str | None = None


@dataclass(frozen=True)
class MethodCard:
    """What a method's class declares of itself, as it is kept in a run's folder for whoever reads the rows."""

    name: str
    label: str
    """What people read in tables and figures."""
    kind: Kind
    columns: tuple[Column, ...] = ()
    """Its own columns of a row."""
    tables: Mapping[str, tuple[Column, ...]] = dataclasses.field(default_factory=dict)
    """Columns of what else it leaves behind, by table: ``<table>.parquet``."""

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "MethodCard":
        """A card from what ``dataclasses.asdict`` made of it; ValueError, TypeError or KeyError for anything else."""
        columns = tuple(Column(**column) for column in found["columns"])
        tables = {name: tuple(Column(**column) for column in table) for name, table in found["tables"].items()}
        if found["kind"] not in get_args(Kind):
            raise ValueError(f"{found['name']} is {found['kind']}, not one of {', '.join(get_args(Kind))}")
        for column in (*columns, *(column for table in tables.values() for column in table)):
            if column.dtype not in TYPES:
                raise ValueError(f"column {column.name} is {column.dtype}, not one of {', '.join(TYPES)}")
        return cls(**{**found, "columns": columns, "tables": tables})


ROW = (
    Column("run", "str", "the run's name"),
    Column("experiment", "str", "what its configuration started from"),
    Column("dataset", "str", "data set"),
    Column("direction", "str", "ecg2ppg: the teacher listens to the first, predictions come from the second"),
    Column("old_modality", "str", "of the teacher"),
    Column("new_modality", "str", "of the predictions"),
    Column("old_encoder", "str", "encoder, preset and weights of the old modality"),
    Column("new_encoder", "str", "encoder, preset and weights of the new modality"),
    Column("method", "str", "method; with @ and its name, where it is calibrated to the wearer"),
    Column("calibration", "str", "of features to the wearer: none | wearer | causal"),
    Column("stage", "str", "search | final"),
    Column("protocol", "str", "what chose epochs and configurations"),
    Column("trial_id", "str", "unique within the run"),
    Column("seed", "int", "of the trial"),
    Column("fold", "int", "of the split"),
    Column(
        "leakage", "str", "what test shares with what was learnt and chosen from: none | choice | subjects | samples"
    ),
    Column("status", "str", "done | failed | pruned | diverged: an output was not finite"),
    Column("error", "str", "why it failed or diverged"),
    Column("trainable_parameters", "int", "what is trained: those that a gradient reaches"),
    Column(
        "declared_parameters",
        "int",
        "of the modules that are trained, whether a gradient reaches them or not: the paper's own count",
    ),
    Column("stored_parameters", "int", "what a device must hold to predict from the new modality"),
    Column("learning_rate", "float", "of its optimiser"),
    Column("epochs", "int", "that it was trained for, in each fold"),
    Column("best_epoch", "int", "that was kept: the best on val, or of the mean over inner folds"),
    Column("inner_folds", "int", "of pair and val that a searched trial was trained on; of one, val in protocol=val"),
    Column("folds", "str", "of a searched trial: status and curve of each inner fold; JSON"),
    Column("score_standard_error", "float", "over inner folds, of what the protocol chooses by; null of one fold"),
    Column("val_agreement", "float", "share of val windows for which it says what the teacher says"),
    Column("val_balanced_agreement", "float", "the same, each class that the teacher names weighing the same"),
    Column("val_divergence", "float", "mean KL(teacher || method) on val, nats; breaks ties"),
    Column("val_balanced_accuracy", "float", "null unless the protocol, or the method, reads val labels"),
    Column("test_balanced_accuracy", "float", "mean recall over classes on test"),
    Column("test_macro_f1", "float", "on test"),
    Column("test_weighted_f1", "float", "on test"),
    Column("test_accuracy", "float", "on test"),
    Column("test_kappa", "float", "Cohen's, on test; 0 where labels and predictions are all of one class"),
    Column("test_agreement", "float", "share of test windows for which it says what the teacher says"),
    Column("test_balanced_agreement", "float", "the same, each class that the teacher names weighing the same"),
    Column("pair_balanced_accuracy", "float", "on the pairs that it was trained on; for the report alone"),
    Column("pair_balanced_agreement", "float", "on the pairs that it was trained on"),
    Column("training_windows", "int", "that were seen in training, each as often as it was"),
    Column("step_seconds", "float", "of a training step from stored inputs"),
    Column("train_seconds", "float", "of the trial, evaluation on val included"),
    Column("extraction_seconds", "float", "that computing took of what it read of the store, whoever computed it"),
    Column("extraction", "str", "the same by what was read; JSON"),
    Column("inference_seconds_per_window", "float", "from the raw window to logits, in batches of 16"),
    Column("peak_memory_bytes", "int", "of the process, or of the GPU, during the trial"),
    Column("started_at", "str", "UTC, ISO 8601"),
    Column("versions", "str", "of libraries, and the machine; JSON"),
    Column("config", "str", "options of the method; JSON"),
)

PREDICTION = (
    Column("run", "str", "as in trials.parquet"),
    Column("method", "str", "as in trials.parquet"),
    Column("stage", "str", "as in trials.parquet"),
    Column("trial_id", "str", "as in trials.parquet"),
    Column("seed", "int", "as in trials.parquet"),
    Column("fold", "int", "as in trials.parquet"),
    Column("window", "int", "index in the data set"),
    Column("subject", "str", "whose window it is"),
    Column("label", "int", "true class"),
    Column("prediction", "int", "class"),
    Column("teacher_prediction", "int", "the teacher's class for the paired old window"),
    Column("teacher_confidence", "float", "the probability that the teacher gives that class"),
)


def types_of(columns: Iterable[Column]) -> Schema:
    return {column.name: TYPES[column.dtype] for column in columns}


PREDICTIONS: Schema = types_of(PREDICTION)


def row_schema(methods: Iterable[MethodCard]) -> Schema:
    """Columns of ``trials.parquet`` for these methods. TypeError where two of them disagree about a column."""
    found: dict[str, Column] = {column.name: column for column in ROW}
    for method in methods:
        for column in method.columns:
            if found.setdefault(column.name, column).dtype != column.dtype:
                raise TypeError(f"column {column.name} of {method.name} is {column.dtype}, elsewhere another type")
    return types_of(found.values())


def versions() -> dict[str, str]:
    """Versions of what changes the numbers, and the machine they were measured on."""
    found = {package: version(package) for package in (*LIBRARIES, "optuna", "ray", "bridgebench")}
    return {**found, "python": platform.python_version(), "machine": platform.machine()}


def frame(rows: Sequence[Mapping[str, Any]], schema: Schema) -> pl.DataFrame:
    """Rows as a table of exactly ``schema``; what a row does not say is null."""
    return pl.DataFrame({name: [row.get(name) for row in rows] for name in schema}, schema=dict(schema))


def write_parquet(table: pl.DataFrame, path: Path) -> None:
    """Write the whole file or leave the old one."""
    with atomic_write(path) as temporary:
        table.write_parquet(temporary)


def read_parquet(path: Path, schema: Schema) -> pl.DataFrame:
    """A table written by ``write_parquet``. InputError if it cannot be read, or lacks a column of ``schema``."""
    try:
        table = pl.read_parquet(path)
    except Exception as error:
        raise InputError(
            f"{path} is not a readable Parquet file ({error}); remove all Parquet files beside it, the run's log gives "
            "them again"
        ) from None
    missing = [name for name in schema if name not in table.columns]
    if missing:
        raise InputError(
            f"{path} lacks the columns {', '.join(missing)}: it was written by another version; run the benchmark again"
        )
    return table.select(list(schema))
