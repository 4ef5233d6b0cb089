"""Methods ranked over directions: Friedman's test, and what its ranks tell apart (Demsar 2006, JMLR 7, 1-30)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.stats import friedmanchisquare, rankdata, studentized_range

from analysis.pairs import LEVEL, letters

FEWEST = 5
"""Blocks below which nothing is tested."""


@dataclass(frozen=True)
class Ranking:
    """Friedman's test of methods over ``blocks``.

    Attributes:
        ranks: the mean rank of each method, 1 for the best; best first.
        statistic, p: chi squared with ties corrected, and its p.
        critical: Nemenyi's difference of two mean ranks that tells their methods apart at ``LEVEL``.
    """

    blocks: int
    ranks: Mapping[str, float]
    statistic: float
    p: float
    critical: float

    @property
    def said(self) -> str:
        p = "< 0.001" if self.p < 0.001 else f"= {self.p:.3f}"
        return f"Friedman: chi squared {self.statistic:.2f}, {len(self.ranks) - 1} degrees of freedom, p {p}"

    @property
    def groups(self) -> dict[str, str]:
        """Letters of the methods: two share one if they are not told apart. All do unless Friedman's test rejects."""
        apart = {
            frozenset((a, b))
            for a, b in combinations(self.ranks, 2)
            if self.p <= LEVEL and abs(self.ranks[a] - self.ranks[b]) >= self.critical
        }
        return letters(list(self.ranks), apart)


def mean_ranks(values: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The mean rank over blocks of each method, of its values (blocks,): 1 for the highest; ties share theirs."""
    if not values:
        return {}
    means = rankdata(-np.array(list(values.values())), axis=0).mean(1)
    return {method: float(rank) for method, rank in sorted(zip(values, means, strict=True), key=lambda pair: pair[1])}


def ranking(values: Mapping[str, Sequence[float]]) -> Ranking | str:
    """The test of methods by their values (blocks,), the higher the better; or why there is none."""
    blocks = len(next(iter(values.values()), ()))
    if blocks < FEWEST:
        return f"n = {blocks} direction{'' if blocks == 1 else 's'} or samples of people, and it needs {FEWEST}"
    if len(values) < 3:
        return f"{len(values)} transfer method{'' if len(values) == 1 else 's'} in all runs, and it needs 3"
    every = list(values.values())
    if all(np.ptp(column) == 0 for column in np.transpose(every)):
        return "all methods are equal in all runs"
    statistic, p = friedmanchisquare(*every)
    return Ranking(blocks, mean_ranks(values), float(statistic), float(p), critical_difference(len(values), blocks))


def critical_difference(methods: int, blocks: int) -> float:
    """Nemenyi's: the studentized range at ``LEVEL`` over the square root of 2, times the standard error of ranks."""
    q = studentized_range.ppf(1 - LEVEL, methods, np.inf) / math.sqrt(2)
    return float(q * math.sqrt(methods * (methods + 1) / (6 * blocks)))
