"""The Pareto set of a search with several objectives."""

from collections.abc import Sequence

import polars as pl

from analysis import captions
from analysis.pareto import AGREEMENT, compared, objectives
from analysis.run import Run
from analysis.writers import Column, integer, label, number

NAME = "pareto"
TITLE = "Pareto set of the search"


def build(run: Run) -> pl.DataFrame:
    """One row per configuration of the Pareto set of its study, best agreement first. Empty with one objective."""
    small = objectives(run)
    if not small or run.search.is_empty():
        return pl.DataFrame()
    found = compared(run).filter("front")
    order = run.ordered(found["method"])
    return (
        found.with_columns(
            pl.col("method").replace_strict({method: run.labels[method] for method in order}).alias("label"),
        )
        .sort(pl.col("method").cast(pl.Enum(order)), "fold", pl.col(AGREEMENT).neg(), *small, "trial_id")
        .select("method", "label", "fold", "trial_id", AGREEMENT, "score_standard_error", *small, "inner_folds")
    )


def columns(run: Run, frame: pl.DataFrame) -> Sequence[Column]:
    return [
        label("label", "Method"),
        integer("fold", "Fold"),
        label("trial_id", "Trial"),
        number(AGREEMENT, "Agreement (%)", scale=100),
        number("score_standard_error", "Standard error", scale=100),
        *(integer(name, name.replace("_", " ").capitalize()) for name in objectives(run)),
    ]


def caption(run: Run) -> str:
    small = " and ".join(name.replace("_", " ") for name in objectives(run))
    return (
        "Configurations that no other one of the same method and fold beats: none has at least its agreement with the "
        f"teacher and no more {small}, and is better in one. "
        f"Among those that were trained on the most inner folds. {captions.setting(run)}"
    )
