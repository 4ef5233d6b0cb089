"""For whom the reference is better, and for whom it is worse."""

from collections.abc import Sequence

import altair as alt
import polars as pl

from analysis import pairs
from analysis.report.parts import INK, MARKED, PLAIN, Chart, Part, labelled, sampled, tips
from analysis.run import Run

NAME, TITLE, PLACE = "subjects", "Subject by subject", 90
MOST = 3000
"""Points that are drawn."""


def build(run: Run) -> Sequence[Part]:
    """A row for each other method, a point for each subject."""
    rows = labelled(run, pairs.by_subject(run)).with_columns(pl.col("difference") * 100)
    if rows.is_empty():
        return []
    reference = run.labels[str(pairs.reference(run))]
    means = rows.group_by("label", maintain_order=True).agg(pl.col("difference").mean(), subjects=pl.len())
    points, said = sampled(rows, MOST, "points")
    caption = (
        f"{reference} minus each other method, a point for each test subject: its share of the difference of pooled "
        "balanced accuracy, times the number of subjects. The stroke is their mean, the difference in the table of "
        f"paired comparisons; right of 0, {reference} is better.{said}"
    )
    x = alt.X("difference:Q", title=f"{reference} minus … (points)")
    y = alt.Y("label:N", title=None, sort=None)
    layers = [
        alt.Chart(pl.DataFrame({"zero": [0]})).mark_rule(color=INK, opacity=0.5).encode(x="zero:Q"),
        alt.Chart(points)
        .mark_circle(size=36, opacity=0.55, color=PLAIN)
        .encode(x=x, y=y, tooltip=tips("subject:N", "label:N", "difference:Q:.1f")),
        alt.Chart(means)
        .mark_tick(thickness=3, size=18, color=MARKED)
        .encode(x=x, y=y, tooltip=tips("label:N", "difference:Q:.1f", "subjects:Q")),
    ]
    return [Chart("differences", caption, [alt.layer(*layers).properties(height=26 * means.height)])]
