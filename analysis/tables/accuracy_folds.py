"""Balanced accuracy fold by fold: whether a difference between methods holds for every group of subjects."""

from collections.abc import Sequence

import polars as pl

from analysis import captions
from analysis.run import Run
from analysis.writers import Column, label, number

NAME = "accuracy_folds"
TITLE = "Balanced accuracy by fold"


def build(run: Run) -> pl.DataFrame:
    """One row per fold, one column per method: the mean over seeds, in [0, 1]. Empty where there is one fold."""
    if not run.folds:
        return pl.DataFrame()
    table = (
        run.final.group_by("fold", "method", maintain_order=True)
        .agg(pl.col("test_balanced_accuracy").mean())
        .pivot(on="method", index="fold", values="test_balanced_accuracy")
        .drop_nulls("fold")
        .sort("fold")
    )
    return table.select("fold", *run.ordered(name for name in table.columns if name != "fold"))


def columns(run: Run, frame: pl.DataFrame) -> Sequence[Column]:
    return [label("fold", "Fold"), *(number(method, run.labels[method], scale=100) for method in frame.columns[1:])]


def caption(run: Run) -> str:
    return (
        "Balanced accuracy on the fold's test subjects in %, mean over seeds; the table of accuracy pools the windows "
        f"of all folds and is not the mean of these. {captions.setting(run)}"
    )
