"""Which windows serve which end: ``train`` for the teacher, ``pair`` for the transfer, ``val`` for choosing, ``test``
once at the end. What crosses from one part to another is measured, and more than a kind allows is an error.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmark.data.base import PairedWindows
from benchmark.errors import InputError
from benchmark.common.suggest import choose

PARTS = ("train", "val", "pair", "test")
LEAKAGE = ("none", "subjects", "samples")
"""What two parts may share: nothing, people, or even samples of their recordings; later ones include earlier ones."""
KINDS: Mapping[str, str] = {
    "subjects": "none",
    "kfold": "none",
    "leave-one-subject-out": "none",
    "paper": "none",
    "blocked": "subjects",
}
"""Kinds of splits, and the most that their parts may share; ``paper`` by windows may share all."""
OPTIONS = frozenset({"kind", "folds", "units", "block_seconds", *PARTS})
MARGIN = 1e-6  # seconds: rounding of starts


@dataclass(frozen=True)
class Moments:
    """When the windows were recorded: overlaps can be told from it."""

    recording: np.ndarray  # (N,) names
    start: np.ndarray  # (N,), seconds within the recording
    seconds: float  # length of a window


@dataclass(frozen=True)
class Split:
    """Sorted int64 indices of the windows of each part; ``leakage`` is what two of them share, one of ``LEAKAGE``."""

    train: np.ndarray
    val: np.ndarray
    pair: np.ndarray
    test: np.ndarray
    name: str
    fold: int | None = None
    leakage: str = "none"

    def parts(self) -> dict[str, np.ndarray]:
        return {part: getattr(self, part) for part in PARTS}

    @property
    def leaky(self) -> bool:
        """Whether samples of one part are in another: what is measured on such a split is too good."""
        return self.leakage == "samples"


@dataclass(frozen=True)
class _Timeline:
    """The windows in the order in which they were recorded, recording by recording; made once for many splits."""

    order: np.ndarray  # (N,) indices of windows
    recording: np.ndarray  # (N,) numbers in that order; equal names of two subjects are two recordings
    start: np.ndarray  # (N,) seconds in that order
    seconds: float  # length of a window


def _timeline(subject: np.ndarray, moments: Moments) -> _Timeline:
    names, name = np.unique(moments.recording, return_inverse=True)
    _, person = np.unique(subject, return_inverse=True)
    recording = person * len(names) + name
    order = np.lexsort((moments.start, recording))
    return _Timeline(order, recording[order], np.asarray(moments.start)[order], moments.seconds)


def splits_of(data: PairedWindows, options: Mapping[str, Any], seed: int) -> list[Split]:
    """``make_splits`` of a data set, checked down to the sample."""
    return make_splits(data.subject, options, seed, Moments(data.recording, data.start, data.old.spec.seconds))


def make_splits(
    subject: np.ndarray, options: Mapping[str, Any], seed: int, moments: Moments | None = None
) -> list[Split]:
    """Split windows, by subject but for two kinds.

    Parameters
    ----------
    subject : (N,) integers, the subject of each window.
    options : ``kind`` and what it reads of ``train, val, pair, test, folds, units, block_seconds``; the others are
        skipped, so that the kind can be changed alone.

        - ``subjects``: ``train``, ``val``, ``pair``, ``test`` are fractions that add up to 1, or numbers of subjects.
        - ``kfold``: every subject is in ``test`` exactly once in ``folds`` folds; the others are dealt in the
          proportions of ``train``, ``val`` and ``pair``, which rotate, so that each subject serves each of them about
          equally often.
        - ``leave-one-subject-out``: as many folds as subjects.
        - ``paper``: the published sizes: so many ``units`` (subjects or windows), in these proportions where there are
          fewer. Windows are drawn at random, so overlapping ones lie on both sides and the split is marked as leaky.
        - ``blocked``: recordings are cut into blocks of ``block_seconds``, which are dealt in those proportions;
          windows that come within a window's length of another part are left out. Subjects are in all parts, samples
          in one.
    seed : shuffles; the same seed gives the same splits.
    moments : needed for ``blocked``; with it, every kind is checked for samples that cross.

    Raises
    ------
    InputError
        For an unknown kind or option, sizes that cannot be used, or too few subjects or windows.
    RuntimeError
        For a split that shares more between its parts than its kind allows.
    """
    kind = str(options.get("kind"))
    if kind not in KINDS:
        raise InputError(f"option split.kind is {kind}; {choose(kind, KINDS)}")
    for key in options:
        if key not in OPTIONS:
            raise InputError(f"unknown option split.{key}; {choose(str(key), sorted(OPTIONS))}")
    subject = np.asarray(subject)
    rng = np.random.default_rng(seed)
    order = rng.permutation(np.unique(subject))
    allowed = KINDS[kind]
    if kind == "subjects":
        sizes = _sizes(len(order), {part: options.get(part) for part in PARTS}, "the data set")
        splits = [_split(subject, _deal(order, sizes), kind, None)]
    elif kind in ("kfold", "leave-one-subject-out"):
        splits = _kfold(subject, order, options, len(order) if kind == "leave-one-subject-out" else None)
    elif kind == "blocked":
        splits = [_blocked(subject, options, rng, moments)]
    else:
        units = options.get("units", "subjects")
        if units not in ("subjects", "windows"):
            raise InputError(f"option split.units is {units!r}; give subjects or windows")
        if units == "subjects":
            splits = [_split(subject, _deal(order, _published(len(order), options, units)), kind, None)]
        else:
            allowed = "samples"
            dealt = _deal(rng.permutation(len(subject)), _published(len(subject), options, units))
            splits = [_made({part: np.sort(mine) for part, mine in dealt.items()}, kind)]
    gap = moments.seconds if moments and kind == "blocked" else 0.0
    line = _timeline(subject, moments) if moments else None
    return [_checked(split, subject, line, allowed, gap) for split in splits]


def check(
    split: Split, subject: np.ndarray, moments: Moments | None = None, allowed: str = "none", gap: float = 0.0
) -> Split:
    """Prove that no more than ``allowed`` crosses from one part to another, and that no part is empty.

    Parameters
    ----------
    moments : without it, samples are taken to cross wherever subjects do.
    gap : seconds that must lie between the windows of two parts in one recording, where samples may not cross.

    Returns
    -------
    The split, with what was found to cross as its ``leakage``.

    Raises
    ------
    RuntimeError
        With what crosses. A split that fails here must never be trained on.
    """
    return _checked(split, subject, _timeline(subject, moments) if moments else None, allowed, gap)


def _checked(split: Split, subject: np.ndarray, line: _Timeline | None, allowed: str, gap: float) -> Split:
    part_of = np.full(len(subject), -1)
    for number, (part, indices) in enumerate(split.parts().items()):
        if indices.dtype != np.int64 or indices.ndim != 1:
            raise RuntimeError(f"split {split.name}: {part} holds {indices.dtype} {indices.shape}, not int64 (n,)")
        if not len(indices):
            raise RuntimeError(f"split {split.name}: {part} is empty")
        if indices.min() < 0 or indices.max() >= len(subject):
            raise RuntimeError(f"split {split.name}: {part} points outside the {len(subject)} windows")
        if len(np.unique(indices)) != len(indices):
            raise RuntimeError(f"split {split.name}: {part} holds a window twice")
        if (taken := part_of[indices]).max() >= 0:
            where = int(indices[taken.argmax()])
            raise RuntimeError(
                f"split {split.name}: window {where}, of subject {subject[where]}, is in {PARTS[part_of[where]]} and "
                f"in {part}"
            )
        part_of[indices] = number
    crossing = _crossing_subject(part_of, subject)
    found, what = ("none", "") if crossing is None else ("subjects", f"subject {crossing[0]} is in {crossing[1]}")
    if line is None and crossing is not None:
        found = "samples"
    elif line is not None:
        distance, pair = _closest(part_of, line)
        if distance < line.seconds - MARGIN:
            found, what = "samples", f"windows {pair[0]} and {pair[1]} of different parts overlap"
        elif allowed != "samples" and distance < line.seconds + gap - MARGIN:
            raise RuntimeError(
                f"split {split.name}: {distance - line.seconds:g} s between windows {pair[0]} and {pair[1]} of "
                f"different parts, not {gap:g} s"
            )
    if LEAKAGE.index(found) > LEAKAGE.index(allowed):
        raise RuntimeError(f"split {split.name}: {what}")
    return replace(split, leakage=found)


def _crossing_subject(part_of: np.ndarray, subject: np.ndarray) -> tuple[int, str] | None:
    """A subject with windows in several parts, and which these are."""
    used = part_of >= 0
    names, number = np.unique(subject[used], return_inverse=True)
    table = np.zeros((len(names), len(PARTS)), dtype=bool)
    table[number, part_of[used]] = True
    several = np.flatnonzero(table.sum(axis=1) > 1)
    if not len(several):
        return None
    return int(names[several[0]]), " and in ".join(PARTS[part] for part in np.flatnonzero(table[several[0]]))


def _closest(part_of: np.ndarray, line: _Timeline) -> tuple[float, tuple[int, int]]:
    """The least time between the starts of two windows of one recording that are in different parts, and which."""
    part = part_of[line.order]
    used = np.flatnonzero(part >= 0)
    # Between two windows of different parts there are neighbours of different parts, at most as far from each other.
    apart = np.diff(line.start[used])
    apart[(np.diff(line.recording[used]) != 0) | (np.diff(part[used]) == 0)] = np.inf
    if not len(apart):
        return np.inf, (-1, -1)
    k = int(apart.argmin())
    return float(apart[k]), (int(line.order[used[k]]), int(line.order[used[k + 1]]))


def _blocked(
    subject: np.ndarray, options: Mapping[str, Any], rng: np.random.Generator, moments: Moments | None
) -> Split:
    if moments is None:
        raise InputError("option split.kind is blocked, which needs the times of the windows; choose another kind")
    seconds = options.get("block_seconds")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds >= 2 * moments.seconds:
        raise InputError(
            f"option split.block_seconds is {seconds!r}; give a number of seconds, at least twice the "
            f"window's {moments.seconds:g}"
        )
    line = _timeline(subject, moments)
    recording = np.empty(len(subject), dtype=np.int64)
    recording[line.order] = np.unique(line.recording, return_inverse=True)[1]
    first = np.full(recording.max(initial=-1) + 1, np.inf)
    np.minimum.at(first, recording, moments.start)
    within = np.floor((moments.start - first[recording]) / seconds + MARGIN).astype(np.int64)
    _, block, size = np.unique(np.stack([recording, within]), axis=1, return_inverse=True, return_counts=True)
    block = block.reshape(-1)
    proportions = _proportions({part: options.get(part) for part in PARTS})
    missing = np.array(list(proportions.values())) * len(subject)
    part_of_block = np.empty(len(size), dtype=np.int64)
    for one in rng.permutation(len(size)):  # to the part that lacks the most windows
        part_of_block[one] = missing.argmax()
        missing[part_of_block[one]] -= size[one]
    part = part_of_block[block]
    kept = np.zeros(len(subject), dtype=bool)
    last = np.full(len(PARTS), -np.inf)
    previous = -1
    for k in line.order:
        if recording[k] != previous:
            previous, last = recording[k], np.full(len(PARTS), -np.inf)
        others = np.delete(last, part[k]).max()
        if moments.start[k] - others >= 2 * moments.seconds - MARGIN:
            kept[k], last[part[k]] = True, moments.start[k]
    indices = {name: np.flatnonzero(kept & (part == number)) for number, name in enumerate(PARTS)}
    for name, mine in indices.items():
        if not len(mine):
            raise InputError(
                f"option split.block_seconds is {seconds:g}: none of {len(size)} blocks is left for {name}; give "
                "another length"
            )
    return _made(indices, "blocked")


def _kfold(subject: np.ndarray, order: np.ndarray, options: Mapping[str, Any], folds: int | None) -> list[Split]:
    folds = options.get("folds") if folds is None else folds
    if isinstance(folds, bool) or not isinstance(folds, int) or folds < 2:
        raise InputError(f"option split.folds is {folds!r}; give a whole number of at least 2")
    if len(order) < folds:
        raise InputError(
            f"option split.folds is {folds}, the data set has {len(order)} subjects; give at most as many folds as "
            "subjects"
        )
    rest = _proportions({part: options.get(part) for part in PARTS[:3]})
    splits = []
    for fold, test in enumerate(np.array_split(np.arange(len(order)), folds)):
        # The others, beginning right behind the test block: as the block moves on, the parts rotate with it.
        others = np.roll(order, -int(test[-1]) - 1)[: len(order) - len(test)]
        sizes = _sizes(len(others), rest, f"the data set without fold {fold}")
        splits.append(_split(subject, {**_deal(others, sizes), "test": order[test]}, f"fold{fold}", fold))
    return splits


def _published(n: int, options: Mapping[str, Any], units: str) -> dict[str, int]:
    """The published numbers of subjects where there are as many, else the same proportions."""
    wanted = {part: options.get(part) for part in PARTS}
    proportions = _proportions(wanted)
    whole = all(isinstance(value, int) for value in wanted.values())
    if units == "subjects" and whole and sum(wanted.values()) <= n:  # type: ignore[arg-type]
        return {part: int(value) for part, value in wanted.items()}  # type: ignore[arg-type]
    return _sizes(n, proportions, "the data set", units)


def _proportions(wanted: Mapping[str, Any]) -> dict[str, float]:
    """Positive numbers, scaled to add up to 1."""
    for part, value in wanted.items():
        _positive(part, value)
    total = sum(wanted.values())
    return {part: value / total for part, value in wanted.items()}


def _positive(part: str, value: Any) -> None:
    right = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < np.inf
    if not right:
        raise InputError(f"option split.{part} is {value!r}; give a fraction or a number of subjects above 0")


def _sizes(n_subjects: int, wanted: Mapping[str, Any], where: str, units: str = "subjects") -> dict[str, int]:
    """How many subjects each part gets: as near to the fractions as whole subjects allow, and at least one."""
    for part, value in wanted.items():
        _positive(part, value)
    values = np.array(list(wanted.values()), dtype=np.float64)
    if n_subjects < len(values):
        raise InputError(
            f"{where} has {n_subjects} {units}, too few for {', '.join(wanted)} with one each; give at least "
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
    return _made({part: np.flatnonzero(np.isin(subject, members[part])) for part in PARTS}, name, fold)


def _made(indices: Mapping[str, np.ndarray], name: str, fold: int | None = None) -> Split:
    train, val, pair, test = (indices[part].astype(np.int64) for part in PARTS)
    return Split(train, val, pair, test, name, fold)
