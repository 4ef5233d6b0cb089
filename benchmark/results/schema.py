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

Kind = Literal["floor", "transfer", "ceiling"]
"""What a method is in a comparison: what others must beat, what is compared, what labels would have given."""
DType = Literal["str", "int", "float", "bool"]
Schema = Mapping[str, pl.DataType | type[pl.DataType]]
TYPES: Mapping[str, type[pl.DataType]] = {"str": pl.String, "int": pl.Int64, "float": pl.Float64, "bool": pl.Boolean}


@dataclass(frozen=True)
class Column:
    """A column of a row: ``help`` is what it means, ``header`` what tables call it, None where they do not show it, and
    ``writer`` who fills it, empty for a method's own, which the method fills."""

    name: str
    dtype: DType
    help: str
    header: str | None = None
    unit: str = ""
    writer: str = ""


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


def _by(writer: str, *columns: Column) -> tuple[Column, ...]:
    return tuple(dataclasses.replace(column, writer=writer) for column in columns)


PLAN, TRIAL, SEARCHED, FINAL = "the plan", "the trial", "a trial of the search", "a final trial"
"""Who fills a column. What a trial fills is null of one that failed, and what it says of val of one that diverged."""

ROW = (
    *_by(
        PLAN,
        Column("run", "str", "the run's name"),
        Column("experiment", "str", "the experiment that its configuration started from"),
        Column("dataset", "str", "name of the data set"),
        Column("direction", "str", "ecg2ppg: the teacher listens to the first, predictions come from the second"),
        Column("old_modality", "str", "signal that the teacher listens to"),
        Column("new_modality", "str", "signal that predictions are made from"),
        Column("old_encoder", "str", "encoder, preset and weights of the old modality"),
        Column("new_encoder", "str", "encoder, preset and weights of the new modality"),
        Column("method", "str", "method; with @ and its name, where it is calibrated to the wearer"),
        Column("calibration", "str", "calibration of features to the wearer: none | wearer | causal"),
        Column("stage", "str", "what the trial is of: search | final"),
        Column("protocol", "str", "protocol that chose epochs and configurations"),
        Column("trial_id", "str", "name of the trial, unique within the run"),
        Column("seed", "int", "seed of the trial"),
        Column("fold", "int", "fold of the split"),
        Column("learning_rate", "float", "learning rate of its optimiser"),
        Column(
            "round_size",
            "int",
            "configurations that are suggested together, from whole earlier rounds; null of a final trial",
            unit="trials",
        ),
        Column(
            "leakage",
            "str",
            "what test shares with what was learnt and chosen from: none | choice | subjects | samples",
        ),
    ),
    *_by(
        TRIAL,
        Column("status", "str", "how it ended: done | failed | pruned | diverged, an output was not finite"),
        Column("error", "str", "why it failed or diverged"),
        Column(
            "trainable_parameters",
            "int",
            "parameters that are trained: those that a gradient reaches",
            unit="parameters",
        ),
        Column(
            "declared_parameters",
            "int",
            "parameters of the modules that are trained, whether a gradient reaches them or not: the paper's own count",
            unit="parameters",
        ),
        Column(
            "stored_parameters",
            "int",
            "parameters that a device must hold to predict from the new modality",
            unit="parameters",
        ),
        Column("epochs", "int", "epochs that it was trained for, in each fold", unit="epochs"),
        Column(
            "best_epoch", "int", "epoch that was kept: the best on val, or of the mean over inner folds", unit="epochs"
        ),
    ),
    *_by(
        SEARCHED,
        Column(
            "inner_folds",
            "int",
            "folds of pair and val that it was trained on; of one, val in protocol=val",
            unit="folds",
        ),
        Column("folds", "str", "status and curve of each inner fold", unit="JSON"),
    ),
    *_by(
        TRIAL,
        Column(
            "score_standard_error",
            "float",
            "standard error over inner folds of what the protocol chooses by; null of one fold",
            unit="share",
        ),
        Column("val_agreement", "float", "share of val windows for which it says what the teacher says", unit="share"),
        Column(
            "val_balanced_agreement",
            "float",
            "the same, each class that the teacher names weighing the same",
            unit="share",
        ),
        Column("val_divergence", "float", "mean KL(teacher || method) on val; breaks ties", unit="nats"),
        Column(
            "val_balanced_accuracy",
            "float",
            "mean recall over classes on val; null unless the protocol, or the method, reads its labels",
            unit="share",
        ),
    ),
    *_by(
        FINAL,
        Column("test_balanced_accuracy", "float", "mean recall over classes on test", unit="share"),
        Column("test_macro_f1", "float", "mean F1 over classes on test", unit="share"),
        Column("test_weighted_f1", "float", "mean F1 on test, classes weighing as their windows do", unit="share"),
        Column("test_accuracy", "float", "share of test windows that are right", unit="share"),
        Column(
            "test_kappa",
            "float",
            "Cohen's kappa on test; 0 where labels and predictions are all of one class",
        ),
        Column(
            "test_agreement", "float", "share of test windows for which it says what the teacher says", unit="share"
        ),
        Column(
            "test_balanced_agreement",
            "float",
            "the same, each class that the teacher names weighing the same",
            unit="share",
        ),
        Column(
            "pair_balanced_accuracy",
            "float",
            "mean recall over classes on the pairs that it was trained on; for the report alone",
            unit="share",
        ),
        Column(
            "pair_balanced_agreement", "float", "balanced agreement with the teacher on the same pairs", unit="share"
        ),
    ),
    *_by(
        TRIAL,
        Column(
            "training_windows", "int", "windows that were seen in training, each as often as it was", unit="windows"
        ),
        Column("step_seconds", "float", "seconds of a training step from stored inputs", unit="s"),
        Column("train_seconds", "float", "seconds of the trial, evaluation on val included", unit="s"),
        Column(
            "extraction_seconds",
            "float",
            "seconds that computing took of what it read of the store, whoever computed it",
            unit="s",
        ),
        Column("extraction", "str", "the same by what was read", unit="JSON, s"),
    ),
    *_by(
        FINAL,
        Column(
            "inference_seconds_per_window", "float", "seconds from the raw window to logits, in batches of 16", unit="s"
        ),
    ),
    *_by(
        TRIAL,
        Column("peak_memory_bytes", "int", "peak memory of the process, or of the GPU, during the trial", unit="bytes"),
        Column("started_at", "str", "when it began, UTC", unit="ISO 8601"),
    ),
    *_by(
        PLAN,
        Column("versions", "str", "versions of libraries, and the kind of machine", unit="JSON"),
        Column("config", "str", "options of the method", unit="JSON"),
    ),
)

PREDICTION = _by(
    FINAL,
    Column("run", "str", "as in trials.parquet"),
    Column("method", "str", "as in trials.parquet"),
    Column("stage", "str", "as in trials.parquet"),
    Column("trial_id", "str", "as in trials.parquet"),
    Column("seed", "int", "as in trials.parquet"),
    Column("fold", "int", "as in trials.parquet"),
    Column("window", "int", "index of the window in the data set"),
    Column("subject", "str", "whose window it is"),
    Column("label", "int", "true class"),
    Column("prediction", "int", "the method's class"),
    Column("teacher_prediction", "int", "the teacher's class for the paired old window"),
    Column("teacher_confidence", "float", "the probability that the teacher gives that class", unit="share"),
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
