"""What a search with several objectives found: configurations that no other one beats in all of them."""

from collections.abc import Sequence

import polars as pl

from analysis.run import Run

AGREEMENT = "val_balanced_agreement"


def objectives(run: Run) -> list[str]:
    """Columns of the objectives beside agreement; none where the search had no other."""
    return list(run.setting("search.objectives") or [])[1:]


def compared(run: Run) -> pl.DataFrame:
    """Search trials of each study that are done and were trained on as many inner folds as any of it, with ``front``:
    whether none of its study beats it."""
    most = pl.col("inner_folds").max().over("method", "fold")
    done = run.search.filter(pl.col("status") == "done").filter(pl.col("inner_folds") == most)
    return done.with_columns(_front(done, objectives(run)))


def _front(rows: pl.DataFrame, small: Sequence[str]) -> pl.Series:
    """Whether no row of the same study is at least as good in all objectives and better in one."""
    numbered = rows.select("method", "fold", AGREEMENT, *small).with_row_index("row")
    pairs = numbered.join(numbered, on=["method", "fold"], suffix="_other")
    as_good = [pl.col(f"{AGREEMENT}_other") >= pl.col(AGREEMENT), *(pl.col(f"{n}_other") <= pl.col(n) for n in small)]
    better = [pl.col(f"{AGREEMENT}_other") > pl.col(AGREEMENT), *(pl.col(f"{n}_other") < pl.col(n) for n in small)]
    beaten = pairs.filter(pl.all_horizontal(as_good), pl.any_horizontal(better))["row"].unique()
    return (~numbered["row"].is_in(beaten.implode())).alias("front")
