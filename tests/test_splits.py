from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from benchmark.errors import InputError
from benchmark.splits import PARTS, Split, check, make_splits

FRACTIONS: dict[str, Any] = {"kind": "subjects", "train": 0.33, "val": 0.12, "pair": 0.33, "test": 0.22}
KFOLD: dict[str, Any] = {"kind": "kfold", "folds": 5, "train": 0.4, "val": 0.2, "pair": 0.4}


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
    assert [split.fold for split in splits] == list(range(folds))
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
        (9, {**FRACTIONS, "kind": "subject"}, "did you mean subjects"),
        (9, {}, "split.kind is None"),
        (9, {**FRACTIONS, "tset": 0.1}, "split.tset.*did you mean test"),
        (9, {**FRACTIONS, "test": 0.5}, "add up to 1.28"),
        (9, {**FRACTIONS, "test": 0}, "split.test is 0"),
        (9, {**FRACTIONS, "test": "most"}, "split.test is 'most'"),
        (9, {"kind": "subjects", "train": 5, "val": 2, "pair": 5, "test": 3}, "ask for 15 subjects"),
        (9, {**KFOLD, "folds": 1}, "split.folds is 1"),
        (9, {**KFOLD, "folds": None}, "split.folds is None"),
    ],
)
def test_a_split_that_cannot_be_made_is_refused_in_one_line(n_subjects: int, options, named: str):
    with pytest.raises(InputError, match=named) as caught:
        make_splits(windows_of(n_subjects), options, seed=0)
    assert "\n" not in str(caught.value)
