"""How the chosen configurations learnt."""

import math
from collections.abc import Sequence
from typing import Any

import altair as alt
import polars as pl

from analysis.report.parts import Chart, Part, dashed, styled, tips
from analysis.report.searched import chosen, of_fold, score_title, searched
from analysis.run import Run
from benchmark.trial.folds import NAMES, folds_of, score_of

NAME, TITLE, PLACE = "curves", "Learning curves", 100


def build(run: Run) -> Sequence[Part]:
    """A line for each method that trains by epochs."""
    found = chosen(run, searched(run))
    points = [point for row in found.iter_rows(named=True) for point in curve(row)]
    if not points:
        return []
    rows = pl.DataFrame(points)
    caption = (
        "By epoch, the score of the configuration that was chosen for each method, or of the best so far where none is "
        "yet: the mean over the inner folds that it was trained on. A mark is the epoch that was kept. What is fitted "
        f"in closed form has no curve.{of_fold(run, found)} A click on a name shows it alone."
    )
    picked = alt.selection_point(fields=["label"], bind="legend")
    base = alt.Chart(rows).encode(
        x=alt.X("epoch:Q", title="Epoch", axis=alt.Axis(tickMinStep=1)),
        y=alt.Y("score:Q", title=score_title(run)),
        color=styled(alt.Color, run, rows["label"]),
        opacity=alt.when(picked).then(alt.value(1)).otherwise(alt.value(0.1)),
        tooltip=tips("label:N", "epoch:Q", "score:Q:.1f"),
    )
    lines = base.mark_line().encode(strokeDash=dashed(run)).add_params(picked)
    kept = base.transform_filter("datum.kept").mark_point(filled=True, size=70)
    shape = styled(alt.Shape, run, rows["label"])
    return [Chart("curves", caption, [alt.layer(lines, kept.encode(shape=shape)).properties(height=300)])]


def curve(row: dict[str, Any]) -> list[dict[str, Any]]:
    """A point for each epoch of a trial's row, in %; none of one that has a single point."""
    curves = [fold["curve"] for fold in folds_of(row).values()]
    epochs = min(map(len, curves), default=0)
    points = []
    for k in range(epochs if epochs > 1 else 0):
        scores = [score_of(dict(zip(NAMES, curve[k], strict=True))) for curve in curves]
        epoch = k + min(1, row["epochs"])
        score = 100 * math.fsum(scores) / len(scores)
        points.append({"label": row["label"], "epoch": epoch, "score": score, "kept": epoch == row["best_epoch"]})
    return points
