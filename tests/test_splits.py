from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from benchmark.config.options import parse
from benchmark.config.schema import SplitOptions
from benchmark.data.leakage import Moments, proved, timeline
from benchmark.data.splits import PARTS, Split
from benchmark.data.splits import make_splits as splits_of_options
from benchmark.errors import InputError

FRACTIONS: dict[str, Any] = {"kind": "subjects", "train": 0.33, "val": 0.12, "pair": 0.33, "test": 0.22}
KFOLD: dict[str, Any] = {"kind": "kfold", "folds": 5, "train": 0.4, "val": 0.2, "pair": 0.4}


def make_splits(subject: np.ndarray, options: dict[str, Any], seed: int, moments: Moments | None = None) -> list[Split]:
    return splits_of_options(subject, parse(SplitOptions, options, "data.split."), seed, moments)


def check(split: Split, subject: np.ndarray, moments: Moments | None = None, *allowed: str, gap: float = 0.0) -> str:
    line = timeline(subject, moments) if moments else None
    return proved(split.name, split.parts(), subject, line, *allowed, gap=gap)


def windows_of(n_subjects: int, seed: int = 0) -> np.ndarray:
    """Subject of each window; subjects differ in how many windows they have and come in any order."""
    rng = np.random.default_rng(seed)
    return rng.permutation(np.repeat(np.arange(n_subjects), rng.integers(1, 9, n_subjects)))


def members(split: Split, subject: np.ndarray) -> dict[str, set[int]]:
    return {part: set(subject[indices].tolist()) for part, indices in split.parts().items()}


@pytest.mark.parametrize("n_subjects", [4, 5, 7, 15, 24, 99])
def test_subjects_never_cross_and_none_is_left_out(n_subjects: int):
    subject = windows_of(n_subjects)
    (split,) = make_splits(subject, FRACTIONS, seed=3)
    parts = members(split, subject)
    assert Counter(one for part in parts.values() for one in part) == dict.fromkeys(range(n_subjects), 1)
    np.testing.assert_array_equal(np.sort(np.concatenate(list(split.parts().values()))), np.arange(len(subject)))
    for part in PARTS:
        assert split.parts()[part].dtype == np.int64
        assert len(parts[part]) >= 1
        if n_subjects >= 15:
            assert abs(len(parts[part]) - FRACTIONS[part] * n_subjects) < 1


def test_numbers_of_subjects_are_taken_as_they_are():
    subject = windows_of(15)
    (split,) = make_splits(subject, {"kind": "subjects", "train": 5, "val": 2, "pair": 5, "test": 3}, seed=0)
    assert {part: len(m) for part, m in members(split, subject).items()} == {"train": 5, "val": 2, "pair": 5, "test": 3}


@pytest.mark.parametrize(("n_subjects", "folds"), [(24, 5), (24, 6), (36, 5), (11, 3), (6, 2), (8, 8)])
def test_in_k_folds_every_subject_is_tested_exactly_once(n_subjects: int, folds: int):
    subject = windows_of(n_subjects)
    splits = make_splits(subject, {**KFOLD, "folds": folds}, seed=1)
    assert [split.name for split in splits] == [f"fold{k}" for k in range(folds)]
    tested = Counter(one for split in splits for one in members(split, subject)["test"])
    assert tested == dict.fromkeys(range(n_subjects), 1)
    sizes = [len(members(split, subject)["test"]) for split in splits]
    assert max(sizes) - min(sizes) <= 1
    for split in splits:
        parts = members(split, subject)
        assert sum(map(len, parts.values())) == n_subjects


def test_in_k_folds_every_subject_serves_each_part_about_equally_often():
    subject = windows_of(25)
    splits = make_splits(subject, KFOLD, seed=0)
    for part, often in {"train": 1.6, "val": 0.8, "pair": 1.6}.items():
        served = Counter(one for split in splits for one in members(split, subject)[part])
        counts = [served[one] for one in range(25)]
        assert sum(counts) == often * 25
        assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("options", [FRACTIONS, KFOLD])
def test_the_seed_decides_and_the_order_of_windows_does_not(options):
    subject = np.sort(windows_of(24))
    first, again, other = (make_splits(subject, options, seed) for seed in (7, 7, 8))
    for a, b in zip(first, again, strict=True):
        assert all(np.array_equal(a.parts()[part], b.parts()[part]) for part in PARTS)
    assert any(not np.array_equal(a.test, b.test) for a, b in zip(first, other, strict=True))
    shuffled = np.random.default_rng(0).permutation(len(subject))
    for a, b in zip(first, make_splits(subject[shuffled], options, 7), strict=True):
        assert members(a, subject) == members(b, subject[shuffled])


def test_a_subject_on_both_sides_is_caught():
    subject = np.repeat(np.arange(8), 4)
    (split,) = make_splits(subject, FRACTIONS, seed=0)
    leaking = replace(split, train=split.train[:-1], test=np.sort(np.append(split.test, split.train[-1])))
    with pytest.raises(RuntimeError, match=r"subject \d+ is in train and in test"):
        check(leaking, subject)
    with pytest.raises(RuntimeError, match="val is empty"):
        check(replace(split, val=np.array([], dtype=np.int64)), subject)
    with pytest.raises(RuntimeError, match="holds a window twice"):
        check(replace(split, val=np.repeat(split.val, 2)), subject)
    with pytest.raises(RuntimeError, match="points outside"):
        check(replace(split, val=split.val + len(subject)), subject)
    with pytest.raises(RuntimeError, match="not int64"):
        check(replace(split, val=split.val.astype(np.float64)), subject)


@pytest.mark.parametrize(
    ("n_subjects", "options", "named"),
    [
        (3, FRACTIONS, "3 subjects, too few"),
        (3, KFOLD, "at most as many folds as"),
        (4, {**KFOLD, "folds": 2}, "without fold 0 has 2 subjects"),
        (9, {**FRACTIONS, "kind": "subject"}, "split.kind=subject cannot be used; give one of subjects, kfold"),
        (9, {**FRACTIONS, "test": 0.5}, "add up to 1.28"),
        (9, {**FRACTIONS, "test": 0}, "split.test=0 cannot be used; give a number above 0"),
        (9, {"kind": "subjects", "train": 5, "val": 2, "pair": 5, "test": 3}, "ask for 15 subjects"),
        (1, {**KFOLD, "kind": "leave-one-subject-out"}, "has 1 subjects; choose another kind"),
        (9, {**KFOLD, "folds": 1}, "split.folds=1 cannot be used; give a whole number of at least 2"),
    ],
)
def test_a_split_that_cannot_be_made_is_refused_in_one_line(n_subjects: int, options, named: str):
    with pytest.raises(InputError, match=named) as caught:
        make_splits(windows_of(n_subjects), options, seed=0)
    assert "\n" not in str(caught.value)


# -- the published sizes, single subjects, and windows of one subject -------------------------------------------------

PAPER: dict[str, Any] = {"kind": "paper", "train": 33, "val": 11, "pair": 33, "test": 22}
WALK: dict[str, Any] = {**PAPER, "units": "windows", "folds": 5, "block_seconds": 30}


def walk(seconds: float = 3.0, stride: float = 0.3, gaps: bool = True) -> tuple[np.ndarray, Moments]:
    """Two subjects, three and one recordings of about four minutes; some windows were left out for their label."""
    rng = np.random.default_rng(0)
    subject, recording, start = [], [], []
    for number, names in enumerate((("a/1", "a/2", "b/1"), ("a/1",))):
        for name in names:
            begins = stride * np.arange(int(rng.uniform(600, 900)))
            if gaps:
                begins = begins[np.repeat(rng.random(len(begins) // 20 + 1) < 0.85, 20)[: len(begins)]]
            subject += [number] * len(begins)
            recording += [name] * len(begins)
            start += begins.tolist()
    order = rng.permutation(len(subject))
    return np.array(subject)[order], Moments(np.array(recording)[order], np.array(start)[order], seconds)


def samples(indices: np.ndarray, subject: np.ndarray, moments: Moments, rate: int = 100) -> set[tuple[int, str, int]]:
    """Every sample that the windows cover, by its own name."""
    covered = set()
    for k in indices:
        first = round(moments.start[k] * rate)
        for sample in range(first, first + round(moments.seconds * rate)):
            covered.add((int(subject[k]), str(moments.recording[k]), sample))
    return covered


@pytest.mark.parametrize(
    ("n_subjects", "options", "sizes"),
    [
        (99, PAPER, (33, 11, 33, 22)),
        (100, PAPER, (33, 11, 33, 22)),  # the published sizes leave one of ISRUC's hundred out
        (15, {"kind": "paper", "train": 5, "val": 2, "pair": 5, "test": 3}, (5, 2, 5, 3)),
        (10, PAPER, (4, 1, 3, 2)),
        (4, PAPER, (1, 1, 1, 1)),
    ],
)
def test_the_published_sizes_are_kept_and_scaled_down_where_there_are_fewer(n_subjects: int, options, sizes):
    subject = windows_of(n_subjects)
    (split,) = make_splits(subject, {**options, "folds": 5}, seed=0)
    assert tuple(len(m) for m in members(split, subject).values()) == sizes
    assert split.leakage == "none"
    assert split.name == "paper"


def test_one_subject_is_left_out_in_each_fold_and_each_once():
    subject = windows_of(9)
    splits = make_splits(subject, {**PAPER, "kind": "leave-one-subject-out"}, seed=2)
    assert len(splits) == 9
    tested = [members(split, subject)["test"] for split in splits]
    assert all(len(one) == 1 for one in tested)
    assert set.union(*tested) == set(range(9))
    for split in splits:
        assert sum(map(len, members(split, subject).values())) == 9


def test_the_kind_can_be_changed_alone():
    subject, moments = walk()
    many = np.repeat(np.arange(8), 5)
    for kind in ("kfold", "leave-one-subject-out", "paper"):
        assert make_splits(many, {**WALK, "kind": kind}, seed=0)
    assert make_splits(subject, {**WALK, "kind": "blocked"}, seed=0, moments=moments)


def test_windows_drawn_at_random_overlap_across_parts_and_the_split_says_so():
    subject, moments = walk()
    (split,) = make_splits(subject, WALK, seed=0, moments=moments)
    assert split.leakage == "samples"
    sizes = [len(indices) for indices in split.parts().values()]
    assert sum(sizes) == len(subject)
    np.testing.assert_allclose(np.array(sizes) / len(subject), np.array([33, 11, 33, 22]) / 99, atol=1e-3)
    shared = samples(split.train, subject, moments) & samples(split.test, subject, moments)
    assert len(shared) > 1000
    # Without the times, overlaps cannot be ruled out.
    assert make_splits(subject, WALK, seed=0)[0].leakage == "samples"


def test_windows_drawn_at_random_that_do_not_overlap_share_subjects_only():
    subject, moments = walk(seconds=0.3, stride=0.3)
    (split,) = make_splits(subject, WALK, seed=0, moments=moments)
    assert split.leakage == "subjects"


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("gaps", [True, False])
def test_in_blocks_no_sample_is_on_two_sides_and_a_window_lies_between(seed: int, gaps: bool):
    subject, moments = walk(gaps=gaps)
    (split,) = make_splits(subject, {**WALK, "kind": "blocked"}, seed=seed, moments=moments)
    assert split.leakage == "subjects"
    covered = {part: samples(indices, subject, moments) for part, indices in split.parts().items()}
    for a, one in covered.items():
        # The same samples, each stretched by a window's length less one sample: still nothing in common.
        stretched = {(s, name, k + d) for s, name, k in one for d in (0, 299)}
        for b, other in covered.items():
            if a != b:
                assert not stretched & other
    used = sum(len(indices) for indices in split.parts().values())
    assert used > 0.7 * len(subject)
    for part, wanted in {"train": 33, "val": 11, "pair": 33, "test": 22}.items():
        assert abs(len(split.parts()[part]) / used - wanted / 99) < 0.08


def test_the_seed_decides_the_blocks_and_the_order_of_windows_does_not():
    subject, moments = walk()
    options = {**WALK, "kind": "blocked"}
    first, again, other = (make_splits(subject, options, seed, moments)[0] for seed in (0, 0, 1))
    assert all(np.array_equal(first.parts()[part], again.parts()[part]) for part in PARTS)
    assert not np.array_equal(first.test, other.test)
    order = np.random.default_rng(3).permutation(len(subject))
    shuffled = replace(moments, recording=moments.recording[order], start=moments.start[order])
    (moved,) = make_splits(subject[order], options, 0, shuffled)
    for part in PARTS:
        np.testing.assert_array_equal(np.sort(order[moved.parts()[part]]), first.parts()[part])


def test_a_sample_on_both_sides_is_caught():
    subject, moments = walk(gaps=False)
    (split,) = make_splits(subject, {**WALK, "kind": "blocked"}, seed=0, moments=moments)
    unused = np.setdiff1d(np.arange(len(subject)), np.concatenate(list(split.parts().values())))
    last = split.test[moments.start[split.test].argmax()]
    near = [
        k
        for k in unused
        if subject[k] == subject[last]
        and moments.recording[k] == moments.recording[last]
        and 0 < abs(moments.start[k] - moments.start[last]) < 6
    ]
    assert near
    for extra in near:
        leaking = replace(split, val=np.sort(np.append(split.val, extra)))
        with pytest.raises(RuntimeError, match=r"of different parts"):
            check(leaking, subject, moments, "subjects", gap=moments.seconds)
    with pytest.raises(RuntimeError, match=r"subject \d is in train and in"):
        check(split, subject, moments)
    with pytest.raises(RuntimeError, match=r"is in train and in test"):
        check(replace(split, test=np.sort(np.append(split.test, split.train[0]))), subject, moments, "samples")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({**WALK, "kind": "blocked", "block_seconds": 1}, "at least twice the window's 3"),
        ({**WALK, "units": "minutes"}, "split.units=minutes cannot be used; give one of subjects, windows"),
        ({**WALK, "kind": "leave-one-subject-out"}, "without fold 0 has 1 subjects"),
    ],
)
def test_a_split_of_windows_that_cannot_be_made_is_refused_in_one_line(options, named: str):
    subject, moments = walk()
    with pytest.raises(InputError, match=named) as caught:
        make_splits(subject, options, seed=0, moments=moments)
    assert "\n" not in str(caught.value)


def test_blocks_need_the_times_of_the_windows():
    with pytest.raises(InputError, match="needs the times of the windows"):
        make_splits(np.arange(9), {**WALK, "kind": "blocked"}, seed=0)


def test_too_few_blocks_for_the_parts_are_refused():
    moments = Moments(np.repeat(["a", "b", "c"], 30), np.tile(3.0 * np.arange(30), 3), 3.0)
    with pytest.raises(InputError, match="none of 3 blocks is left for val; give another length"):
        make_splits(np.zeros(90, dtype=int), {**WALK, "kind": "blocked", "block_seconds": 90}, 0, moments)
