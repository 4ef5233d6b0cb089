"""What each method trains, stores and costs, at the configuration that was chosen for it."""

from collections.abc import Sequence

import polars as pl

from analysis import captions, methods
from analysis.run import Run
from analysis.writers import MISSING, Column, Row, integer, label, number

NAME = "parameters"
TITLE = "Parameters and cost"

CONFIGURATION = (
    "method",
    "trainable_parameters",
    "stored_parameters",
    "bridge_input",
    "bridge_output",
    "rank",
    "prototypes",
)


def build(run: Run) -> pl.DataFrame:
    """One row per method and chosen configuration (folds may choose differently): counts, position, median seconds.

    ``reduction`` is the share of the full student's trainable parameters that a transfer method does without,
    null where the run has no such student.
    """
    trained = run.final.filter(~pl.col("method").is_in(["chance", "majority"]))
    if trained.is_empty():
        return pl.DataFrame()
    student = trained.filter(pl.col("method") == methods.STUDENT)["trainable_parameters"].max()
    transfer = [method for method in trained["method"].unique() if methods.kind(method) == "transfer"]
    order = methods.ordered(trained["method"])
    # The row holds j as a number; that it is the number of old blocks stands in the method's own options.
    output = pl.col("config").str.json_path_match("$.output")
    return (
        trained.with_columns((output == "head").fill_null(False).alias("at_head"))
        .group_by(*CONFIGURATION, "at_head")
        .agg(
            pl.len().cast(pl.Int64).alias("done"),
            pl.col("step_seconds", "inference_seconds_per_window").median(),
        )
        .with_columns(
            pl.col("method").replace_strict({method: methods.label(method) for method in order}).alias("label"),
            pl.col("method").replace_strict({method: k for k, method in enumerate(order)}).alias("order"),
            pl.when(pl.col("method").is_in(transfer))
            .then(1 - pl.col("trainable_parameters") / pl.lit(student, pl.Float64))
            .alias("reduction"),
        )
        .sort("order", *CONFIGURATION[1:], nulls_last=True)
        .select(
            "method",
            "label",
            "trainable_parameters",
            "reduction",
            "stored_parameters",
            "bridge_input",
            "bridge_output",
            "at_head",
            "rank",
            "prototypes",
            "step_seconds",
            "inference_seconds_per_window",
            "done",
        )
    )


def position(row: Row) -> str:
    """``i → j``, with the head by name."""
    if row["bridge_input"] is None or row["bridge_output"] is None:
        return MISSING
    return f"{row['bridge_input']} → {'head' if row['at_head'] else row['bridge_output']}"


def columns(frame: pl.DataFrame) -> Sequence[Column]:
    return [
        label("label", "Method"),
        integer("trainable_parameters", "Trainable parameters"),
        number("reduction", "Reduction (%)", scale=100),
        integer("stored_parameters", "Stored parameters"),
        Column("Position i → j", position),
        integer("rank", "Rank"),
        integer("prototypes", "Prototypes"),
        number("step_seconds", "Training step (ms)", scale=1000),
        number("inference_seconds_per_window", "Inference per window (ms)", digits=2, scale=1000),
        integer("done", "Runs"),
    ]


def caption(run: Run) -> str:
    return (
        "The configuration that was chosen for each method. Reduction: trainable parameters against the whole new "
        f"model with its head ({methods.label(methods.STUDENT)}). Position: the block of the new model that the bridge "
        "leaves and the block of the old model whose input it enters. Seconds are medians over the final trials; "
        f"runs: final trials with this configuration. {captions.setting(run)}"
    )
