"""All that trials will find done: local weights, then features subject by subject, and teachers, on a cluster.

A subject is the unit of work: the extraction of one encoder is as many tasks as subjects. What folds share, equal
weights on the same subject, is computed once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmark.cluster.tasks import Job, run_jobs
from benchmark.common.progress import Progress
from benchmark.config.schema import Config
from benchmark.data.base import PairedWindows
from benchmark.data.splits import splits_of
from benchmark.frozen.task import load_data, open_task
from benchmark.frozen.weights import SIDES, Side, identity, options_of, train_local


@dataclass
class Extraction:
    """Features of one subject under equal weights, and the windows of which the last output is kept token by token."""

    fold: int
    side: Side
    subject: int
    last: set[int] = field(default_factory=set)


def prepare(config: Config, folds: Sequence[int], last_tokens: bool) -> float:
    """Compute what is not there yet; the seconds of earlier work that was found done.

    ``last_tokens``: whether a method reads the teacher's last output token by token on pair.
    """
    data, saved = load_data(config), 0.0

    def add(job: Job, seconds: float) -> None:
        nonlocal saved
        saved += seconds

    def run(jobs: Sequence[Job], text: str) -> None:
        run_jobs(jobs, config.cluster, text, add)

    run(_pretraining(config, data, folds), "local weights")
    extractions = {side: _extractions(config, data, folds, side, last_tokens) for side in SIDES}
    teachers = [Job(f"teacher of fold {fold}", _teach, (config, fold)) for fold in folds]
    # A fine-tuned teacher's features are another's than those that pre-training gave; a probe is fitted on the latter.
    if config.teacher.training == "finetune":
        run([*teachers, *extractions["new"]], "teacher, features")
        run(extractions["old"], "features of the teacher")
    else:
        run([*extractions["old"], *extractions["new"]], "features")
        run(teachers, "teacher")
    return saved


def _pretraining(config: Config, data: PairedWindows, folds: Sequence[int]) -> list[Job]:
    splits = splits_of(data, config.data.split, config.seed)
    jobs: dict[str, Job] = {}
    for fold in folds:
        for side in SIDES:
            if options_of(config, side).weights == "local":
                name = f"fold {fold} {options_of(config, side).modality}"
                key = f"{side} {identity(config, data, splits[fold], side)}"
                jobs.setdefault(key, Job(name, _pretrain, (config, fold, side)))
    return list(jobs.values())


def _extractions(
    config: Config, data: PairedWindows, folds: Sequence[int], side: Side, last_tokens: bool
) -> list[Job]:
    splits = splits_of(data, config.data.split, config.seed)
    finetuned = side == "old" and config.teacher.training == "finetune"
    found: dict[tuple[str, int], Extraction] = {}
    for fold in folds:
        split = splits[fold]
        weights = f"fold {fold}" if finetuned else identity(config, data, split, side)
        for subject, _ in data.by_subject(np.unique(np.concatenate(list(split.parts().values())))):
            found.setdefault((weights, subject), Extraction(fold, side, subject))
        if last_tokens and side == "old":
            for subject, own in data.by_subject(split.pair):
                found[weights, subject].last |= set(own.tolist())
    modality = options_of(config, side).modality
    return [
        Job(f"{modality} of {data.subjects[one.subject]}, fold {one.fold}", _extract, (config, one))
        for one in found.values()
    ]


def _pretrain(config: Config, fold: int, side: Side, progress: Progress) -> float:
    data = load_data(config)
    return train_local(config, data, splits_of(data, config.data.split, config.seed)[fold], side, progress)[1]


def _extract(config: Config, one: Extraction, progress: Progress) -> float:
    features = open_task(config, one.fold).features(one.side)
    before = features.saved
    features.extract(one.subject, np.array(sorted(one.last), dtype=np.int64) if one.last else None)
    return features.saved - before


def _teach(config: Config, fold: int, progress: Progress) -> float:
    task = open_task(config, fold)
    before: float = task.saved
    task.progress = progress
    _ = task.head
    return task.saved - before


def cached(config: Config, folds: Sequence[int]) -> dict[str, Any]:
    """How much of this the cache holds already, without computing any of it: (there, in all) by what it is."""
    raise NotImplementedError
