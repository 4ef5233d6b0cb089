"""What the search of each method took, counted in three ways: trials, windows that were trained on, seconds."""

from collections.abc import Sequence

import polars as pl

from analysis import captions
from analysis.run import Run
from analysis.writers import Column, integer, label, number

NAME = "budget"
TITLE = "Budget of the search"


def build(run: Run) -> pl.DataFrame:
    """One row per method that was searched; sums over its trials, in all folds, whatever became of them."""
    if run.search.is_empty():
        return pl.DataFrame()
    order = run.ordered(run.search["method"])
    return (
        run.search.group_by("method")
        .agg(
            pl.len().cast(pl.Int64).alias("trials"),
            pl.col("inner_folds").fill_null(1).sum().alias("trainings"),
            pl.col("training_windows").sum(),
            pl.col("train_seconds").sum(),
        )
        .with_columns(
            pl.col("method").replace_strict({method: run.labels[method] for method in order}).alias("label"),
        )
        .sort(pl.col("method").cast(pl.Enum(order)))
        .select("method", "label", "trials", "trainings", "training_windows", "train_seconds")
    )


def columns(run: Run, frame: pl.DataFrame) -> Sequence[Column]:
    return [
        label("label", "Method"),
        integer("trials", "Trials"),
        integer("trainings", "Trainings"),
        integer("training_windows", "Training windows"),
        number("train_seconds", "Seconds"),
    ]


def caption(run: Run) -> str:
    return (
        "Sums over the trials of the search. Trainings: of a trial on an inner fold. Training windows: each as often "
        "as it was trained on; what is fitted in closed form sees each once. Seconds: of training and of judging it, "
        f"from stored features, on processes that share a machine. {captions.setting(run)}"
    )
