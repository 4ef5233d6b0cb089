"""How the search went on: the best so far, over trials and over seconds."""

from collections.abc import Sequence

import altair as alt
import polars as pl

from analysis.report.parts import Chart, Part, dashed, sampled, styled, tips
from analysis.report.searched import of_fold, score_title, searched
from analysis.run import Run

NAME, TITLE, PLACE = "search", "The search", 40
MOST = 2000
"""Trials, and steps of the lines, that are drawn."""


def build(run: Run) -> Sequence[Part]:
    """Both charts of the first searched fold."""
    rows = searched(run).with_columns(pl.col("score", "best") * 100)
    scored = rows.filter(pl.col("score").is_finite())
    if scored.is_empty():
        return []
    columns = ("label", "trial", "trial_id", "seconds", "whole")
    points, said = sampled(scored.select(*columns, "score"), MOST, "trials")
    steps, _ = sampled(_steps(rows).select(*columns, "best"), MOST, "steps")
    partial, without = scored.filter(~pl.col("whole")).height, rows.height - scored.height
    hollow = (
        f" Hollow: {partial} that were stopped early or trained on fewer inner folds; their scores cannot be compared, "
        "and no best counts them."
    )
    caption = (
        "The best score so far of each method, by the number of its trials and by the seconds that these were trained "
        f"for, on processes that share a machine. Points: trials, {rows.height} in all.{hollow if partial else ''}"
        f"{f' {without} have no score.' if without else ''}{said}{of_fold(run, rows)} A click on a name shows it alone."
    )
    charts = [_chart(run, alt.X("trial:Q", title="Trial", axis=alt.Axis(tickMinStep=1)), points, steps)]
    later = pl.col("seconds") > 0
    if rows.filter(later).height:
        seconds = alt.X(
            "seconds:Q", title="Seconds of training", scale=alt.Scale(type="log"), axis=alt.Axis(tickCount=4)
        )
        charts.append(_chart(run, seconds, points.filter(later), steps.filter(later)))
    return [Chart("best-so-far", caption, charts)]


def _steps(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows at which a best is found, and the last of each method: all that a line of steps needs."""
    rows = rows.drop_nulls("best")
    changed = pl.col("best") != pl.col("best").shift(1).over("method")
    return rows.filter(changed.fill_null(True) | (pl.col("trial") == pl.col("trial").max().over("method")))


def _chart(run: Run, x: alt.X, points: pl.DataFrame, steps: pl.DataFrame) -> alt.TopLevelMixin:
    colour, fill, shape = (styled(channel, run, points["label"]) for channel in (alt.Color, alt.Fill, alt.Shape))
    picked = alt.selection_point(fields=["label"], bind="legend")
    lines = (
        alt.Chart(steps)
        .mark_line(interpolate="step-after")
        .encode(
            x=x,
            y=alt.Y("best:Q", title=score_title(run)),
            color=colour,
            strokeDash=dashed(run),
            opacity=alt.when(picked).then(alt.value(1)).otherwise(alt.value(0.08)),
        )
    )
    dots = (
        alt.Chart(points)
        .mark_point(size=34)
        .encode(
            x=x,
            y="score:Q",
            color=colour,
            fill=fill,
            shape=shape,
            fillOpacity=alt.when("datum.whole").then(alt.value(1)).otherwise(alt.value(0)),
            opacity=alt.when(picked).then(alt.value(0.75)).otherwise(alt.value(0.04)),
            tooltip=tips("label:N", "trial_id:N", "score:Q:.1f", "seconds:Q:,.1f"),
        )
    )
    return alt.layer(lines, dots.add_params(picked)).properties(height=300)
