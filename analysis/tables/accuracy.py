"""How well each method predicts the test split, between what it should beat and what labels would have given."""

from collections.abc import Sequence
from functools import lru_cache

import polars as pl

from analysis import captions, pairs
from analysis.run import CHANCE, Run
from analysis.statistics import DRAWS, METRICS, bootstrap_balanced_accuracy, summarise
from analysis.writers import MISSING, Column, Row, interval, label, mean_sd, number

NAME = "accuracy"
TITLE = "Accuracy on the test split"


@lru_cache(maxsize=1)
def build(run: Run) -> pl.DataFrame:
    """One row per method with final trials: value, deviation, and the interval over subjects, in [0, 1].

    ``group`` has the letters of a transfer method, null where there is but one.

    A method whose final trials all failed keeps a row without numbers. Chance is 1 / classes unless the run
    measured it.
    """
    counts = run.final_counts
    if counts.is_empty():
        return pl.DataFrame()
    intervals = bootstrap_balanced_accuracy(run)
    bounds = pl.DataFrame(
        [(method, low, high) for method, (low, high) in intervals.items()],
        schema={"method": pl.String, "balanced_accuracy_low": pl.Float64, "balanced_accuracy_high": pl.Float64},
        orient="row",
    )
    rows = counts.join(summarise(run), on="method", how="left").join(bounds, on="method", how="left")
    if CHANCE.name not in rows["method"]:
        guess = 1 / run.n_classes
        chance = pl.DataFrame(
            {"method": [CHANCE.name], "balanced_accuracy": [guess], "accuracy": [guess], "kappa": [0.0]}
        )
        rows = pl.concat([rows, chance], how="diagonal")
    order, letters = run.ordered(rows["method"]), pairs.groups(run)
    return (
        rows.with_columns(
            # Of one method alone, a letter would say nothing.
            pl.col("method")
            .replace_strict(letters if len(letters) > 1 else {}, default=None, return_dtype=pl.String)
            .alias("group"),
            pl.col("method").replace_strict({method: run.labels[method] for method in order}).alias("label"),
            pl.col("method").replace_strict({method: k for k, method in enumerate(order)}).alias("order"),
        )
        .sort("order")
        .select(
            "method",
            "label",
            "group",
            "done",
            "planned",
            "balanced_accuracy",
            "balanced_accuracy_sd",
            "balanced_accuracy_low",
            "balanced_accuracy_high",
            *(f"{name}{suffix}" for name in METRICS[1:] for suffix in ("", "_sd")),
        )
    )


def columns(run: Run, frame: pl.DataFrame) -> Sequence[Column]:
    return [
        label("label", "Method"),
        mean_sd("balanced_accuracy", "Balanced accuracy"),
        interval("balanced_accuracy", "95 % interval"),
        *([label("group", "Group", right=True)] if frame["group"].count() else []),
        mean_sd("macro_f1", "Macro F1"),
        mean_sd("weighted_f1", "Weighted F1"),
        mean_sd("accuracy", "Accuracy"),
        number("kappa", "Cohen's kappa", digits=2),  # its deviation is one too many for 120 columns
        mean_sd("agreement", "Teacher agreement"),
        Column("Runs", runs),
    ]


def runs(row: Row) -> str:
    """Final trials that are done, and out of how many unless all are."""
    done, planned = row["done"], row["planned"]
    return MISSING if done is None else str(done) if done == planned else f"{done} of {planned}"


def caption(run: Run) -> str:
    subjects = run.final_predictions["subject"].n_unique()
    folds = f", pooled over {len(run.folds)} folds" if run.folds else ""
    over = f"; the mean over {len(run.seeds)} seeds ± their sample standard deviation" if len(run.seeds) > 1 else ""
    bounds = (
        f"The interval is a percentile bootstrap of the same value over {DRAWS:,} draws of the {subjects} test "
        "subjects with replacement."
        if subjects > 1
        else "There is no interval over subjects: the test split has one."
    )
    group = (
        "Group: two methods share a letter if they are not told apart, by paired tests over subjects after Holm at "
        f"{100 * pairs.LEVEL:.0f} % and by the interval of their difference. "
        if len(pairs.groups(run)) > 1
        else ""
    )
    return (
        f"In %, except kappa: from the test predictions of a seed{folds}{over}. {bounds} {group}"
        "Agreement: share of windows for which the prediction is the teacher's. Runs: final trials done. "
        f"{captions.setting(run)}"
    )
