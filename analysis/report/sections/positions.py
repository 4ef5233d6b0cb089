"""Where the bridge stands: what was known of every pair of blocks, and what was found there."""

from collections.abc import Mapping, Sequence

import altair as alt
import polars as pl

from analysis.figures import positions
from analysis.report.parts import GREY, MARKED, Chart, Part, tips
from analysis.report.searched import of_fold, score_title, searched
from analysis.run import Run

NAME, TITLE, PLACE = "positions", "Positions", 70
BLOCKS = ["bridge_input", "bridge_output"]

Position = tuple[int, int]


def build(run: Run) -> Sequence[Part]:
    """What a two-stage choice was made from, and the best score that was found at each position."""
    rule = run.table(positions.NAME)
    if rule is None or rule.is_empty() or not set(rule.columns) >= positions.COLUMNS:
        return _searched(run, None)
    rule = rule.filter(pl.col("fold") == pl.col("fold").min()).sort(BLOCKS)
    choice: Position = rule.filter("chosen").select(BLOCKS).row(0)
    return [_two_stage(rule, choice), *_searched(run, choice)]


def _two_stage(rule: pl.DataFrame, choice: Position) -> Chart:
    i, j = choice
    quality = rule.unique("bridge_input", maintain_order=True)
    bars = (
        alt.Chart(quality)
        .mark_bar()
        .encode(
            x=alt.X("quality:Q", title="Quality (macro F1)"),
            y=alt.Y("bridge_input:O", title="New block i"),
            color=alt.when(f"datum.bridge_input === {i}").then(alt.value(MARKED)).otherwise(alt.value(GREY)),
            tooltip=tips("bridge_input:O", "quality:Q:.3f"),
        )
        .properties(height=26 * quality.height)
    )
    caption = (
        "The two-stage choice: first the new block i whose output tells the teacher's classes best, then the old block "
        f"j whose input is most like that output. Framed: its choice, i = {i}, j = {j}. Fold {rule['fold'][0]}."
    )
    return Chart("two-stage", caption, [bars, _map(rule, "similarity:Q:.3f", "Similarity (CKA)", {"choice": choice})])


def _searched(run: Run, choice: Position | None) -> list[Chart]:
    """A map for each method whose trials stood at several positions."""
    if not set(BLOCKS) <= set(run.trials.columns):
        return []
    charts = []
    for (label,), mine in searched(run).filter("whole").drop_nulls(BLOCKS).group_by("label", maintain_order=True):
        found = mine.group_by(BLOCKS).agg(pl.col("score").max() * 100).sort(BLOCKS)
        if found.height < 2:
            continue
        *at, best = found.sort("score", descending=True, maintain_order=True).row(0)
        marks: dict[str, Position] = {"best": (at[0], at[1])}
        caption = (
            f"{label}: the best score of the trials at each position, from the output of block i into the input of "
            f"block j; empty where none stood. Framed: the best, {at[0]} → {at[1]} with {best:.1f}.{of_fold(run, mine)}"
        )
        if choice:
            marks["choice"] = choice
            there = found.filter(pl.concat_list(BLOCKS) == list(choice))["score"].to_list()
            lost = f"its regret is {best - there[0]:.1f} points" if there else "no trial stood there"
            caption += f" Dashed: the two-stage choice, {choice[0]} → {choice[1]}; {lost}."
        charts.append(Chart(f"positions-{label}", caption, [_map(found, "score:Q:.1f", score_title(run), marks)]))
    return charts


def _map(cells: pl.DataFrame, value: str, title: str, marks: Mapping[str, Position]) -> alt.TopLevelMixin:
    # Blocks at which nothing stood have their place too.
    i, j = (list(range(max(cells[name].to_list()) + 1)) for name in BLOCKS)
    x = alt.X("bridge_output:O", title="Old block j", axis=alt.Axis(labelAngle=0), scale=alt.Scale(domain=j))
    y = alt.Y("bridge_input:O", title="New block i", scale=alt.Scale(domain=i))
    colour = alt.Color(value.rpartition(":")[0], title=title, scale=alt.Scale(scheme="viridis"))
    tooltip = tips("bridge_input:O", "bridge_output:O", value)
    layers = [alt.Chart(cells).mark_rect().encode(x=x, y=y, color=colour, tooltip=tooltip)]
    for name, place in marks.items():
        dash = [4, 3] if name == "choice" and len(marks) > 1 else [1, 0]
        frame = pl.DataFrame({**dict(zip(BLOCKS, place, strict=True)), "mark": name})
        mark = alt.Chart(frame).mark_rect(fillOpacity=0, stroke=MARKED, strokeWidth=3, strokeDash=dash)
        layers.append(mark.encode(x=x, y=y, tooltip="mark:N"))
    return alt.layer(*layers).properties(height=26 * len(i))
