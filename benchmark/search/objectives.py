"""What a search goes by: agreement with the teacher, and what a user wants little of beside it."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmark.trial.folds import order, score_of

Row = Mapping[str, Any]


def values_of(row: Row, objectives: Sequence[str]) -> list[float]:
    """The first objective, which is to be large, then the others, which are to be small."""
    return [score_of(row), *(float(row[name]) for name in objectives[1:])]


def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether ``values_of`` one row are nowhere worse than those of another, and somewhere better."""
    nowhere_worse = one[0] >= other[0] and all(a <= b for a, b in zip(one[1:], other[1:], strict=True))
    return nowhere_worse and list(one) != list(other)


def pareto(rows: Mapping[int, Row], objectives: Sequence[str]) -> list[int]:
    """Those rows that no other one dominates."""
    values = {key: values_of(row, objectives) for key, row in rows.items()}
    return [key for key, mine in values.items() if not any(dominates(other, mine) for other in values.values())]


def rank(rows: Mapping[int, Row], objectives: Sequence[str]) -> list[int]:
    """Keys of rows, best first: those that none dominates, then those that only these do, and so on (Deb et al., 2002);
    among equals by agreement, then by closeness to the teacher, then by fewer trained parameters."""
    left, found = dict(rows), []
    while left:
        front = pareto(left, objectives)
        front.sort(key=lambda key: (*(-value for value in order(left[key])), left[key]["trainable_parameters"], key))
        found += front
        left = {key: row for key, row in left.items() if key not in front}
    return found
