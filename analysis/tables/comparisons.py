"""The reference method minus each other one, over the same subjects, folds and seeds."""

from collections.abc import Sequence
from dataclasses import asdict

import polars as pl

from analysis import captions, pairs
from analysis.run import Run
from analysis.statistics import DRAWS
from analysis.writers import MISSING, Column, Row, integer, interval, label, number

NAME = "comparisons"
TITLE = "Paired comparisons"


def how(family: str) -> str:
    """What a caption says of how two are told apart; ``family``: over what p is adjusted."""
    return (
        f"Interval: percentile bootstrap, {DRAWS:,} draws of the subjects, the same for both. p: Wilcoxon signed-rank "
        "test over subjects, of each one's share of the pooled value; zeros after Pratt. Holm: adjusted over "
        f"{family}. Told apart: p (Holm) of at most {100 * pairs.LEVEL:.0f} %, and an interval without 0."
    )


HOW = how("the transfer methods, and over floors and ceilings apart")
SHOWN = ("difference", "difference_low", "difference_high", "p", "p_holm", "superiority", "subjects", "seeds", "tests")


def build(run: Run) -> pl.DataFrame:
    """One row per other method with test predictions; empty where the reference has none, or no other has any.

    The columns are those of ``pairs.Pair``, the difference and its interval as parts of 1, and ``different``.
    """
    reference = str(pairs.reference(run))
    rows = [
        {
            **asdict(pair),
            "method": pair.b,
            "label": run.labels[pair.b],
            "kind": "transfer" if pair.b in run.of_kind("transfer") else "reference",
            "difference_low": pair.low,
            "difference_high": pair.high,
            "different": pair.different,
        }
        for key, found in pairs.compared(run).items()
        if reference in key
        for pair in [found.seen_from(reference)]
    ]
    if not rows:
        return pl.DataFrame()
    order = run.ordered(row["method"] for row in rows)
    rows.sort(key=lambda row: order.index(row["method"]))
    return (
        pl.DataFrame(rows, infer_schema_length=None)
        .select("method", "label", "kind", *SHOWN, "different")
        .fill_nan(None)
    )


def columns(run: Run, frame: pl.DataFrame) -> Sequence[Column]:
    return [
        label("label", f"{_reference(run)} minus"),
        number("difference", "Difference (points)", scale=100),
        interval("difference", "95 % interval"),
        Column("p", lambda row: p_text(row, "p")),
        Column("p (Holm)", lambda row: p_text(row, "p_holm")),
        Column("Told apart", lambda row: "yes" if row["different"] else "no"),
        number("superiority", "Probability of superiority", digits=2),
        integer("subjects", "Subjects"),
        integer("seeds", "Seeds"),
    ]


def p_text(row: Row, name: str) -> str:
    return MISSING if row["difference"] is None else "< 0.001" if row[name] < 0.001 else f"{row[name]:.3f}"


def _reference(run: Run) -> str:
    return run.labels[str(pairs.reference(run))]


def caption(run: Run) -> str:
    return (
        f"{_reference(run)}, the plan's first transfer method, minus each other method, over the subjects, folds and "
        "seeds that both have. Difference: of balanced accuracy on pooled windows, as in the table of accuracy. "
        f"{HOW} Probability of superiority: share of subjects for whom "
        f"{_reference(run)} is better, ties half. {captions.setting(run)}"
    )
