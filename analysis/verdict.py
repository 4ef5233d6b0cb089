"""The run in a few sentences: which transfer method is best, what is not told apart from it, what that costs, and
whether the reference was worth its parameters. Nothing is called better or worse that paired tests do not tell apart.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import isnan
from typing import Any

import polars as pl

from analysis import pairs
from analysis.pairs import Pair
from analysis.run import CHANCE, Run
from analysis.tables import accuracy

BOUNDS = ("balanced_accuracy_low", "balanced_accuracy_high")

Rows = Mapping[str, Mapping[str, Any]]


def verdict(run: Run) -> str:
    """A sentence a line, the last on chance and ceilings; empty where no final trial has test predictions."""
    frame = accuracy.build(run)
    rows = {row["method"]: row for row in frame.iter_rows(named=True) if row["balanced_accuracy"] is not None}
    ranked = pairs.ranked(run)
    without = [run.labels[name] for name in run.of_kind("transfer") if name not in rows]
    sentences = [
        *(_best(run, rows[ranked[0]], ranked) if ranked else []),
        _worth(run),
        "Only the subjects, folds and seeds that both methods of a pair have were compared."
        if any(pair.partial for pair in _among(run, ranked))
        else "",
        f"Without results on test: {_and(without)}." if without and rows else "",
        _references(run, rows, ranked) if rows else "",
    ]
    return "\n".join(filter(None, sentences))


def _best(run: Run, row: Mapping[str, Any], ranked: Sequence[str]) -> list[str]:
    """The best method, what is not told apart from it, and the smallest of these."""
    best, *others = ranked
    value = f"{100 * row['balanced_accuracy']:.1f} % balanced accuracy{_bounds(*(row[name] for name in BOUNDS))}"
    if not others:
        return [f"{run.labels[best]} is the only transfer method with results: {value}."]
    compared = {name: _pair(run, best, name) for name in others}
    same = [name for name in others if not compared[name].different]
    first = f"Best of {len(ranked)} transfer methods: {run.labels[best]}, {value}."
    if not same:
        largest = max(pair.p_holm for pair in compared.values())
        return [first, f"It is told apart from all others (p {_p(largest)}, over {_subjects(compared.values())})."]
    few = ", too few for any test to reach 5 %" if all(compared[name].hopeless for name in same) else ""
    among = _subjects([compared[name] for name in same])
    apart = f"{_and([run.labels[name] for name in same])} cannot be told apart from it with {among}{few}."
    sizes = {name: size for name, size in _sizes(run).items() if name in (best, *same)}
    if not sizes:
        return [first, apart]
    smallest = min(sizes, key=lambda name: sizes[name])
    return [first, apart, f"The smallest of these is {run.labels[smallest]} with {_parameters(sizes[smallest])}."]


def _worth(run: Run) -> str:
    """Whether the reference is better than every transfer method and floor that trains less."""
    reference, sizes = str(pairs.reference(run)), _sizes(run)
    rivals, found = [*run.of_kind("floor"), *run.of_kind("transfer")], pairs.compared(run)
    compared = {other: _pair(run, reference, other) for other in rivals if frozenset((reference, other)) in found}
    if not compared or reference not in sizes:
        return ""
    name, own = run.labels[reference], sizes[reference]
    smaller = {other: pair for other, pair in compared.items() if sizes.get(other, own) < own}
    if not smaller:
        return f"No other method trains fewer parameters than {name}, {own:,.0f}."
    better = [other for other, pair in smaller.items() if pair.different and pair.difference < 0]
    same = [other for other, pair in smaller.items() if not pair.different]
    if better:
        other = min(better, key=lambda method: smaller[method].difference)
        return (
            f"{name} was not worth its {_parameters(own)}: {run.labels[other]} with {sizes[other]:,.0f} is better by "
            f"{_points(smaller[other].seen_from(other))}."
        )
    if same:
        other = min(same, key=lambda method: sizes[method])
        return (
            f"{name} was not shown to be worth its {_parameters(own)}: {run.labels[other]} with {sizes[other]:,.0f} "
            f"cannot be told apart from it; the gain of {name} is {_points(smaller[other])}."
        )
    other = min(smaller, key=lambda method: smaller[method].difference)
    return (
        f"{name} was worth its {_parameters(own)}: it is better than all that train fewer, the closest being "
        f"{run.labels[other]}, by {_points(smaller[other])}."
    )


def _references(run: Run, rows: Rows, ranked: Sequence[str]) -> str:
    """Chance, which intervals leave it out, and what the ceilings reach."""
    chance = rows[CHANCE.name]["balanced_accuracy"]
    where: dict[str, list[str]] = {"below": [], "above": [], "within": []}
    for name in run.ordered(ranked):
        low, high = (rows[name][bound] for bound in BOUNDS)
        if low is not None and high is not None:
            where["below" if low > chance else "above" if high < chance else "within"].append(run.labels[name])
    sides = [(side, _and(names)) for side, names in where.items() if names]
    said = f"Chance {'lies at' if sides else 'is'} {100 * chance:.1f} %"
    said += "".join(
        f"{';' if k else ','} {side} {'that' if k else 'the 95 % interval'} of {names}"
        for k, (side, names) in enumerate(sides)
    )
    ceilings = ", ".join(
        f"{run.labels[name].lower()} {100 * rows[name]['balanced_accuracy']:.1f} %"
        for name in run.of_kind("ceiling")
        if name in rows
    )
    return f"{said}." + (f" References: {ceilings}." if ceilings else "")


def _pair(run: Run, a: str, b: str) -> Pair:
    return pairs.compared(run)[frozenset((a, b))].seen_from(a)


def _among(run: Run, methods: Sequence[str]) -> list[Pair]:
    return [pair for key, pair in pairs.compared(run).items() if key <= set(methods)]


def _sizes(run: Run) -> dict[str, float]:
    """Trainable parameters of each method, the median over its final trials; not of methods that do not say."""
    medians = run.final.group_by("method").agg(pl.col("trainable_parameters").median()).drop_nulls()
    return dict(medians.iter_rows())


# Words.


def _parameters(count: float) -> str:
    return f"{count:,.0f} trainable parameter{'' if count == 1 else 's'}"


def _subjects(compared: Iterable[Pair]) -> str:
    found = sorted({pair.subjects for pair in compared})
    return f"{' to '.join(map(str, dict.fromkeys((found[0], found[-1]))))} subject{'' if found == [1] else 's'}"


def _points(pair: Pair) -> str:
    points = f"{100 * pair.difference:.1f} points".replace("nan", "unknown")
    return f"{points}{_bounds(pair.low, pair.high, '')}".replace("-", "−")


def _bounds(low: float | None, high: float | None, unit: str = " %") -> str:
    if low is None or high is None or isnan(low):
        return ""
    return f" (95 % interval {100 * low:.1f} to {100 * high:.1f}{unit})"


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"≤ {p:.3f}"


def _and(names: Sequence[str]) -> str:
    comma = "; " if any("," in name for name in names) else ", "
    return " and ".join(filter(None, [comma.join(names[:-1]), names[-1]]))
