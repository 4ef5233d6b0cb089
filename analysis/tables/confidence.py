"""Whether the reference follows the teacher where he is sure: agreement by his confidence."""

from collections.abc import Sequence

import polars as pl

from analysis import captions, pairs
from analysis.run import Run
from analysis.writers import Column, integer, label, number

NAME = "confidence"
TITLE = "Agreement by the teacher's confidence"
LONG = True
QUARTERS = ("least sure", "less sure", "surer", "surest")


def build(run: Run) -> pl.DataFrame:
    """One row for each quarter of the test windows, by confidence: shares in [0, 1]. Empty without a reference."""
    reference = pairs.reference(run)
    mine = run.final_predictions.filter(pl.col("method") == reference).drop_nulls("teacher_confidence")
    if mine.is_empty():
        return pl.DataFrame()
    said, taught, true = (pl.col(name) for name in ("prediction", "teacher_prediction", "label"))
    quarter = ((pl.col("teacher_confidence").rank("ordinal") - 1) * 4 // pl.len()).cast(pl.Int64)
    return (
        mine.sort("teacher_confidence", "window", "seed")
        .with_columns(quarter.alias("quarter"))
        .group_by("quarter")
        .agg(
            pl.len().cast(pl.Int64).alias("windows"),
            pl.col("teacher_confidence").min().alias("from"),
            pl.col("teacher_confidence").max().alias("to"),
            (said == taught).mean().alias("agreement"),
            (said == true).mean().alias("accuracy"),
            (taught == true).mean().alias("teacher_accuracy"),
        )
        .sort("quarter")
        .with_columns(pl.col("quarter").replace_strict(dict(enumerate(QUARTERS)), return_dtype=pl.String))
    )


def columns(run: Run, frame: pl.DataFrame) -> Sequence[Column]:
    return [
        label("quarter", "The teacher is"),
        number("from", "From", scale=100),
        number("to", "To", scale=100),
        integer("windows", "Windows"),
        number("agreement", "Agreement", scale=100),
        number("accuracy", "Accuracy", scale=100),
        number("teacher_accuracy", "The teacher's", scale=100),
    ]


def caption(run: Run) -> str:
    name = run.labels[str(pairs.reference(run))]
    return (
        f"{name} on quarters of the test windows of all seeds, by the probability that the teacher gives the class it "
        f"names; in percent. {captions.setting(run)}"
    )
