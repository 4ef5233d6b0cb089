"""Paired comparisons against direct computations, the level that they keep, and what a run's end says of them."""

import itertools
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wilcoxon
from sklearn.metrics import balanced_accuracy_score

import analysis
from analysis.pairs import Compared, Pair, compared, groups, holm, letters, shares, signed_rank
from analysis.run import Run
from analysis.statistics import DRAWS, subject_draws, summarise
from analysis.tables import accuracy, comparisons, tables
from analysis.verdict import verdict
from benchmark.results.schema import MethodCard
from tests.test_analysis import Folder, of

# The tests.


def ranks(values: np.ndarray) -> np.ndarray:
    return np.array([np.sum(values < value) + (np.sum(values == value) + 1) / 2 for value in values])


def by_enumeration(differences: np.ndarray) -> float:
    """Two-sided p of Pratt's signed ranks: the share of all assignments of signs that are as extreme."""
    found = ranks(np.abs(differences))
    sums = [
        np.dot(found, np.multiply(signs, differences) > 0) for signs in itertools.product((1, -1), repeat=len(found))
    ]
    seen = np.dot(found, differences > 0)
    return min(1.0, 2 * min(np.mean(np.array(sums) >= seen - 1e-9), np.mean(np.array(sums) <= seen + 1e-9)))


@pytest.mark.parametrize(
    "differences",
    [
        [0.3],
        [0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
        [0.1, -0.2, 0.3, 0.4, -0.5, 0.6, 0.7, 0.8],
        [0.1, 0.1, 0.1, -0.1, 0.2, 0.2, -0.3],
        [0.0, 0.0, 0.1, -0.2, 0.3, 0.3, 0.4, 0.5],
        [0.0, 0.0, 0.0, 0.2],
    ],
)
def test_p_is_the_share_of_all_assignments_of_signs_and_scipys(differences: list[float]) -> None:
    values = np.array(differences)
    assert signed_rank(values) == pytest.approx(by_enumeration(values))
    assert signed_rank(-values) == pytest.approx(signed_rank(values))
    if len(set(map(abs, differences)) - {0}) == len(differences):
        assert signed_rank(values) == pytest.approx(wilcoxon(values, method="exact").pvalue)


def test_among_many_subjects_p_is_scipys_exact_one_and_near_its_approximation_with_ties() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(0.3, 1, 36)
    assert signed_rank(values) == pytest.approx(wilcoxon(values, method="exact").pvalue)
    tied = rng.integers(-2, 4, 36) / 10
    assert signed_rank(tied) == pytest.approx(wilcoxon(tied, zero_method="pratt", method="asymptotic").pvalue, rel=0.1)
    assert signed_rank(np.zeros(36)) == 1


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_step_by_step(p: list[float]) -> None:
    adjusted = holm(p)
    order = sorted(range(len(p)), key=lambda k: p[k])
    for level in (0.01, 0.05, 0.2):
        rejected = set()
        for step, k in enumerate(order):
            if p[k] * (len(p) - step) > level:
                break
            rejected.add(k)
        assert {k for k, value in enumerate(adjusted) if value <= level} == rejected


# The estimator.


def random_counts(rng: np.random.Generator, seeds: int, folds: int, subjects: int, classes: int = 2) -> np.ndarray:
    """Windows of every subject in one fold, some subjects without a class."""
    label = rng.integers(0, 5, (folds, subjects, classes))
    label *= (np.arange(subjects) % folds == np.arange(folds)[:, None])[..., None]
    label[..., 0] += label.sum(-1) == 0
    label[~(np.arange(subjects) % folds == np.arange(folds)[:, None])] = 0
    skill = rng.dirichlet(np.ones(classes), (seeds, folds, subjects, classes))
    return rng.multinomial(label, skill).astype(float)


def windows(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels and predictions that have these counts (..., true, predicted)."""
    *_, true, said = np.nonzero(counts)
    times = counts[counts > 0].astype(int)
    return np.repeat(true, times), np.repeat(said, times)


def score(counts: np.ndarray) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes that are predicted and not there
        return balanced_accuracy_score(*windows(counts))


def test_shares_are_of_the_pooled_value() -> None:
    counts = random_counts(np.random.default_rng(1), 3, 2, 7, 3).sum(1)
    assert (counts[0].sum(-1) == 0).any(), "no subject lacks a class"
    assert shares(counts).mean() == pytest.approx(np.mean([score(seed) for seed in counts]))
    for subject, share in enumerate(shares(counts)):
        without = counts.copy()
        for true in range(3):  # whatever the subject got right is wrong now
            without[:, subject, true, (true + 1) % 3] += without[:, subject, true, true]
            without[:, subject, true, true] = 0
        lost = np.mean([score(seed) - score(other) for seed, other in zip(counts, without, strict=True)])
        assert share / 7 == pytest.approx(lost)


def test_the_difference_and_its_interval_equal_a_direct_computation() -> None:
    rng = np.random.default_rng(3)
    a, b = random_counts(rng, 2, 2, 4), random_counts(rng, 2, 2, 4)
    # Both say something of the same windows.
    for seed, fold, subject, true in np.ndindex(*a.shape[:-1]):
        n = int(a[0, fold, subject, true].sum())
        for counts in (a, b):
            right = rng.integers(0, n + 1)
            counts[seed, fold, subject, true] = (right, n - right) if true == 0 else (n - right, right)
    a[1, 0, 0] = 0  # of the second seed, the first method lacks a subject
    pair = Compared({"a": a, "b": b}).pair("a", "b")
    both = [counts.copy() for counts in (a, b)]
    both[1][1, 0, 0] = 0

    def difference(draw: Sequence[int]) -> float:
        subjects = [subject for subject, times in enumerate(draw) for _ in range(times)]
        of_seeds = [
            score(both[0][seed][:, subjects]) - score(both[1][seed][:, subjects])
            for seed in (0, 1)
            if both[0][seed][:, subjects].any()
        ]
        return float(np.mean(of_seeds))

    assert (pair.subjects, pair.seeds, pair.partial) == (4, 2, True)
    assert pair.difference == pytest.approx(difference((1, 1, 1, 1)))
    draws = subject_draws(4)
    assert draws.shape == (DRAWS, 4)
    known = {draw: difference(draw) for draw in {tuple(map(int, draw)) for draw in draws}}
    values = [known[tuple(map(int, draw))] for draw in draws]
    low, high = np.quantile(values, [0.025, 0.975])
    assert (pair.low, pair.high) == pytest.approx((low, high))
    back = pair.seen_from("b")
    assert (back.a, back.b, back.low, back.high) == ("b", "a", pytest.approx(-high), pytest.approx(-low))


def of_hits(hits: Sequence[float], n: int = 20) -> np.ndarray:
    """Counts (1 seed, 1 fold, subjects, 2, 2): ``hits`` right of ``n`` windows of either class."""
    right = np.asarray(hits, float)
    return np.stack([np.stack([right, n - right], -1), np.stack([n - right, right], -1)], -2)[None, None]


def pair_of(a: Sequence[float], b: Sequence[float]) -> Pair:
    return Compared({"a": of_hits(a), "b": of_hits(b)}).family([("a", "b")])[0]


@pytest.mark.parametrize("subjects", [1, 2, 6, 36, 60])
def test_identical_methods_are_never_different(subjects: int) -> None:
    hits = np.random.default_rng(subjects).integers(0, 21, subjects)
    pair = pair_of(hits, hits)
    assert (pair.difference, pair.p, pair.p_holm, pair.superiority, pair.different) == (0, 1, 1, 0.5, False)


@pytest.mark.parametrize("subjects", [1, 2, 5, 6, 13, 14, 36, 60])
def test_a_constant_gain_is_a_difference_from_six_subjects_on(subjects: int) -> None:
    hits = np.random.default_rng(subjects).integers(0, 19, subjects)
    pair = pair_of(hits + 2, hits)
    assert pair.difference == pytest.approx(0.1)
    assert pair.superiority == 1
    assert pair.different == (subjects >= 6)
    assert pair.hopeless == (subjects < 6)
    if subjects > 1:
        assert (pair.low, pair.high) == (pytest.approx(0.1), pytest.approx(0.1))
    back = pair.seen_from("b")
    assert (back.difference, back.superiority) == (-pair.difference, 0)
    assert back.different == pair.different


def test_the_more_is_tested_the_more_subjects_it_takes() -> None:
    gains = {name: of_hits(np.full(6, hits)) for name, hits in zip("abc", (4, 8, 12), strict=True)}
    family = Compared(gains).family(list(itertools.combinations("abc", 2)))
    assert [pair.p_holm for pair in family] == pytest.approx([3 * 2 / 2**6] * 3)
    assert not any(pair.different for pair in family)
    assert all(pair.hopeless for pair in family)


@pytest.mark.parametrize("gains", [(1, 2, 3, 4, 5, 6), (0, 1, 1, 2, 3, 3, 4, 5)])
def test_of_all_signs_that_gains_could_have_at_most_one_in_twenty_is_called_different(gains: Sequence[int]) -> None:
    called = 0
    for signs in itertools.product((0, 1), repeat=len(gains)):
        a = 10 + np.multiply(signs, gains)
        called += pair_of(a, a - (2 * np.array(signs) - 1) * gains).different
    assert 0 < called <= 0.05 * 2 ** len(gains)


@pytest.mark.parametrize(("seed", "subjects"), [(0, 8), (1, 12)])
def test_of_200_pairs_of_equal_methods_at_most_6_percent_are_called_different(seed: int, subjects: int) -> None:
    rng = np.random.default_rng(seed)
    called = 0
    for _ in range(200):
        skill = rng.uniform(0.4, 0.9, subjects)  # some people are easier than others, for both
        called += pair_of(*rng.binomial(20, skill, (2, subjects))).different
    assert called <= 12


# Letters.


@settings(deadline=None)
@given(st.integers(1, 7), st.sets(st.tuples(st.integers(0, 6), st.integers(0, 6))))
def test_two_methods_share_a_letter_if_and_only_if_they_are_not_different(n: int, found: set[tuple[int, int]]) -> None:
    methods = [f"m{k}" for k in range(n)]
    different = {frozenset((methods[i], methods[j])) for i, j in found if i != j and max(i, j) < n}
    display = letters(methods, different)
    assert list(display) == methods
    for a, b in itertools.combinations(methods, 2):
        assert bool(set(display[a]) & set(display[b])) == (frozenset((a, b)) not in different)
    used = sorted(set("".join(display.values())))
    members = [{method for method in methods if letter in display[method]} for letter in used]
    assert not any(one <= other for one, other in itertools.permutations(members, 2)), "a letter says nothing"
    assert "a" in display[methods[0]]


def test_who_is_between_two_methods_that_differ_has_the_letters_of_both() -> None:
    assert letters("xyz", [frozenset("xz")]) == {"x": "a", "y": "ab", "z": "b"}


def test_more_groups_than_the_alphabet_has_letters() -> None:
    methods = [f"m{k}" for k in range(30)]
    display = letters(methods, [frozenset(pair) for pair in itertools.combinations(methods, 2)])
    assert [display[methods[k]] for k in (0, 25, 26)] == ["a", "z", "a1"]


# Of a run.

NAMES = {"first": "First", "second": "Second", "third": "Third", "fourth": "Fourth, hard"}
CARDS = tuple(MethodCard(name, label, "transfer") for name, label in NAMES.items())
COIN = MethodCard("coin", "Coin", "floor")


class Paired(Folder):
    """A run of ``CARDS`` alone: the reference is ``first``."""

    def __init__(self, path: Path, *cards: MethodCard):
        super().__init__(path)
        self.methods = {card.name: card for card in cards}

    def say(self, method: str, tenths: Sequence[int], parameters: int | None = 1, seed: int = 0, fold: int = 0) -> None:
        """A final trial that is right on ``tenths`` of ten windows of each class, subject by subject."""
        row = self.row(method, "final", seed=seed, fold=fold, trainable_parameters=parameters)
        for subject, right in enumerate(tenths):
            for window in range(30):
                label = window % 3
                said = label if window // 3 < right else (label + 1) % 3
                self.predict(row, f"F{fold}S{subject}", label, said, label, 30 * subject + window)


MIXED = (5, 7, 5, 7, 5, 7, 5, 7)
"""Neither better nor worse than 6 of 10 throughout."""


def test_of_a_run_every_pair_of_transfer_methods_is_compared_and_the_reference_with_the_others(tmp_path: Path) -> None:
    folder = Paired(tmp_path / "run", *CARDS, COIN)
    for tenths, method in zip((9, 7, 5, 6), NAMES, strict=True):
        folder.say(method, [tenths] * 8)
    folder.say("third", [5] * 8, seed=1)
    folder.say("coin", [3] * 8)
    run = Run(folder.write())
    found = compared(run)
    assert set(found) == {frozenset(pair) for pair in itertools.combinations(NAMES, 2)} | {frozenset(("first", "coin"))}
    # 8 subjects of one sign, times the tests of the family: the reference's, the others', and floors and ceilings.
    assert {key: pair.p_holm * 2**7 for key, pair in found.items()} == {
        key: pytest.approx(1 if "coin" in key else 3) for key in found
    }
    assert found[frozenset(("first", "third"))].partial
    table = comparisons.build(run)
    assert table["method"].to_list() == ["coin", "second", "third", "fourth"]
    assert table["difference"].to_list() == pytest.approx([0.6, 0.2, 0.4, 0.3])
    assert table["different"].all()
    values = dict(summarise(run).select("method", "balanced_accuracy").iter_rows())
    assert of(table, "second")["difference"] == pytest.approx(values["first"] - values["second"])
    shown = next(table for table in tables(run) if table.name == "comparisons")
    assert shown.columns[0].header == "First minus"
    assert shown.cells()[1] == ["Second", "20.0", "[20.0, 20.0]", "0.008", "0.023", "yes", "1.00", "8", "1"]
    assert [row["group"] for row in accuracy.build(run).iter_rows(named=True)] == [None, None, "a", "b", "d", "c"]
    assert max(map(len, analysis.show(run.path).splitlines())) <= 120


def test_only_what_both_have_is_compared(tmp_path: Path) -> None:
    folder = Paired(tmp_path / "run", *CARDS[:2])
    for fold, tenths in enumerate(([8, 9, 8, 9], [1, 1, 1, 1], [7, 7, 8])):
        folder.say("first", tenths, fold=fold)
        if fold != 1:  # the fold that is hard failed
            folder.say("second", [right - (right % 2) for right in tenths][:3], fold=fold)
    run = Run(folder.write())
    pair = compared(run)[frozenset(("first", "second"))].seen_from("first")
    assert (pair.subjects, pair.partial) == (6, True)
    assert pair.difference == pytest.approx(np.mean([0, 1, 0, 1, 1, 0]) / 10)
    assert "Only the subjects, folds and seeds that both methods of a pair have were compared." in verdict(run)
    assert verdict(run).startswith("Best of 2 transfer methods: First, ")  # although its own value is the lower one
    alone = Paired(tmp_path / "apart", *CARDS[:2])
    alone.say("first", [8, 9], fold=0)
    alone.say("second", [8, 9], fold=1)
    apart = Run(alone.write())
    assert compared(apart)[frozenset(("first", "second"))].subjects == 0
    assert comparisons.build(apart).select("difference", "p_holm").rows() == [(None, 1.0)]
    assert "cannot be told apart from it with 0 subjects" in verdict(apart)


ONLY = "is the only transfer method with results"
CHANCE = "Chance lies at 33.3 %, below the 95 % interval of"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            {"first": ([6] * 8, 900), "second": (MIXED, 50), "third": ([9] * 8, 40_000)},
            [
                "Best of 3 transfer methods: Third, 90.0 % balanced accuracy (95 % interval 90.0 to 90.0 %).",
                "It is told apart from all others (p ≤ 0.016, over 8 subjects).",
                "First was not shown to be worth its 900 trainable parameters: Second with 50 cannot be told apart "
                "from it; the gain of First is 0.0 points (95 % interval −7.5 to 7.5).",
                f"{CHANCE} First, Second and Third.",
            ],
        ),
        (
            {"first": ([6] * 8, 900), "second": ([7] * 8, 1), "fourth": (MIXED, 7)},
            [
                "Best of 3 transfer methods: Second, 70.0 % balanced accuracy (95 % interval 70.0 to 70.0 %).",
                "Fourth, hard cannot be told apart from it with 8 subjects.",
                "The smallest of these is Second with 1 trainable parameter.",
                "First was not worth its 900 trainable parameters: Second with 1 is better by 10.0 points (95 % "
                "interval 10.0 to 10.0).",
                f"{CHANCE} First; Second and Fourth, hard.",
            ],
        ),
        (
            {"first": ([9] * 8, 900), "second": ([7] * 8, 1), "coin": ([3] * 8, 0), "third": (MIXED, None)},
            [
                "Best of 3 transfer methods: First, 90.0 % balanced accuracy (95 % interval 90.0 to 90.0 %).",
                "It is told apart from all others (p ≤ 0.016, over 8 subjects).",
                "First was worth its 900 trainable parameters: it is better than all that train fewer, the closest "
                "being Second, by 20.0 points (95 % interval 20.0 to 20.0).",
                f"{CHANCE} First, Second and Third.",
            ],
        ),
        (
            {"first": ([6], 5), "second": ([5], 5)},
            [
                "Best of 2 transfer methods: First, 60.0 % balanced accuracy.",
                "Second cannot be told apart from it with 1 subject, too few for any test to reach 5 %.",
                "The smallest of these is First with 5 trainable parameters.",
                "No other method trains fewer parameters than First, 5.",
                "Chance is 33.3 %.",
            ],
        ),
        (
            {"first": ([1, 1, 2], 5)},
            [
                f"First {ONLY}: 13.3 % balanced accuracy (95 % interval 10.0 to 20.0 %).",
                "Chance lies at 33.3 %, above the 95 % interval of First.",
            ],
        ),
        ({"coin": ([3, 3], 0)}, ["Without results on test: First and Second.", "Chance is 33.3 %."]),
        (
            {"second": ([3, 4], 5)},
            [
                f"Second {ONLY}: 35.0 % balanced accuracy (95 % interval 30.0 to 40.0 %).",
                "Without results on test: First.",
                "Chance lies at 33.3 %, within the 95 % interval of Second.",
            ],
        ),
        ({}, []),
    ],
)
def test_the_verdict_says_no_more_than_the_tests(
    said: dict[str, tuple[Sequence[int], int | None]], words: list[str], tmp_path: Path
) -> None:
    planned = [card for card in CARDS if card.name in said] if "first" in said else CARDS[:2]
    folder = Paired(tmp_path / "run", *planned, COIN)
    for method, (tenths, parameters) in said.items():
        folder.say(method, tenths, parameters)
    assert verdict(Run(folder.write())).splitlines() == words


def test_groups_are_of_transfer_methods_alone_and_the_best_has_letter_a(tmp_path: Path) -> None:
    folder = Paired(tmp_path / "run", *CARDS[:3], COIN)
    for method, tenths in {"first": [6] * 8, "second": MIXED, "third": [9] * 8, "coin": [3] * 8}.items():
        folder.say(method, tenths)
    assert groups(Run(folder.write())) == {"third": "a", "first": "b", "second": "b"}
