"""All that trials will find done: local weights, then features subject by subject, and teachers, on a cluster.

A subject is the unit of work: the extraction of one encoder is as many pieces as subjects, or as there is use for. What
folds share, equal weights on the same subject, is computed once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmark.cluster.tasks import Job, run_jobs
from benchmark.common.progress import Progress
from benchmark.config.schema import Config
from benchmark.data.base import PairedWindows
from benchmark.data.splits import splits_of
from benchmark.frozen.loading import load_data
from benchmark.frozen.task import open_task
from benchmark.frozen.weights import SIDES, Side, identity, kept_weights, options_of, pretrained


@dataclass
class Extraction:
    """Features of one subject under equal weights, and the windows of which the last output is kept token by token."""

    fold: int
    side: Side
    subject: int
    last: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class Piece:
    """A part of what is prepared; its job returns the seconds of earlier work that it found done.

    ``folds``: those that have use for it; ``after``: the names of jobs that must be done before.
    """

    job: Job
    kind: str
    folds: frozenset[int]
    after: frozenset[str]


def prepare(config: Config, folds: Sequence[int], last_tokens: bool) -> float:
    """Compute what is not there yet; the seconds of earlier work that was found done. ``last_tokens`` as ``pieces``."""
    waiting, done, saved = pieces(config, folds, last_tokens), set[str](), 0.0

    def add(job: Job, seconds: float) -> None:
        nonlocal saved
        saved += seconds
        done.add(job.name)

    while waiting:
        ready = [piece for piece in waiting if piece.after <= done]
        run_jobs([piece.job for piece in ready], config.cluster, ", ".join({piece.kind: 0 for piece in ready}), add)
        waiting = [piece for piece in waiting if piece.job.name not in done]
    return saved


def pieces(config: Config, folds: Sequence[int], last_tokens: bool, parts: int | None = None) -> list[Piece]:
    """What there is to prepare.

    ``last_tokens``: whether a method reads the teacher's last output token by token on pair. ``parts``: at most so many
    pieces for the subjects of an encoder; as many as subjects if None.
    """
    data = load_data(config)
    splits = splits_of(data, config.data.split, config.seed)
    weights = {(side, fold): identity(config, data, splits[fold], side) for side in SIDES for fold in folds}

    def sharing(side: Side, fold: int) -> frozenset[int]:
        return frozenset(other for other in folds if weights[side, other] == weights[side, fold])

    def piece(kind: str, job: Job, folds: frozenset[int], before: Sequence[Piece]) -> Piece:
        return Piece(job, kind, folds, frozenset(one.job.name for one in before if one.folds & folds))

    def pretraining(side: Side) -> list[Piece]:
        at = [fold for (other, _), fold in _local_weights(config, data, folds).items() if other == side]
        name = f"weights of {_modality(config, side)}, fold "
        return [
            piece("local weights", Job(f"{name}{fold}", _pretrain, (config, fold, side)), sharing(side, fold), [])
            for fold in at
        ]

    def extraction(side: Side, kind: str, of: Callable[[int], frozenset[int]], before: Sequence[Piece]) -> list[Piece]:
        every = _extractions(config, data, folds, side, last_tokens)
        return [
            piece(kind, Job(_named(config, data, some), _extract, (config, some)), of(some[0].fold), before)
            for fold in folds
            for some in _parted([one for one in every if one.fold == fold], parts)
        ]

    def teachers(before: Sequence[Piece]) -> list[Piece]:
        return [
            piece("teacher", Job(f"teacher of fold {fold}", _teach, (config, fold)), frozenset([fold]), before)
            for fold in folds
        ]

    old, new = pretraining("old"), pretraining("new")
    read = extraction("new", "features", lambda fold: sharing("new", fold), new)
    # A fine-tuned teacher's features are another's than those that pre-training gave; a probe is fitted on the latter.
    if config.teacher.training == "finetune":
        taught = teachers(old)
        heard = extraction("old", "features of the teacher", lambda fold: frozenset([fold]), taught)
        return [*old, *new, *taught, *read, *heard]
    heard = extraction("old", "features", lambda fold: sharing("old", fold), old)
    return [*old, *new, *heard, *read, *teachers([*old, *heard])]


def _parted(every: Sequence[Extraction], parts: int | None) -> list[list[Extraction]]:
    """In at most so many parts, that differ by one at most; none is empty."""
    number = min(parts or len(every), len(every))
    return [[*every[k * len(every) // number : (k + 1) * len(every) // number]] for k in range(number)]


def _named(config: Config, data: PairedWindows, some: Sequence[Extraction]) -> str:
    first = some[0]
    more = f" and {len(some) - 1} more" if len(some) > 1 else ""
    return f"{_modality(config, first.side)} of {data.subjects[first.subject]}{more}, fold {first.fold}"


@dataclass
class Cached:
    """What a cache holds of all this: (there, in all) by what it is; and what is missing of each side."""

    counts: dict[str, tuple[int, int]]
    missing_weights: list[Side]
    missing_windows: dict[Side, int]


def cached(config: Config, folds: Sequence[int]) -> Cached:
    """Look what of ``prepare`` is done, without doing any of it. What is made of missing weights is missing too."""
    data = load_data(config)
    splits = splits_of(data, config.data.split, config.seed)
    weights = {
        (side, fold): options_of(config, side).weights != "local"
        or kept_weights(config, data, splits[fold], side).seconds() is not None
        for side in SIDES
        for fold in folds
    }
    teachers = {
        fold: weights["old", fold] and open_task(config, fold).kept_teacher.seconds() is not None for fold in folds
    }
    missing: dict[Side, int] = {"old": 0, "new": 0}
    there = total = 0
    for side in SIDES:
        finetuned = side == "old" and config.teacher.training == "finetune"
        for one in _extractions(config, data, folds, side, last_tokens=False):
            ready = weights[side, one.fold] and (teachers[one.fold] or not finetuned)
            stored = ready and open_task(config, one.fold).features(side).stored(one.subject)
            there, total = there + stored, total + 1
            missing[side] += 0 if stored else int(np.diff(data.offsets)[one.subject])
    local = _local_weights(config, data, folds)
    lacking = [side for (side, _), fold in local.items() if not weights[side, fold]]
    counts = {
        "local weights": (len(local) - len(lacking), len(local)),
        "teachers": (sum(teachers.values()), len(folds)),
        "features of a subject": (there, total),
    }
    return Cached(counts, lacking, missing)


def _modality(config: Config, side: Side) -> str:
    return options_of(config, side).modality


def _local_weights(config: Config, data: PairedWindows, folds: Sequence[int]) -> dict[tuple[Side, str], int]:
    """A fold for each side's weights that are trained here; folds whose weights are equal share them."""
    splits = splits_of(data, config.data.split, config.seed)
    found: dict[tuple[Side, str], int] = {}
    for fold in folds:
        for side in SIDES:
            if options_of(config, side).weights == "local":
                found.setdefault((side, identity(config, data, splits[fold], side)), fold)
    return found


def _extractions(
    config: Config, data: PairedWindows, folds: Sequence[int], side: Side, last_tokens: bool
) -> list[Extraction]:
    """Every subject once for each of a side's weights."""
    splits = splits_of(data, config.data.split, config.seed)
    finetuned = side == "old" and config.teacher.training == "finetune"
    trained = ("pair", "val") if config.protocol == "cross_validation" else ("pair",)
    found: dict[tuple[str, int], Extraction] = {}
    for fold in folds:
        split = splits[fold]
        weights = f"fold {fold}" if finetuned else identity(config, data, split, side)
        for subject, _ in data.by_subject(np.unique(np.concatenate(list(split.parts().values())))):
            found.setdefault((weights, subject), Extraction(fold, side, subject))
        if last_tokens and side == "old":
            for subject, own in data.by_subject(np.sort(np.concatenate([getattr(split, part) for part in trained]))):
                found[weights, subject].last |= set(own.tolist())
    return list(found.values())


def _pretrain(config: Config, fold: int, side: Side, progress: Progress) -> float:
    data = load_data(config)
    split = splits_of(data, config.data.split, config.seed)[fold]
    saved = kept_weights(config, data, split, side).seconds()
    if saved is None:
        pretrained(config, data, split, side, progress)
    return saved or 0.0


def _extract(config: Config, some: Sequence[Extraction], progress: Progress) -> float:
    """Of subjects whose encoder has equal weights."""
    features = open_task(config, some[0].fold).features(some[0].side)
    before = features.saved
    for k, one in enumerate(some):
        progress(k, len(some), "")
        features.extract(one.subject, np.array(sorted(one.last), dtype=np.int64) if one.last else None)
    return features.saved - before


def _teach(config: Config, fold: int, progress: Progress) -> float:
    task = open_task(config, fold)
    task.progress = progress
    saved = task.kept_teacher.seconds()
    _ = task.head
    return saved or 0.0
