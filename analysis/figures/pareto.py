"""The Pareto set of a search with several objectives: agreement against what is to be small."""

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from analysis import captions
from analysis.figures.accuracy_parameters import COLOURS, MARKERS
from analysis.pareto import AGREEMENT, compared, objectives
from analysis.run import Run

NAME = "pareto"


def draw(run: Run) -> Figure | None:
    """The first searched fold: a point per configuration, and a step line through each method's set. None with one
    objective."""
    small = objectives(run)
    if not small or run.search.is_empty():
        return None
    rows = compared(run)
    rows = rows.filter(rows["fold"] == rows["fold"].min())
    if rows.is_empty():
        return None
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for k, method in enumerate(run.ordered(rows["method"])):
        mine = rows.filter(rows["method"] == method).sort(small[0])
        colour, marker = COLOURS[k % len(COLOURS)], MARKERS[k % len(MARKERS)]
        front = mine.filter("front")
        axes.scatter(mine[small[0]], mine[AGREEMENT], s=16, c=colour, marker=marker, alpha=0.45)
        axes.scatter(front[small[0]], front[AGREEMENT], s=49, c=colour, marker=marker, label=run.labels[method])
        axes.plot(front[small[0]], front[AGREEMENT], color=colour, drawstyle="steps-post", linewidth=1.2)
    axes.set_xscale("log")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlabel(small[0].replace("_", " "))
    axes.set_ylabel("agreement with the teacher")
    axes.set_title(f"{captions.data(run)}: Pareto sets of the search", loc="left", fontsize=11)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    return figure
