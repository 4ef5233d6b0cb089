"""Trials of the search as its charts show them."""

import json
from functools import lru_cache
from typing import Any

import polars as pl

from analysis.report.parts import labelled
from analysis.run import Run

READ = (
    "method", "fold", "trial_id", "started_at", "status", "inner_folds", "train_seconds", "epochs", "best_epoch",
    "val_balanced_agreement", "val_balanced_accuracy", "bridge_input", "bridge_output",
)  # fmt: skip


@lru_cache(maxsize=1)
def searched(run: Run) -> pl.DataFrame:
    """Search trials of the transfer methods in the first fold that was searched, method by method as they began.

    Adds ``label``; ``trial``, from 1; ``seconds`` of training up to its end; ``score``, what the protocol chooses by,
    null of a trial without one; ``whole``: done, and trained on as many inner folds as any of its method, without which
    scores cannot be compared; ``best`` score so far of those.
    """
    rows = run.search.select(name for name in READ if name in run.search.columns)
    rows = rows.filter(pl.col("method").is_in(run.of_kind("transfer")))
    rows = rows.filter(pl.col("fold") == pl.col("fold").min())
    done, folds = pl.col("status") == "done", pl.col("inner_folds").fill_null(1)
    order = run.ordered(rows["method"])
    rows = (
        labelled(run, rows)
        .sort(pl.col("method").cast(pl.Enum(order)), "started_at", "trial_id")
        .with_columns(
            pl.int_range(1, pl.len() + 1).over("method").alias("trial"),
            pl.col("train_seconds").fill_null(0).cum_sum().over("method").alias("seconds"),
            pl.coalesce("val_balanced_accuracy", "val_balanced_agreement").alias("score"),
            (done & (folds == folds.filter(done).max().over("method"))).fill_null(False).alias("whole"),
        )
    )
    comparable = pl.col("whole") & pl.col("score").is_not_null()
    best = pl.when(comparable).then("score").cum_max().forward_fill().over("method")
    return rows.with_columns(comparable.alias("whole"), best.alias("best"))


def score_title(run: Run) -> str:
    """What the protocol chooses by."""
    labels = run.setting("protocol") == "val_labels"
    return "Balanced accuracy on val (%)" if labels else "Balanced agreement with the teacher (%)"


def of_fold(run: Run, rows: pl.DataFrame) -> str:
    """A sentence that says which fold is shown, where several were searched."""
    folds = run.search["fold"].n_unique()
    return f" Fold {rows['fold'][0]}, the first of {folds} that were searched." if folds > 1 else ""


def options_of(row: dict[str, Any]) -> dict[str, Any]:
    """A trial's options; none of a row that does not say them."""
    return dict(json.loads(row["config"] or "{}"))


def chosen(run: Run, rows: pl.DataFrame) -> pl.DataFrame:
    """A comparable trial of each method, with ``config`` and ``folds``: the one whose options its final trials have, or
    else the best so far."""
    final = run.final.select("method", "fold", "config").unique()
    same = run.rows.filter(pl.col("stage") == "search").join(final.lazy(), on=final.columns, how="semi")
    found = (
        rows.filter("whole")
        .join(run.read(same.select("trial_id", final=pl.lit(True))), on="trial_id", how="left", maintain_order="left")
        .sort(pl.col("final").fill_null(False), "score", descending=True, maintain_order=True)
        .unique("method", keep="first", maintain_order=True)
    )
    return found.join(run.texts(found["trial_id"], "config", "folds"), on="trial_id", maintain_order="left")
