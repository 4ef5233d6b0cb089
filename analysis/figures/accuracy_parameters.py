"""What trainable parameters buy: balanced accuracy against their number."""

import math
from collections.abc import Sequence

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter
from matplotlib.transforms import ScaledTranslation

from analysis import captions
from analysis.run import CHANCE, KINDS, Run
from analysis.tables import accuracy
from analysis.writers import Row

NAME = "accuracy_parameters"

# Okabe and Ito's palette, which survives the common colour blindnesses; black and grey are kept for references.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442")
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
GREY = "0.45"
DODGE = 9.0
"""Points of length between methods that train about the same number of parameters."""


def draw(run: Run) -> Figure | None:
    """One point per method that trains something, with its interval over subjects; chance is a line."""
    rows = accuracy.build(run)
    if rows.is_empty():
        return None
    trained = run.final.group_by("method").agg(pl.col("trainable_parameters").median().alias("parameters"))
    rows = rows.join(trained, on="method", how="left", maintain_order="left").drop_nulls("balanced_accuracy")
    points = rows.filter(pl.col("parameters") > 0)
    if points.is_empty():
        return None
    parameters = points["parameters"].to_list()

    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axes = figure.add_subplot()
    handles = _lines(axes, rows.filter((pl.col("parameters") > 0).fill_null(False).not_()))
    styles = _styles(run, points["method"].to_list())
    for row, shift in zip(points.iter_rows(named=True), shifts(parameters), strict=True):
        handles.append(_point(axes, row, shift, *styles[row["method"]]))

    axes.set_xscale("log")
    axes.set_xlim(
        10 ** math.floor(math.log10(min(parameters) / 1.5)), 10 ** math.ceil(math.log10(max(parameters) * 1.5))
    )
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    # Points that are drawn aside do not count for matplotlib's own limits.
    bounds = ("balanced_accuracy", "balanced_accuracy_low", "balanced_accuracy_high")
    lowest, highest = pl.min_horizontal(*bounds).min(), pl.max_horizontal(*bounds).max()
    low, high = rows.select((100 * lowest).alias("low"), (100 * highest).alias("high")).row(0)
    margin = max(0.06 * (high - low), 1.0)
    axes.set_ylim(low - margin, high + margin)

    axes.set_title(captions.data(run), loc="left", fontsize=11)
    aside = any(shift for shift in shifts(parameters))
    axes.set_xlabel("Trainable parameters" + (" (about equal ones are drawn side by side)" if aside else ""))
    axes.set_ylabel("Balanced accuracy on test (%)")
    axes.grid(axis="y", color="0.92", lw=0.8)
    axes.set_axisbelow(True)
    note = "Bars: 95 % interval\nover subjects" if rows["balanced_accuracy_low"].is_not_null().any() else None
    legend = figure.legend(
        handles=handles,
        loc="outside right center",
        frameon=False,
        fontsize=9,
        title=note,
        title_fontsize=8,
        alignment="left",
    )
    legend.get_title().set_color("0.35")
    return figure


def _lines(axes: Axes, rows: pl.DataFrame) -> list[Line2D]:
    """A horizontal line for each value of the references that train nothing; equal ones share it."""
    handles = []
    for same in rows.with_columns(pl.col("balanced_accuracy").round(3)).partition_by("balanced_accuracy"):
        first, *others = same["label"].to_list()
        text = " and\n".join([first, *(name.lower() for name in others)])
        style = (0, (1, 1.5)) if CHANCE.name in same["method"] else (0, (6, 2))
        height = 100 * same["balanced_accuracy"][0]
        handles.append(axes.axhline(height, color=GREY, lw=1.3, ls=style, label=text, zorder=1))
    return handles


def _styles(run: Run, found: Sequence[str]) -> dict[str, tuple[str, str, str]]:
    """Marker, colour and fill of each method: the same in every run that has the same methods."""
    styles = {}
    for kind in KINDS:
        of_kind = [method for method in run.of_kind(kind) if method in found]
        for k, method in enumerate(of_kind):
            colour = {"floor": GREY, "ceiling": "black"}.get(kind, COLOURS[k % len(COLOURS)])
            marker = MARKERS[(k + k // len(COLOURS)) % len(MARKERS)]  # no colour with the same one twice
            styles[method] = (marker, colour, colour if kind == "transfer" else "white")
    return styles


def shifts(parameters: Sequence[float]) -> list[float]:
    """Offsets, a neighbour being 1 away, that set methods with about the same number of parameters side by side."""
    shifts = []
    for k, value in enumerate(parameters):
        same = [i for i, other in enumerate(parameters) if 0.8 < other / value < 1.25]
        shifts.append(same.index(k) - (len(same) - 1) / 2)
    return shifts


def _point(axes: Axes, row: Row, shift: float, marker: str, colour: str, fill: str) -> Line2D:
    mean = 100 * row["balanced_accuracy"]
    bars = None
    if row["balanced_accuracy_low"] is not None:
        # Of few subjects, a percentile interval may leave its own value out; a bar cannot be negative.
        low, high = 100 * row["balanced_accuracy_low"], 100 * row["balanced_accuracy_high"]
        bars = [[max(mean - low, 0.0)], [max(high - mean, 0.0)]]
    figure = axes.get_figure(root=True)
    assert figure is not None
    axes.errorbar(
        [row["parameters"]],
        [mean],
        yerr=bars,
        fmt=marker,
        ms=7,
        color=colour,
        mfc=fill,
        mew=1.4,
        elinewidth=1.3,
        capsize=2.5,
        transform=axes.transData + ScaledTranslation(DODGE * shift / 72, 0, figure.dpi_scale_trans),
        zorder=3,
    )
    return Line2D([], [], ls="", marker=marker, ms=7, color=colour, mfc=fill, mew=1.4, label=row["label"])


def _short(value: float) -> str:
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g} {suffix}"
    return f"{value:g}"
