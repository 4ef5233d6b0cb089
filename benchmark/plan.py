"""What will run, as data: the studies (method x fold) and final trials of a configuration, known before anything runs.

Running is doing the plan; resuming is doing what of the plan has no row yet.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmark import registry
from benchmark.config.schema import Config
from benchmark.data.base import PairedWindows
from benchmark.data.leakage import LEAKAGE
from benchmark.data.splits import Split, splits_of
from benchmark.results.folder import methods_as_json
from benchmark.results.schema import MethodCard


@dataclass(frozen=True)
class Spec:
    """One trial: a method with its options, on a fold, with a seed."""

    method: str
    stage: str  # "search" | "final"
    trial_id: str
    fold: int
    seed: int
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """The search of one method in one fold."""

    method: str
    fold: int
    trials: int

    @property
    def name(self) -> str:
        return f"{self.method}-fold{self.fold}"


@dataclass(frozen=True)
class Final:
    """The evaluation on test of what a study chose, or of a reference, which has no study."""

    method: str
    fold: int
    seed: int
    study: Study | None = None

    @property
    def trial_id(self) -> str:
        return f"{self.method}-final-fold{self.fold}-seed{self.seed}"


@dataclass(frozen=True)
class Plan:
    """What a configuration runs."""

    splits: Sequence[Split]
    studies: Sequence[Study]
    finals: Sequence[Final]
    methods: Mapping[str, MethodCard]
    """What the methods declare, in the order of tables: as configured."""

    @property
    def folds(self) -> range:
        return range(len(self.splits))

    @property
    def leakage(self) -> str:
        """The most that parts of a split share."""
        return max((split.leakage for split in self.splits), key=LEAKAGE.index)

    def document(self) -> dict[str, Any]:
        """For ``plan.json``."""
        return {
            "methods": methods_as_json(self.methods),
            "folds": len(self.splits),
            "studies": [{"name": study.name, "trials": study.trials} for study in self.studies],
            "finals": [final.trial_id for final in self.finals],
        }


def make_plan(config: Config, data: PairedWindows) -> Plan:
    """The plan of a configuration for a data set; InputError for a split that cannot be made."""
    splits = splits_of(data, config.data.split, config.seed)
    searched = range(len(splits)) if config.search.folds == "each" else range(1)
    studies = {
        (method, fold): Study(method, fold, config.search.trials) for fold in searched for method in config.methods
    }
    finals: list[Final] = []
    for fold in range(len(splits)):
        for method in config.methods:
            study = studies.get((method, fold), studies[method, 0])
            finals += [Final(method, fold, seed, study) for seed in config.final.seeds]
        for method in config.references:
            seeds = config.final.seeds if registry.get(method).seeded else config.final.seeds[:1]
            finals += [Final(method, fold, seed) for seed in seeds]
    cards = {name: registry.get(name).card() for name in [*config.methods, *config.references]}
    return Plan(splits, list(studies.values()), finals, cards)


def describe(config: Config, data: PairedWindows, plan: Plan) -> str:
    """The run in three lines."""
    old, new, folds = config.old, config.new, len(plan.splits)
    split = f"subject-wise {folds}-fold" if folds > 1 else "one split by subject"
    if plan.leakage != "none":
        within = plan.leakage == "subjects"
        split = "one split within subjects" if within else "one LEAKY split: parts share samples"
    where = ""
    if folds > 1:
        where = ", searched in the first fold" if config.search.folds == "first" else ", searched in every fold"
    return (
        f"{config.name}: {data.dataset}, {len(data)} windows of {len(data.subjects)} subjects, {split}\n"
        f"  teacher listens to {old.modality.upper()} ({old.name} {old.preset}, {old.weights} weights); "
        f"predictions come from {new.modality.upper()} ({new.name} {new.preset}, {new.weights} weights)\n"
        f"  {config.search.trials} trials for each of {', '.join(config.methods)}{where}; "
        f"seeds {config.final.seeds}; protocol: {config.protocol}"
    )


def window_counts(plan: Plan) -> dict[str, int]:
    """Windows by part of the split: the mean over folds."""
    parts = ("train", "val", "pair", "test")
    return {part: int(np.mean([len(getattr(split, part)) for split in plan.splits])) for part in parts}
