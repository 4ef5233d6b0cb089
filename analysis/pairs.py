"""Pairs of methods over the same subjects, folds and seeds: how large a difference is, and whether it is one.

Two methods are told apart if the p of the Wilcoxon signed-rank test over subjects, adjusted after Holm (1979), is at
most 5 % and the interval of their difference leaves out 0. The test keeps the level, the interval cannot but lower it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations
from math import isnan, nan
from string import ascii_lowercase
from typing import Any

import numpy as np
import polars as pl
from scipy.stats import rankdata

from analysis.run import Run
from analysis.statistics import counted, percentiles, redrawn, subject_draws, subjects_of
from benchmark.common.scores import scores

LEVEL = 0.05


@dataclass(frozen=True)
class Pair:
    """``a`` minus ``b`` over what both have.

    Attributes:
        subjects, seeds: of which both have test predictions, in the same folds.
        partial: one of the two has a subject, fold or seed that the other lacks.
        difference: of balanced accuracy as in ``statistics.summarise``; NaN without a common subject.
        low, high: its 95 % percentile bootstrap interval over subjects; NaN with fewer than two of them.
        p: Wilcoxon signed-rank, two-sided; 1 without a common subject.
        superiority: share of subjects for whom ``a`` is better; ties count half. NaN without a common subject.
        tests: of the family over which ``p_holm`` is adjusted.
    """

    a: str
    b: str
    subjects: int
    seeds: int
    partial: bool
    difference: float = nan
    low: float = nan
    high: float = nan
    p: float = 1.0
    superiority: float = nan
    tests: int = 1
    p_holm: float = 1.0

    @property
    def different(self) -> bool:
        """Whether the two are told apart."""
        return self.p_holm <= LEVEL and self.low * self.high > 0

    @property
    def hopeless(self) -> bool:
        """Whether so few subjects can never be told apart: p is at least 2 / 2^n, of n differences of one sign."""
        return self.tests * 2.0 ** (1 - self.subjects) > LEVEL

    def seen_from(self, method: str) -> "Pair":
        """The same pair, with ``method`` first."""
        if method == self.a:
            return self
        return replace(
            self, a=self.b, b=self.a, difference=-self.difference, low=-self.high, high=-self.low,
            superiority=1 - self.superiority,
        )  # fmt: skip


# Two methods.


def shares(counts: np.ndarray) -> np.ndarray:
    """Each subject's share (subjects,) of the pooled balanced accuracy, times the number of subjects.

    The balanced accuracy of a seed's pooled windows is a sum over windows: one that is right adds
    1 / (classes x windows of its class). A subject's share is the sum over its own, averaged over seeds. It is defined
    for a subject that lacks a class, where a balanced accuracy of its own would be of other classes than its
    neighbour's; and the mean over subjects is the pooled value: test and difference are of one estimator.

    Args:
        counts: (seeds, subjects, true, predicted class).
    """
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    true = counts.sum((1, 3))[:, None]
    recalls = np.divide(hits, true, out=np.zeros(hits.shape), where=true > 0)
    return counts.shape[1] * (recalls.sum(-1) / (true > 0).sum(-1)).mean(0)


def signed_rank(differences: np.ndarray) -> float:
    """Two-sided p of the Wilcoxon signed-rank test, exact; 1 where no difference is other than 0.

    Zeros are ranked and then dropped (Pratt 1959); equal differences share a rank. The distribution over all
    assignments of signs is counted rank by rank (Streitberg and Roehmel 1986), so that ties, which windows of equal
    number make common, cost no approximation. SciPy's is the same, but takes a second for each pair with ties, and is
    approximate from 14 subjects on.
    """
    ranks = np.rint(2 * rankdata(np.abs(differences))).astype(int)[differences != 0]  # twice, so that they are whole
    chance = np.ones(1)  # of each sum of the ranks whose sign is positive
    for rank in ranks:
        chance = (np.pad(chance, (0, rank)) + np.pad(chance, (rank, 0))) / 2
    positive = ranks[differences[differences != 0] > 0].sum()
    return float(min(1.0, 2 * min(chance[: positive + 1].sum(), chance[positive:].sum())))


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment: the smallest level of a family at which each hypothesis is rejected."""
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(np.asarray(p)[order] * np.arange(len(p), 0, -1)), 1)
    return adjusted.tolist()


def differences(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """One method's ``shares`` minus another's, subject by subject (subjects,). What is equal stays equal: the last
    digits of sums are not ranked."""
    return np.round(shares(first) - shares(second), 12)


def paired(
    a: str, b: str, counts: Sequence[np.ndarray], partial: bool, drawn: Sequence[np.ma.MaskedArray] = ()
) -> Pair:
    """``a`` minus ``b``, unadjusted, from the counts of each: (seeds of its own, the same subjects, true, predicted).

    ``drawn`` has the balanced accuracies of both in ``subject_draws``, where they are known already.
    """
    n = counts[0].shape[1]
    if not n:
        return Pair(a, b, 0, 0, partial)
    each = differences(*counts)
    first, second = (scores(of_seeds.sum(1))["balanced_accuracy"].mean() for of_seeds in counts)
    low, high = nan, nan
    if n > 1:
        drawn = drawn or [redrawn(of_seeds, subject_draws(n)) for of_seeds in counts]
        low, high = percentiles(drawn[0] - drawn[1])
    superiority = float(np.mean(each > 0) + np.mean(each == 0) / 2)
    seeds = min(len(of_seeds) for of_seeds in counts)
    return Pair(a, b, n, seeds, partial, float(first - second), low, high, signed_rank(each), superiority)


def adjusted(family: Sequence[Pair]) -> list[Pair]:
    """The pairs, adjusted after Holm over all of them."""
    found = holm([pair.p for pair in family])
    return [replace(pair, tests=len(family), p_holm=p) for pair, p in zip(family, found, strict=True)]


class Compared:
    """Counts of methods, and their pairs.

    Args:
        counts: by method (seeds, folds, subjects, true, predicted class), 0 where the method has nothing.
    """

    def __init__(self, counts: Mapping[str, np.ndarray]):
        self.counts = counts
        self.there = {method: array.sum((-2, -1)) > 0 for method, array in counts.items()}
        self._drawn: dict[tuple[str, bytes], np.ma.MaskedArray] = {}

    def pair(self, a: str, b: str) -> Pair:
        """``a`` minus ``b``, unadjusted."""
        both, seeds, subjects = self._both(a, b)
        partial = bool((self.there[a] != self.there[b]).any())
        counts = [self._common(method, both)[np.ix_(seeds, subjects)] for method in (a, b)]
        several = subjects.sum() > 1
        drawn = [self._draws(*own) for own in zip((a, b), (both, both), counts, strict=True)] if several else ()
        return paired(a, b, counts, partial, drawn)

    def each(self, a: str, b: str) -> np.ndarray:
        """``a`` minus ``b`` for each subject (subjects,), of their ``shares``; NaN where they do not both have it."""
        both, seeds, subjects = self._both(a, b)
        found = np.full(len(subjects), nan)
        if subjects.any():
            found[subjects] = differences(*(self._common(method, both)[np.ix_(seeds, subjects)] for method in (a, b)))
        return found

    def family(self, pairs: Sequence[tuple[str, str]]) -> list[Pair]:
        """The pairs, adjusted after Holm over all of them."""
        return adjusted([self.pair(a, b) for a, b in pairs])

    def _both(self, a: str, b: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What both have (seeds, folds, subjects), and of which seeds and which subjects."""
        both = np.asarray(self.there[a] & self.there[b])
        return both, np.asarray(both.any((1, 2))), np.asarray(both.any((0, 1)))

    def _common(self, method: str, both: np.ndarray) -> np.ndarray:
        """Counts (seeds, subjects, true, predicted class) of what both have."""
        return (self.counts[method] * both[..., None, None]).sum(1)

    def _draws(self, method: str, both: np.ndarray, counts: np.ndarray) -> np.ma.MaskedArray:
        """Balanced accuracy in each draw. Pairs with the same subjects see the same draws."""
        key = (method, both.tobytes())
        if key not in self._drawn:
            self._drawn[key] = redrawn(counts, subject_draws(counts.shape[1]))
        return self._drawn[key]


# A run.


def reference(run: Run) -> str | None:
    """The method that the run is about: the first transfer method of its plan."""
    return next(iter(run.of_kind("transfer")), None)


@lru_cache(maxsize=1)
def compared(run: Run) -> Mapping[frozenset[str], Pair]:
    """Every pair of transfer methods, and the reference with each floor and ceiling that was run.

    The reference was named before anything was seen: its pairs with the other transfer methods are one family of
    Holm's, all other pairs of these a second, its pairs with floors and ceilings a third.
    """
    of_run = Compared(counts_of(run))
    methods = run.ordered(of_run.counts)
    transfer = [method for method in methods if method in run.of_kind("transfer")]
    first = reference(run)
    every = list(combinations(transfer, 2))
    families = [
        [pair for pair in every if first in pair],
        [pair for pair in every if first not in pair],
        [(first, method) for method in methods if first in transfer and method not in transfer],
    ]
    return {frozenset((pair.a, pair.b)): pair for family in families for pair in of_run.family(family)}


def by_subject(run: Run) -> pl.DataFrame:
    """The reference minus each other method with test predictions, subject by subject: method, subject, difference.

    The mean over subjects is ``Pair.difference``. A subject that the two do not both have is left out.
    """
    of_run, first = Compared(counts_of(run)), str(reference(run))
    found: dict[str, list[Any]] = {"method": [], "subject": [], "difference": []}
    if first in of_run.counts:
        for method in run.ordered(of_run.counts.keys() - {first}):
            for subject, difference in zip(subjects_of(run), of_run.each(first, method), strict=True):
                if not isnan(difference):
                    found["method"].append(method)
                    found["subject"].append(subject)
                    found["difference"].append(float(difference))
    return pl.DataFrame(found, schema={"method": pl.String, "subject": pl.String, "difference": pl.Float64})


def counts_of(run: Run) -> dict[str, np.ndarray]:
    """Counts of the final test predictions, as ``Compared`` has them."""
    groups = list(counted(run, "method", "seed", "fold"))
    seeds, folds = (list(dict.fromkeys(key[place] for key, *_ in groups)) for place in (1, 2))
    found: dict[str, np.ndarray] = {}
    for (method, seed, fold), _, counts in groups:
        array = found.setdefault(method, np.zeros((len(seeds), len(folds), *counts.shape)))
        array[seeds.index(seed), folds.index(fold)] = counts
    return found


def ranked(run: Run) -> list[str]:
    """Transfer methods with test predictions, best first: by how many others each is ahead of over what both have.

    Where all have the same subjects, folds and seeds, that is the order of their balanced accuracies.
    """
    ahead: dict[str, float] = {}
    transfer = run.of_kind("transfer")
    for key, pair in compared(run).items():
        if key <= set(transfer):
            lead = np.sign(np.nan_to_num(pair.difference))
            ahead[pair.a] = ahead.get(pair.a, 0) + lead
            ahead[pair.b] = ahead.get(pair.b, 0) - lead
    there = set(run.final_predictions.drop_nulls(["subject", "label", "prediction"])["method"])
    found = [method for method in transfer if method in there]
    return sorted(found, key=lambda method: -ahead.get(method, 0))


def groups(run: Run) -> dict[str, str]:
    """Letters of the transfer methods: two share one if they are not told apart. Letter a has the best of all."""
    methods, pairs = ranked(run), compared(run)
    return letters(methods, [key for key in map(frozenset, combinations(methods, 2)) if pairs[key].different])


def letters(methods: Sequence[str], different: Collection[frozenset[str]]) -> dict[str, str]:
    """Compact letter display: two methods share a letter if, and only if, they are not in ``different``.

    Insert and absorb (Piepho 2004, J. Comput. Graph. Stat. 13, 456-466): all begin in one group; a group that holds a
    different pair is split into one without each, and what another group holds is dropped. Letters go by the first
    member.
    """
    found = [frozenset(methods)]
    for pair in different:
        whole = [group for group in found if not pair <= group]
        split = [group - {method} for group in found if pair <= group for method in pair]
        found = whole + [
            group
            for k, group in enumerate(split)
            if not any(group <= other for other in whole)
            and not any(group < other for other in split)
            and group not in split[:k]
        ]
    found.sort(key=lambda group: sorted(map(methods.index, group)))
    # A letter that comes round again has a number: a1.
    names = [f"{ascii_lowercase[k % 26]}{k // 26 or ''}" for k in range(len(found))]
    return {method: "".join(n for n, group in zip(names, found, strict=True) if method in group) for method in methods}
