"""Which windows serve which end: ``train`` for the teacher, ``pair`` for the transfer, ``val`` for choosing, ``test``
once at the end. What crosses from one part to another is measured, and more than a kind allows is an error.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmark.config.schema import Part, SplitOptions
from benchmark.data.base import PairedWindows
from benchmark.data.leakage import MARGIN, Moments, proved, timeline
from benchmark.errors import InputError

PARTS = ("train", "val", "pair", "test")


@dataclass(frozen=True)
class Split:
    """Sorted int64 indices of the windows of each part; ``leakage`` is what two of them share, one of ``LEAKAGE``."""

    train: np.ndarray
    val: np.ndarray
    pair: np.ndarray
    test: np.ndarray
    name: str
    leakage: str = "none"

    def parts(self) -> dict[str, np.ndarray]:
        return {part: getattr(self, part) for part in PARTS}


def splits_of(data: PairedWindows, options: SplitOptions, seed: int) -> list[Split]:
    """``make_splits`` of a data set, checked down to the sample."""
    return make_splits(data.subject, options, seed, Moments(data.recording, data.start, data.old.spec.seconds))


def make_splits(subject: np.ndarray, options: SplitOptions, seed: int, moments: Moments | None = None) -> list[Split]:
    """Split windows, by subject but for two kinds.

    Parameters
    ----------
    subject : (N,) integers, the subject of each window.
    options : ``kind`` and what it reads of the others, so that the kind can be changed alone.

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
        For sizes that cannot be used, or too few subjects or windows.
    RuntimeError
        For a split that shares more between its parts than its kind allows.
    """
    kind, units = options.kind, options.units
    subject = np.asarray(subject)
    rng = np.random.default_rng(seed)
    order = rng.permutation(np.unique(subject))
    allowed, gap = "none", 0.0
    if kind == "subjects":
        splits = [_split(subject, _deal(order, _sizes(len(order), _wanted(options), "the data set")), kind)]
    elif kind == "kfold":
        splits = _kfold(subject, order, options, options.folds)
    elif kind == "leave-one-subject-out":
        splits = _kfold(subject, order, options, len(order))
    elif kind == "blocked":
        if moments is None:
            raise InputError("data.split.kind=blocked needs the times of the windows; choose another kind")
        splits, allowed, gap = [_blocked(subject, options, rng, moments)], "subjects", moments.seconds
    elif units == "subjects":
        splits = [_split(subject, _deal(order, _published(len(order), options)), kind)]
    else:
        allowed = "samples"
        dealt = _deal(rng.permutation(len(subject)), _published(len(subject), options))
        splits = [_made({part: np.sort(mine) for part, mine in dealt.items()}, kind)]
    line = timeline(subject, moments) if moments else None
    return [replace(split, leakage=proved(split.name, split.parts(), subject, line, allowed, gap)) for split in splits]


def development(split: Split) -> Split:
    """The split whose pair is pair and val together; nothing is left in val."""
    return replace(split, pair=np.union1d(split.pair, split.val), val=split.val[:0])


def inner_splits(split: Split, subject: np.ndarray, folds: int, seed: int) -> Sequence[Split]:
    """Splits of pair and val by subject: each fold is val once, and the other ones are pair.

    Parameters
    ----------
    subject : (N,) integers, the subject of each window of the data set.
    folds : at most the subjects of pair and val together; 1: the split as it is.
    """
    if folds == 1:
        return [split]
    windows = np.union1d(split.pair, split.val)
    order = np.random.default_rng(seed).permutation(np.unique(subject[windows]))
    held_out = [np.isin(subject[windows], order[fold::folds]) for fold in range(folds)]
    return [
        replace(split, pair=windows[~mine], val=windows[mine], name=f"{split.name} inner{fold}")
        for fold, mine in enumerate(held_out)
    ]


def _blocked(subject: np.ndarray, options: SplitOptions, rng: np.random.Generator, moments: Moments) -> Split:
    seconds = options.block_seconds
    if seconds < 2 * moments.seconds:
        raise InputError(
            f"data.split.block_seconds={seconds:g} cannot be used; give at least twice the window's "
            f"{moments.seconds:g} s"
        )
    line = timeline(subject, moments)
    recording = np.empty(len(subject), dtype=np.int64)
    recording[line.order] = np.unique(line.recording, return_inverse=True)[1]
    first = np.full(recording.max(initial=-1) + 1, np.inf)
    np.minimum.at(first, recording, moments.start)
    within = np.floor((moments.start - first[recording]) / seconds + MARGIN).astype(np.int64)
    _, block, size = np.unique(np.stack([recording, within]), axis=1, return_inverse=True, return_counts=True)
    block = block.reshape(-1)
    missing = np.array(list(_proportions(_wanted(options)).values())) * len(subject)
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
                f"data.split.block_seconds={seconds:g} cannot be used: none of {len(size)} blocks is left for {name}; "
                "give another length"
            )
    return _made(indices, "blocked")


def _kfold(subject: np.ndarray, order: np.ndarray, options: SplitOptions, folds: int) -> list[Split]:
    if len(order) < folds:
        raise InputError(
            f"data.split.folds={folds} cannot be used: the data set has {len(order)} subjects; give at most as many "
            "folds as subjects"
        )
    if folds < 2:
        raise InputError(
            f"data.split.kind={options.kind} cannot be used: the data set has {len(order)} subjects; choose another "
            "kind, such as blocked"
        )
    rest = _proportions(_wanted(options, PARTS[:3]))
    splits = []
    for fold, test in enumerate(np.array_split(np.arange(len(order)), folds)):
        # The others, beginning right behind the test block: as the block moves on, the parts rotate with it.
        others = np.roll(order, -int(test[-1]) - 1)[: len(order) - len(test)]
        sizes = _sizes(len(others), rest, f"the data set without fold {fold}")
        splits.append(_split(subject, {**_deal(others, sizes), "test": order[test]}, f"fold{fold}"))
    return splits


def _published(n: int, options: SplitOptions) -> dict[str, int]:
    """The published numbers of subjects where there are as many, else the same proportions."""
    wanted = _wanted(options)
    whole = {part: size for part, size in wanted.items() if isinstance(size, int)}
    if options.units == "subjects" and len(whole) == len(wanted) and sum(whole.values()) <= n:
        return whole
    return _sizes(n, _proportions(wanted), "the data set", options.units)


def _wanted(options: SplitOptions, parts: Sequence[str] = PARTS) -> dict[str, Part]:
    return {part: getattr(options, part) for part in parts}


def _proportions(wanted: Mapping[str, Part]) -> dict[str, Part]:
    """Scaled to add up to 1."""
    total = sum(wanted.values())
    return {part: value / total for part, value in wanted.items()}


def _sizes(n: int, wanted: Mapping[str, Part], where: str, units: str = "subjects") -> dict[str, int]:
    """How many of ``n`` each part gets: as near to the fractions as whole numbers allow, and at least one."""
    names = f"data.split.{', data.split.'.join(wanted)}"
    values = np.array(list(wanted.values()), dtype=np.float64)
    if n < len(values):
        raise InputError(
            f"{where} has {n} {units}, too few for {', '.join(wanted)} with one each; give at least {len(values)}"
        )
    whole = {part: size for part, size in wanted.items() if isinstance(size, int)}
    if len(whole) == len(wanted) and values.sum() != 1:
        if values.sum() > n:
            raise InputError(f"{names} ask for {int(values.sum())} subjects, {where} has {n}; lower them")
        return whole
    if abs(values.sum() - 1) > 1e-6:
        raise InputError(
            f"{names} add up to {values.sum():g}; fractions must add up to 1 and numbers of subjects must all be whole"
        )
    sizes = np.maximum(1, np.floor(values * n)).astype(np.int64)
    while sizes.sum() != n:  # largest remainder first; a part never falls below one
        missing = values * n - sizes
        step = 1 if sizes.sum() < n else -1
        movable = np.ones(len(sizes), dtype=bool) if step > 0 else sizes > 1
        sizes[np.argmax(np.where(movable, step * missing, -np.inf))] += step
    return dict(zip(wanted, sizes.tolist(), strict=True))


def _deal(order: np.ndarray, sizes: Mapping[str, int]) -> dict[str, np.ndarray]:
    ends = np.cumsum(list(sizes.values()))
    return dict(zip(sizes, np.split(order[: ends[-1]], ends[:-1]), strict=True))


def _split(subject: np.ndarray, members: Mapping[str, np.ndarray], name: str) -> Split:
    return _made({part: np.flatnonzero(np.isin(subject, members[part])) for part in PARTS}, name)


def _made(indices: Mapping[str, np.ndarray], name: str) -> Split:
    train, val, pair, test = (indices[part].astype(np.int64) for part in PARTS)
    return Split(train, val, pair, test, name)
