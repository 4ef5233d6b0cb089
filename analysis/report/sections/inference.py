"""How long a prediction takes."""

from collections.abc import Sequence

import altair as alt
import polars as pl

from analysis.report.parts import PLAIN, Chart, Part, labelled, tips
from analysis.run import Run

NAME, TITLE, PLACE = "inference", "Inference time", 110


def build(run: Run) -> Sequence[Part]:
    """A bar for each method, and for each position of one that has positions."""
    rows = times(run)
    if rows.is_empty():
        return []
    caption = (
        "From the raw window to logits in batches of 16, per window: the median over final trials, for each position "
        "(new block → old block) at which one was built."
    )
    bars = alt.Chart(rows).mark_bar(color=PLAIN).encode(
        x=alt.X("milliseconds:Q", title="Milliseconds a window"),
        y=alt.Y("what:N", title=None, sort=None),
        tooltip=tips("what:N", "milliseconds:Q:.3f", "trials:Q"),
    )  # fmt: skip
    return [Chart("inference", caption, [bars.properties(height=22 * rows.height)])]


def times(run: Run) -> pl.DataFrame:
    """what, milliseconds, trials: by method and position, in the order of every table."""
    place = pl.col("bridge_position") if "bridge_position" in run.final.columns else pl.lit(None, pl.String)
    rows = labelled(run, run.final.drop_nulls("inference_seconds_per_window"))
    return (
        rows.with_columns(what=pl.concat_str("label", place, separator=" ", ignore_nulls=True))
        .group_by("method", "what")
        .agg(milliseconds=pl.col("inference_seconds_per_window").median() * 1000, trials=pl.len())
        .sort(pl.col("method").cast(pl.Enum(run.ordered(rows["method"]))), "what")
        .drop("method")
    )
