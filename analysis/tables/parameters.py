"""What each method trains, stores and costs, at the configuration that was chosen for it."""

import json
from collections import Counter
from collections.abc import Sequence

import polars as pl

from analysis import captions, writers
from analysis.run import Run
from analysis.writers import Column, integer, label, magnitude, number
from benchmark.errors import InputError
from benchmark.results import schema
from benchmark.results.folder import TRIALS

NAME = "parameters"
TITLE = "Parameters and cost"

BEFORE = ("method", "label", "trainable_parameters", "reduction", "declared_parameters", "stored_parameters")
AFTER = ("step_seconds", "extraction_seconds", "inference_seconds_per_window", "done")
"""Columns of the frame that every run has, before and after those that its methods declare."""


def build(run: Run) -> pl.DataFrame:
    """One row per method and chosen configuration (folds may choose differently): counts, columns, median seconds.

    Configurations differ in what is trained, what is stored, and in any column that the run's methods declare.
    Floors that train nothing have no row. ``reduction`` is the share of the whole new model's trainable parameters that
    a transfer method does without. ``extraction_seconds`` are amortised.
    """
    untrained = pl.col("method").is_in(run.of_kind("floor")) & (pl.col("trainable_parameters").fill_null(0) == 0)
    trained = run.final.filter(~untrained)
    if trained.is_empty():
        return pl.DataFrame()
    own = [column.name for column in _own(run)]
    configuration = ["method", "trainable_parameters", "declared_parameters", "stored_parameters", *own]
    order = run.ordered(trained["method"])
    return (
        trained.with_columns(
            pl.col("trial_id")
            .replace_strict(_extraction(run), default=None, return_dtype=pl.Float64)
            .alias("extraction_seconds")
        )
        .group_by(configuration)
        .agg(
            pl.len().cast(pl.Int64).alias("done"),
            pl.col("step_seconds", "extraction_seconds", "inference_seconds_per_window").median(),
        )
        .with_columns(
            pl.col("method").replace_strict({method: run.labels[method] for method in order}).alias("label"),
            pl.when(pl.col("method").is_in(run.of_kind("transfer")))
            .then(1 - pl.col("trainable_parameters") / run.student_parameters)
            .alias("reduction"),
        )
        .sort(pl.col("method").cast(pl.Enum(order)), *configuration[1:], nulls_last=True)
        .select(*BEFORE, *own, *AFTER)
    )


def _extraction(run: Run) -> dict[str, float]:
    """Seconds by final trial: those of each stored array that it read, divided among all trials that read it."""
    arrays: dict[str, dict[str, float]] = {}
    readers: Counter[str] = Counter()
    every = run.rows.drop_nulls("extraction").group_by("extraction").agg(pl.len(), pl.col("trial_id").min())
    for text, trials, trial in run.read(every).iter_rows():
        try:
            arrays[text] = {str(name): float(seconds) for name, seconds in json.loads(text).items()}
        except (ValueError, TypeError, AttributeError) as error:
            raise InputError(
                f"{run.path / TRIALS}: column extraction of {trial} cannot be read ({error}); remove the file, the "
                "run's log gives it again"
            ) from None
        readers.update(dict.fromkeys(arrays[text], trials))
    return {
        trial: sum(seconds / readers[name] for name, seconds in arrays[text].items())
        for trial, text in run.final.select("trial_id", "extraction").drop_nulls().iter_rows()
    }


def _own(run: Run) -> list[schema.Column]:
    """The methods' columns, but for those that the frame has of every run."""
    return [column for column in run.columns if column.name not in (*BEFORE, *AFTER)]


def columns(run: Run, frame: pl.DataFrame) -> Sequence[Column]:
    return [
        label("label", "Method"),
        integer("trainable_parameters", "Trainable parameters"),
        number("reduction", "Reduction (%)", scale=100),
        integer("declared_parameters", "Paper's count"),
        integer("stored_parameters", "Stored parameters"),
        *(_shown(column, column.header) for column in _own(run) if column.header),
        number("step_seconds", "Training step (ms)", scale=1000),
        magnitude("extraction_seconds", "Extraction (s a trial)"),
        number("inference_seconds_per_window", "Inference per window (ms)", digits=2, scale=1000),
        integer("done", "Runs"),
    ]


def _shown(column: schema.Column, header: str) -> writers.Column:
    if column.dtype == "int":
        return integer(column.name, header)
    return magnitude(column.name, header) if column.dtype == "float" else label(column.name, header, right=True)


def caption(run: Run) -> str:
    explained = [f"{column.header}: {column.help}." for column in _own(run) if column.header and column.help]
    return " ".join(
        [
            "The configuration that was chosen for each method. Trainable parameters: those that a gradient reaches. "
            f"Reduction: against those of the whole new model with its head, {run.student_parameters:,}. Paper's "
            "count: all of the modules that are trained, whether a gradient reaches them or not.",
            *explained,
            "Seconds are medians over the final trials. Extraction: what computing took of the stored arrays that a "
            "trial read, divided among all trials that read them. Runs: final trials with this configuration. "
            f"{captions.setting(run)}",
        ]
    )
