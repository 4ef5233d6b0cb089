"""Trials that did not end well, and why: equal reasons are counted together."""

from collections.abc import Sequence

import polars as pl

from analysis import captions
from analysis.run import STAGES, UNWELL, Run
from analysis.writers import Column, integer, label

NAME = "failures"
TITLE = "Trials that did not end well"
TRACEBACK = "Traceback (most recent call last):"


def build(run: Run) -> pl.DataFrame:
    """One row per method, stage, status and reason. Empty where all trials ended well."""
    said = ("method", "stage", "status", "error")
    unwell = run.read(run.rows.filter(pl.col("status").is_in(UNWELL)).group_by(said).agg(trials=pl.len()))
    if unwell.is_empty():
        return pl.DataFrame()
    order = run.ordered(unwell["method"])
    reasons = [reason(status, error) for status, error in unwell.select("status", "error").iter_rows()]
    return (
        unwell.with_columns(pl.Series("why", reasons))
        .group_by("method", "stage", "status", "why")
        .agg(pl.col("trials").sum().cast(pl.Int64))
        .with_columns(
            pl.col("method").replace_strict({method: run.labels[method] for method in order}).alias("label"),
        )
        .sort(
            pl.col("method").cast(pl.Enum(order)),
            pl.col("stage").cast(pl.Enum(STAGES)),
            pl.col("status").cast(pl.Enum(UNWELL)),
            pl.col("trials").neg(),
            "why",
        )
        .select("method", "label", "stage", "status", "trials", "why")
    )


def reason(status: str, error: str | None) -> str:
    """The decisive line of a row's error: that of a traceback's last exception, any other text's first."""
    text = (error or "").strip()
    if text.startswith(TRACEBACK):
        lines = text.rpartition(TRACEBACK)[2].splitlines()
        text = next((line for line in lines if line and not line.startswith(" ")), "")
    return text.partition("\n")[0].strip().removeprefix(f"{status}: ") or "not recorded"


def columns(run: Run, frame: pl.DataFrame) -> Sequence[Column]:
    return [
        label("label", "Method"),
        label("stage", "Stage"),
        label("status", "Status"),
        integer("trials", "Trials"),
        label("why", "Why"),
    ]


def caption(run: Run) -> str:
    return (
        "Failed: an error ended the trial. Diverged: its outputs were no longer finite. No other table has numbers of "
        f"these trials; what they said in full is column error of trials.parquet. {captions.setting(run)}"
    )
