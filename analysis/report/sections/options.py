"""What was searched: the options of all trials beside each other, and what each of them alone tells of the score."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import polars as pl
from scipy.stats import rankdata

from analysis.report.parts import GREY, INK, MARKED, PLAIN, Chart, Part, sampled, tips
from analysis.report.searched import of_fold, options_of, score_title, searched
from analysis.run import Run

NAME, TITLE, PLACE = "options", "What was searched", 60
DRAWN, RANKED, LEAST = 60, 5000, 8
"""Trials of a method that are drawn, that are ranked, and below which nothing is said of an option."""
UNUSED, ASIDE = "not used", -0.15
"""Of an option that another one switches off, and where it stands."""
SIGNS = {1: "higher is better", -1: "lower is better", 0: "no order"}

Row = Mapping[str, Any]


def build(run: Run) -> Sequence[Part]:
    """Parallel coordinates and shares, a method at a time."""
    rows = searched(run)
    lines: list[Row] = []
    ends: list[Row] = []
    shares: list[Row] = []
    said = ""
    for _, mine in rows.filter("whole").group_by("method", maintain_order=True):
        ranked, _ = sampled(mine, RANKED, "trials")
        ranked = ranked.join(run.texts(ranked["trial_id"], "config"), on="trial_id", maintain_order="left")
        values, label = varied(ranked), ranked["label"][0]
        drawn, more = sampled(ranked.with_row_index().sort("score"), DRAWN, "trials of a method")
        said = more or said
        for place, (option, every) in enumerate(values.items()):
            own = {"label": label, "option": option}
            at, marks = _axis(every)
            ends += [{**own, "at": where, "text": text} for where, text in marks]
            lines += [
                {**own, "place": place, "at": at[k], "value": _text(every[k]), "trial": trial, "score": 100 * score}
                for k, trial, score in drawn.select("index", "trial_id", "score").iter_rows()
            ]
            shares += [{**own, **share} for share in explained(every, ranked["score"].to_numpy())]
    parts = []
    if lines:
        caption = (
            "A line is a trial that can be compared, coloured by its score; a row an option, its smallest value on the "
            "left and its largest on the right, on a log scale where it spans more than a factor of 50. Left of all: "
            f"trials in which another option leaves it unused.{said}{of_fold(run, rows)}"
        )
        parts.append(Chart("parallel-coordinates", caption, [_parallel(run, lines, ends)]))
    if shares:
        caption = (
            "What an option alone tells of the score: the share of the variance of the score's ranks over trials, for "
            "numbers Spearman's squared correlation, for words the share between their groups, adjusted for their "
            "number. It sees no interaction, and a search that closes in on good values flattens it. Options with "
            f"fewer than {LEAST} trials are left out.{of_fold(run, rows)}"
        )
        parts.append(Chart("option-importance", caption, [_bars(shares)]))
    return parts


def varied(rows: pl.DataFrame) -> dict[str, list[Any]]:
    """Options that were not the same in all trials, each with its value in every trial, None where it is not used."""
    every = [options_of(row) for row in rows.iter_rows(named=True)]
    values = {name: [options.get(name) for options in every] for name in sorted({n for o in every for n in o})}
    return {name: column for name, column in values.items() if len(set(map(str, column))) > 1}


def explained(values: Sequence[Any], score: np.ndarray) -> Iterator[Row]:
    """The share in % of the variance of the score's ranks that an option tells, its direction, and of how many trials;
    nothing where it took one value, or too few trials use it."""
    used = [k for k, value in enumerate(values) if value is not None]
    kept, ranks = [values[k] for k in used], rankdata(score[used])
    if len(used) < LEAST or len(set(map(str, kept))) < 2 or not ranks.std():
        return
    if _ordered(kept):
        correlation = float(np.corrcoef(rankdata(kept), ranks)[0, 1])
        share, sign = correlation**2, int(np.sign(correlation))
    else:
        # Epsilon squared (Kelley, 1935): eta squared less what chance puts between groups.
        groups = [ranks[[value == group for value in kept]] for group in dict.fromkeys(kept)]
        within = sum(float(group.var() * len(group)) for group in groups) / max(len(kept) - len(groups), 1)
        share, sign = max(0.0, 1 - within / float(ranks.var(ddof=1))), 0
    yield {"share": 100 * share, "direction": SIGNS[sign], "trials": len(used)}


def _ordered(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _axis(values: Sequence[Any]) -> tuple[list[float], list[tuple[float, str]]]:
    """Where each value stands on an axis from 0 to 1, and what is written below it."""
    used = [value for value in values if value is not None]
    if _ordered(used):
        low, high = min(used), max(used)
        scale = math.log if low > 0 and high / low > 50 else float
        place = {value: (scale(value) - scale(low)) / (scale(high) - scale(low) or 1) for value in used}
        ends = [low, *([high] if high > low else [])]
    else:
        ends = sorted(set(used), key=lambda value: (0, value, "") if _ordered([value]) else (1, 0, str(value)))
        place = {value: k / max(len(ends) - 1, 1) for k, value in enumerate(ends)}
    unused = [(ASIDE, UNUSED)] if len(used) < len(values) else []
    return [place.get(value, ASIDE) for value in values], [*unused, *((place[end], _text(end)) for end in ends)]


def _text(value: Any) -> str:
    return UNUSED if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def _of_one(chart: alt.TopLevelMixin, rows: Sequence[Row], height: int) -> alt.TopLevelMixin:
    """With a choice of the method that is shown, and room for the one with the most options."""
    options = Counter(label for label, _ in {(row["label"], row["option"]): None for row in rows})
    shown = alt.param(
        name="shown", value=next(iter(options)), bind=alt.binding_select(options=[*options], name="Method ")
    )
    return chart.add_params(shown).properties(height=height * max(options.values()))  # type: ignore[attr-defined]


def _parallel(run: Run, lines: Sequence[Row], ends: Sequence[Row]) -> alt.TopLevelMixin:
    y = alt.Y("option:N", title=None, sort=alt.SortField("place"), axis=alt.Axis(grid=True))
    x = alt.X("at:Q", axis=None, scale=alt.Scale(domain=[ASIDE - 0.05, 1.05]))
    viridis = alt.Scale(scheme="viridis")
    drawn = alt.Chart(alt.Data(values=lines)).transform_filter("datum.label === shown").encode(x=x, y=y)
    # Under another name: a legend that lines and circles share would be one of symbols.
    shades = drawn.transform_calculate(shade="datum.score").mark_line(opacity=0.7, strokeWidth=1.4)
    layers = [
        shades.encode(stroke=alt.Stroke("shade:Q", scale=viridis, legend=None), detail="trial:N", order="place:Q"),
        drawn.mark_circle(size=30, opacity=0.9).encode(
            color=alt.Color("score:Q", title=score_title(run), scale=viridis),
            tooltip=tips("trial:N", "option:N", "value:N", "score:Q:.1f"),
        ),
        alt.Chart(alt.Data(values=ends))
        .transform_filter("datum.label === shown")
        .mark_text(dy=13, fontSize=9, color=INK, limit=alt.ExprRef("width / 5"))
        .encode(x=x, y=y, text="text:N"),
    ]
    return _of_one(alt.layer(*layers), lines, 36)


def _bars(shares: Sequence[Row]) -> alt.TopLevelMixin:
    colours = alt.Scale(domain=list(SIGNS.values()), range=[PLAIN, MARKED, GREY])
    bars = (
        alt.Chart(alt.Data(values=shares))
        .transform_filter("datum.label === shown")
        .mark_bar()
        .encode(
            x=alt.X("share:Q", title="Share of the score's ranks (%)", scale=alt.Scale(domain=[0, 100])),
            y=alt.Y("option:N", title=None, sort="-x"),
            color=alt.Color("direction:N", scale=colours),
            tooltip=tips("option:N", "share:Q:.1f", "direction:N", "trials:Q"),
        )
    )
    return _of_one(bars, shares, 24)
