"""The critical-difference diagram (Demsar 2006): mean ranks on a line, and bars over those that are not told apart."""

import re
from collections.abc import Mapping

from matplotlib.figure import Figure

from analysis.across.ranks import Ranking
from analysis.figures.accuracy_parameters import COLOURS

NAME = "critical_difference"
LETTERS = re.compile(r"[a-z]\d*")
LETTER, LINE, AXIS = 0.075, 0.24, 3.6
"""Inches: of a letter, between lines, and of the axis at least."""


def draw(found: Ranking, labels: Mapping[str, str]) -> Figure:
    """All lengths are inches; the axis of ranks is at y = 0, with the best on the left."""
    methods, k = list(found.ranks), len(found.ranks)
    half = (k + 1) // 2
    room = LETTER * max(len(labels[method]) + 5 for method in methods) + 0.35
    bars = [group for group in _bars(found) if len(group) > 1]
    top, first = 1.25, 0.25 + 0.13 * len(bars)
    width, bottom = AXIS + 2 * room, first + LINE * half
    figure = Figure(figsize=(width, top + bottom))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(-room, AXIS + room), ylim=(-bottom, top))
    axes.set_axis_off()

    def at(rank: float) -> float:
        return AXIS * (rank - 1) / (k - 1)

    axes.plot([0, AXIS], [0, 0], color="0.2", lw=1.2)
    for rank in range(1, k + 1):
        axes.plot([at(rank)] * 2, [0, 0.07], color="0.2", lw=1.2)
        axes.text(at(rank), 0.11, str(rank), ha="center", va="bottom", fontsize=9)
    axes.plot([0, at(1 + found.critical)], [0.45, 0.45], color=COLOURS[1], lw=2, marker="|", ms=7)
    axes.text(0, 0.52, f"critical difference {found.critical:.2f}", va="bottom", fontsize=9, color=COLOURS[1])
    axes.text(
        -room + 0.1,
        top - 0.08,
        f"Mean ranks over n = {found.blocks} blocks (1 is best)\n{found.said}",
        va="top",
        fontsize=10,
    )
    for place, method in enumerate(methods):
        left = place < half
        line = -first - LINE * (place if left else k - 1 - place)
        end, x = (-0.1 if left else AXIS + 0.1), at(found.ranks[method])
        axes.plot([x, x, end], [0, line, line], color="0.35", lw=1)
        text = (
            f"{labels[method]}  {found.ranks[method]:.2f}" if left else f"{found.ranks[method]:.2f}  {labels[method]}"
        )
        axes.text(end + (-0.06 if left else 0.06), line, text, ha="right" if left else "left", va="center", fontsize=9)
    for place, group in enumerate(bars):
        ends = [at(found.ranks[group[0]]) - 0.05, at(found.ranks[group[-1]]) + 0.05]
        axes.plot(ends, [-0.13 - 0.13 * place] * 2, color=COLOURS[0], lw=4, solid_capstyle="butt")
    return figure


def _bars(found: Ranking) -> list[list[str]]:
    """Methods of each letter, best first."""
    of = {method: LETTERS.findall(letters) for method, letters in found.groups.items()}
    every = dict.fromkeys(letter for letters in of.values() for letter in letters)
    return [[method for method in found.ranks if letter in of[method]] for letter in every]
