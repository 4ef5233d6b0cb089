"""The one chart that answers the question: accuracy against what is trained."""

import math
from collections.abc import Sequence

import altair as alt
import polars as pl

from analysis.figures.accuracy_parameters import shifts
from analysis.report.parts import INK, Chart, Part, styled, tips
from analysis.run import Run
from analysis.tables import accuracy

NAME, TITLE, PLACE = "answer", "Accuracy and what it costs to train", 10
DASHES = ([6, 3], [2, 3], [10, 3, 2, 3], [1, 5], [12, 4], [4, 2, 1, 2])
DODGE = 0.022
"""Of the axis, between methods that train about the same number of parameters."""


def build(run: Run) -> Sequence[Part]:
    """A point and interval for each transfer method, their Pareto front; floors and ceilings are lines."""
    frame = accuracy.build(run)
    if frame.is_empty():
        return []
    trained = run.final.group_by("method").agg(parameters=pl.col("trainable_parameters").median())
    rows = frame.join(trained, on="method", how="left", maintain_order="left").drop_nulls("balanced_accuracy")
    rows = rows.with_columns(pl.col("^balanced_accuracy(_low|_high)?$") * 100)
    transfer = pl.col("method").is_in(run.of_kind("transfer"))
    points = rows.filter(transfer).drop_nulls("parameters")
    if points.is_empty():
        return []
    sizes = points["parameters"].to_list()
    # Nought has no place on a log axis: it stands a decade before the smallest.
    low = 10.0 ** (math.floor(math.log10(min([size for size in sizes if size > 0] or [10]))) - (min(sizes) == 0))
    at = [max(size, low) for size in sizes]
    step = DODGE * (math.log10(max(at) / low) + 0.5)
    points = points.with_columns(
        pl.Series("x", [place * 10 ** (step * shift) for place, shift in zip(at, shifts(at), strict=True)]),
        pl.Series("front", front(points.select("balanced_accuracy", "parameters").rows())),
    )
    highest, nought = max(points["x"].to_list()), 1.1 * low if min(sizes) == 0 else 0
    x = alt.X(
        "x:Q",
        title="Trainable parameters",
        scale=alt.Scale(type="log", domain=[low / 1.5, highest * 1.5], nice=False),
        axis=alt.Axis(
            values=[10.0**k for k in range(round(math.log10(low)), math.ceil(math.log10(highest)) + 1)],
            labelExpr=f"datum.value < {nought} ? '0' : format(datum.value, '~s')",
        ),
    )
    y = alt.Y("balanced_accuracy:Q", title="Balanced accuracy on test (%)")
    colour, shape = (styled(channel, run, points["label"]) for channel in (alt.Color, alt.Shape))
    numbers = [f"balanced_accuracy{end}:Q:.1f" for end in ("", "_low", "_high")]
    dash = alt.StrokeDash(
        "reference:N",
        sort=None,
        scale=alt.Scale(range=DASHES),
        legend=alt.Legend(symbolType="stroke", symbolSize=500, columns=1, labelLimit=260),
    )
    layers = [
        alt.Chart(_lines(rows.filter(~transfer)))
        .mark_rule(color=INK, opacity=0.65, strokeWidth=1.4)
        .encode(y=y, strokeDash=dash, tooltip="reference:N"),
        alt.Chart(points.filter("front").sort("x"))
        .mark_line(interpolate="step-after", color=INK, opacity=0.35, strokeWidth=5)
        .encode(x=x, y=y),
        alt.Chart(points.drop_nulls("balanced_accuracy_low"))
        .mark_rule(strokeWidth=1.6)
        .encode(x=x, y="balanced_accuracy_low:Q", y2="balanced_accuracy_high:Q", color=colour),
        alt.Chart(points)
        .mark_point(filled=True, size=90, opacity=1)
        .encode(x=x, y=y, color=colour, shape=shape, tooltip=tips("label:N", *numbers, "parameters:Q:,")),
    ]
    caption = (
        "Balanced accuracy on test against the number of parameters that are trained, the median over final trials; "
        "bars: 95 % interval over subjects, as in the table below. Broad line: the Pareto front, methods that no other "
        "one beats with as few parameters. Dashed: what should be beaten, and what the teacher and labels reach. "
        "Methods of about equal size stand side by side."
    )
    return [Chart("accuracy-parameters", caption, [alt.layer(*layers).properties(height=340)])]


def front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Of (accuracy, parameters), whether no other one has as much with as few and is better in one."""
    return [not any(a >= b and p <= q and (a, p) != (b, q) for a, p in points) for b, q in points]


def _lines(rows: pl.DataFrame) -> pl.DataFrame:
    """``balanced_accuracy`` and ``reference``, what is written of it; equal ones share a line."""
    found: dict[str, list[object]] = {"balanced_accuracy": [], "reference": []}
    for (value,), same in rows.group_by(pl.col("balanced_accuracy").round(1), maintain_order=True):
        first, *others = same["label"].to_list()
        found["balanced_accuracy"].append(same["balanced_accuracy"][0])
        found["reference"].append(f"{' and '.join([first, *map(str.lower, others)])} {value:.1f} %")
    return pl.DataFrame(found, schema={"balanced_accuracy": pl.Float64, "reference": pl.String})
