"""Which windows serve which end: ``train`` for the teacher, ``pair`` for the transfer, ``val`` for choosing, ``test``
once at the end. Subjects never cross.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmark.errors import InputError
from benchmark.suggest import choose

PARTS = ("train", "val", "pair", "test")
KINDS: Mapping[str, frozenset[str]] = {
    "subjects": frozenset({"kind", *PARTS}),
    "kfold": frozenset({"kind", "folds", "train", "val", "pair"}),
}


@dataclass(frozen=True)
class Split:
    """Sorted int64 indices of the windows of each part."""

    train: np.ndarray
    val: np.ndarray
    pair: np.ndarray
    test: np.ndarray
    name: str
    fold: int | None = None

    def parts(self) -> dict[str, np.ndarray]:
        return {part: getattr(self, part) for part in PARTS}


def make_splits(subject: np.ndarray, options: Mapping[str, Any], seed: int) -> list[Split]:
    """Split windows by subject.

    Parameters
    ----------
    subject : (N,) integers, the subject of each window.
    options : ``kind: subjects`` with ``train``, ``val``, ``pair`` and ``test`` as fractions that add up to 1, or as
        numbers of subjects; or ``kind: kfold`` with ``folds`` and with ``train``, ``val`` and ``pair`` as fractions of
        the subjects that are not in the fold's test part. In k folds every subject is in ``test`` exactly once, and
        the other parts rotate, so that each subject serves each of them about equally often.
    seed : shuffles the subjects; the same seed gives the same splits.

    Raises
    ------
    InputError
        For an unknown kind or option, fractions that do not add up, or fewer subjects than parts.
    """
    kind = str(options.get("kind"))
    if kind not in KINDS:
        raise InputError(f"option split.kind is {kind}; {choose(kind, KINDS)}")
    for key in options:
        if key not in KINDS[kind]:
            raise InputError(f"unknown option split.{key} of kind {kind}; {choose(str(key), sorted(KINDS[kind]))}")
    subject = np.asarray(subject)
    order = np.random.default_rng(seed).permutation(np.unique(subject))
    if kind == "subjects":
        sizes = _sizes(len(order), {part: options.get(part) for part in PARTS}, "the data set")
        splits = [_split(subject, _deal(order, sizes), kind, None)]
    else:
        splits = _kfold(subject, order, options)
    for split in splits:
        check(split, subject)
    return splits


def check(split: Split, subject: np.ndarray) -> None:
    """Prove that no subject, hence no window, is in two parts, and that no part is empty.

    Raises
    ------
    RuntimeError
        With the subjects that cross. A split that fails here must never be trained on.
    """
    seen: dict[int, str] = {}
    for part, indices in split.parts().items():
        if indices.dtype != np.int64 or indices.ndim != 1:
            raise RuntimeError(f"split {split.name}: {part} holds {indices.dtype} {indices.shape}, not int64 (n,)")
        if not len(indices):
            raise RuntimeError(f"split {split.name}: {part} is empty")
        if indices.min() < 0 or indices.max() >= len(subject):
            raise RuntimeError(f"split {split.name}: {part} points outside the {len(subject)} windows")
        if len(np.unique(indices)) != len(indices):
            raise RuntimeError(f"split {split.name}: {part} holds a window twice")
        for one in np.unique(subject[indices]).tolist():
            if one in seen:
                raise RuntimeError(f"split {split.name}: subject {one} is in {seen[one]} and in {part}")
            seen[one] = part


def _kfold(subject: np.ndarray, order: np.ndarray, options: Mapping[str, Any]) -> list[Split]:
    folds = options.get("folds")
    if isinstance(folds, bool) or not isinstance(folds, int) or folds < 2:
        raise InputError(f"option split.folds is {folds!r}; give a whole number of at least 2")
    if len(order) < folds:
        raise InputError(
            f"option split.folds is {folds}, the data set has {len(order)} subjects; give at most as many folds as "
            "subjects"
        )
    rest = {part: options.get(part) for part in PARTS[:3]}
    splits = []
    for fold, test in enumerate(np.array_split(np.arange(len(order)), folds)):
        # The others, beginning right behind the test block: as the block moves on, the parts rotate with it.
        others = np.roll(order, -int(test[-1]) - 1)[: len(order) - len(test)]
        sizes = _sizes(len(others), rest, f"the data set without fold {fold}")
        splits.append(_split(subject, {**_deal(others, sizes), "test": order[test]}, f"fold{fold}", fold))
    return splits


def _sizes(n_subjects: int, wanted: Mapping[str, Any], where: str) -> dict[str, int]:
    """How many subjects each part gets: as near to the fractions as whole subjects allow, and at least one."""
    for part, value in wanted.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise InputError(f"option split.{part} is {value!r}; give a fraction or a number of subjects above 0")
    values = np.array(list(wanted.values()), dtype=np.float64)
    if n_subjects < len(values):
        raise InputError(
            f"{where} has {n_subjects} subjects, too few for {', '.join(wanted)} with one each; give at least "
            f"{len(values)}"
        )
    if all(isinstance(value, int) for value in wanted.values()) and values.sum() != 1:
        if values.sum() > n_subjects:
            raise InputError(
                f"options split.{', split.'.join(wanted)} ask for {int(values.sum())} subjects, {where} has "
                f"{n_subjects}; lower them"
            )
        return {part: int(value) for part, value in wanted.items()}
    if abs(values.sum() - 1) > 1e-6:
        raise InputError(
            f"options split.{', split.'.join(wanted)} add up to {values.sum():g}; fractions must add up to 1 and "
            "numbers of subjects must all be whole"
        )
    sizes = np.maximum(1, np.floor(values * n_subjects)).astype(np.int64)
    while sizes.sum() != n_subjects:  # largest remainder first; a part never falls below one subject
        missing = values * n_subjects - sizes
        step = 1 if sizes.sum() < n_subjects else -1
        movable = np.ones(len(sizes), dtype=bool) if step > 0 else sizes > 1
        sizes[np.argmax(np.where(movable, step * missing, -np.inf))] += step
    return dict(zip(wanted, sizes.tolist(), strict=True))


def _deal(order: np.ndarray, sizes: Mapping[str, int]) -> dict[str, np.ndarray]:
    ends = np.cumsum(list(sizes.values()))
    return dict(zip(sizes, np.split(order[: ends[-1]], ends[:-1]), strict=True))


def _split(subject: np.ndarray, members: Mapping[str, np.ndarray], name: str, fold: int | None) -> Split:
    indices = {part: np.flatnonzero(np.isin(subject, members[part])).astype(np.int64) for part in PARTS}
    return Split(**indices, name=name, fold=fold)
