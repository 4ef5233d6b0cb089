"""Which class is taken for which."""

from collections.abc import Sequence

import altair as alt
import polars as pl

from analysis.report.parts import Chart, Part, tips
from analysis.run import Run

NAME, TITLE, PLACE = "confusion", "Confusion matrices", 80
WRITTEN = 8
"""Classes up to which shares are written into the cells."""


def build(run: Run) -> Sequence[Part]:
    """A matrix for each method with test predictions."""
    cells = confusions(run)
    if cells.is_empty():
        return []
    caption = (
        "Of the test windows of a true class (rows), the share in % that a method says is of each class (columns); "
        "windows of all seeds and folds."
    )
    every = [(name, cells.filter(pl.col("method") == name).drop("method")) for name in run.ordered(cells["method"])]
    return [
        Chart("confusion", caption, [_matrix(run, mine).properties(title=run.labels[name]) for name, mine in every])
    ]


def confusions(run: Run) -> pl.DataFrame:
    """method, true, said (names of classes), windows, and their share in % of the true class, null without any."""
    counts = (
        run.final_predictions.drop_nulls(["label", "prediction"])
        .group_by("method", "label", "prediction")
        .agg(windows=pl.len())
    )
    names = pl.DataFrame({"number": range(run.n_classes), "name": run.classes}).cast({"number": pl.Int64})
    every = counts.select("method").unique().join(names.select(label="number", true="name"), how="cross")
    every = every.join(names.select(prediction="number", said="name"), how="cross")
    return (
        every.join(counts, on=["method", "label", "prediction"], how="left")
        .sort("method", "label", "prediction")
        .with_columns(pl.col("windows").fill_null(0))
        .with_columns(share=100 * pl.col("windows") / pl.col("windows").sum().over("method", "label"))
        .select("method", "true", "said", "windows", pl.col("share").fill_nan(None))
    )


def _matrix(run: Run, cells: pl.DataFrame) -> alt.LayerChart:
    x = alt.X("said:N", title=None, sort=None, axis=alt.Axis(labelAngle=-40, labelLimit=90, labelOverlap=False))
    y = alt.Y("true:N", title=None, sort=None, axis=alt.Axis(labelLimit=90, labelOverlap=False))
    blues = alt.Color("share:Q", legend=None, scale=alt.Scale(scheme="blues", domain=[0, 100]))
    base = alt.Chart(cells).encode(x=x, y=y)
    layers = [base.mark_rect().encode(color=blues, tooltip=tips("true:N", "said:N", "windows:Q", "share:Q:.1f"))]
    if run.n_classes <= WRITTEN:
        ink = alt.when("datum.share > 55").then(alt.value("white")).otherwise(alt.value("#1a1a1a"))
        layers.append(base.mark_text(fontSize=11).encode(text=alt.Text("share:Q", format=".0f"), color=ink))
    return alt.LayerChart(layer=layers).properties(height=30 * run.n_classes)
