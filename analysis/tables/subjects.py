"""Every test subject: what the teacher and each transfer method got right."""

from collections.abc import Sequence

import polars as pl

from analysis import captions
from analysis.run import Run
from analysis.writers import Column, integer, label, number

NAME = "subjects"
TITLE = "Test subjects"
LONG = True


def build(run: Run) -> pl.DataFrame:
    """One row per subject: windows, the teacher's accuracy and one column per transfer method, the mean over seeds."""
    methods = [name for name in run.of_kind("transfer") if name in set(run.final["method"])]
    mine = run.final_predictions.filter(pl.col("method").is_in(methods))
    if mine.is_empty():
        return pl.DataFrame()
    right = (pl.col("prediction") == pl.col("label")).mean()
    taught = (pl.col("teacher_prediction") == pl.col("label")).mean()
    each = mine.group_by("subject", "method").agg(right.alias("accuracy"))
    return (
        mine.group_by("subject")
        .agg(pl.col("window").n_unique().cast(pl.Int64).alias("windows"), taught.alias("teacher_says"))
        .join(each.pivot(on="method", index="subject", values="accuracy"), on="subject")
        .sort("subject")
        .select("subject", "windows", "teacher_says", *methods)
    )


def columns(run: Run, frame: pl.DataFrame) -> Sequence[Column]:
    return [
        label("subject", "Subject"),
        integer("windows", "Windows"),
        number("teacher_says", "The teacher", scale=100),
        *(number(method, run.labels[method], scale=100) for method in frame.columns[3:]),
    ]


def caption(run: Run) -> str:
    return f"Share of each subject's test windows that is right, in percent, over all seeds. {captions.setting(run)}"
