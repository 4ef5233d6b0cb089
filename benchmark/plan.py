"""What will run, as data: the studies (method x fold) and final trials of a configuration, known before anything runs.

Running is doing the plan; resuming is doing what of the plan has no row yet.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from benchmark import registry
from benchmark.config.schema import Config
from benchmark.data.base import PairedWindows
from benchmark.data.leakage import LEAKAGE
from benchmark.data.splits import Split, splits_of
from benchmark.errors import InputError
from benchmark.results.folder import methods_as_json
from benchmark.results.schema import MethodCard

INNER_FOLDS = 4
LEAKY = {"subjects": "one split within subjects", "samples": "one LEAKY split: parts share samples"}


@dataclass(frozen=True)
class Spec:
    """One trial: a method with its options, on a fold, with a seed."""

    method: str
    stage: str  # "search" | "final"
    trial_id: str
    fold: int
    seed: int
    options: Mapping[str, Any] = field(default_factory=dict)
    leakage: str = "none"
    """What test shares with what was learnt and chosen from, one of ``LEAKAGE``."""
    inner: int = 0
    """Of so many ``folds`` over the subjects of pair and val, the one that is held out."""
    folds: int = 1
    calibration: str = "none"
    chosen: Mapping[str, Any] | None = None
    """Of a final trial whose epoch was chosen by cross-validation: what its search found, with ``best_epoch``."""


def variant(method: str, calibration: str) -> str:
    """What rows and tables call a method: one that is calibrated to the wearer is another one to them."""
    return method if calibration == "none" else f"{method}@{calibration}"


def method_of(variant: str) -> str:
    """The method of what ``variant`` made."""
    return variant.partition("@")[0]


@dataclass(frozen=True)
class Rung:
    """So many trials are trained on these inner folds."""

    folds: range
    trials: int


def rungs_of(trials: int, folds: int) -> list[Rung]:
    """Successive halving (Jamieson & Talwalkar, 2016) over folds: all trials on the first, half on the second, a
    quarter on the others, which of four folds is at most twice as many trainings as trials."""
    found = [Rung(range(1), trials)]
    if folds > 1:
        found.append(Rung(range(1, 2), max(1, trials // 2)))
    if folds > 2:
        found.append(Rung(range(2, folds), max(1, trials // 4)))
    return found


@dataclass(frozen=True)
class Study:
    """The search of one method in one fold."""

    method: str
    fold: int
    trials: int
    leakage: str = "none"
    together: int = 1
    """How many trials are trained together, and asked for as one."""
    folds: int = 1
    """Inner folds that a configuration is judged by; 1: val alone."""
    workers: int = 1
    """Processes that train each of its trials."""
    calibration: str = "none"

    @property
    def rungs(self) -> list[Rung]:
        """Of trials that are asked for as one."""
        return rungs_of(self.trials // self.together, self.folds)

    @property
    def trainings(self) -> int:
        """At most: those of trials that fail are fewer."""
        return self.together * sum(len(rung.folds) * rung.trials for rung in self.rungs)

    @property
    def variant(self) -> str:
        """What its rows call the method."""
        return variant(self.method, self.calibration)

    @property
    def name(self) -> str:
        return f"{self.variant}-fold{self.fold}"


@dataclass(frozen=True)
class Final:
    """The evaluation on test of what a study chose, or of a reference, which has no study."""

    method: str
    fold: int
    seed: int
    study: Study | None = None
    leakage: str = "none"
    calibration: str = "none"

    @property
    def trial_id(self) -> str:
        return f"{variant(self.method, self.calibration)}-final-fold{self.fold}-seed{self.seed}"


@dataclass(frozen=True)
class Plan:
    """What a configuration runs."""

    splits: Sequence[Split]
    studies: Sequence[Study]
    finals: Sequence[Final]
    methods: Mapping[str, MethodCard]
    """What the methods declare, by variant, in the order of tables: as configured."""
    classes: Sequence[str]

    @property
    def folds(self) -> range:
        return range(len(self.splits))

    @property
    def leakage(self) -> str:
        """The most that any of its trials leaks."""
        every = {study.leakage for study in self.studies} | {final.leakage for final in self.finals}
        return max(every, key=LEAKAGE.index)

    def document(self) -> dict[str, Any]:
        """For ``plan.json``."""
        return {
            "methods": methods_as_json(self.methods),
            "classes": list(self.classes),
            "folds": len(self.splits),
            "studies": [
                {"name": study.name, "trials": study.trials, "trainings": study.trainings} for study in self.studies
            ],
            "finals": [final.trial_id for final in self.finals],
        }


def make_plan(config: Config, data: PairedWindows) -> Plan:
    """The plan of a configuration for a data set; InputError for a split that cannot be made, or not be chosen by."""
    splits = splits_of(data, config.data.split, config.seed)
    searched = range(len(splits)) if config.search.folds == "each" else range(1)
    studies: dict[tuple[str, int, str], Study] = {
        (method, fold, calibration): _study(config, data, splits[fold], method, fold, calibration)
        for fold in searched
        for calibration in config.calibration
        for method in config.methods
    }
    compared: list[tuple[str, str]] = [(name, kind) for kind in config.calibration for name in config.methods]
    finals: list[Final] = []
    for fold, split in enumerate(splits):
        for method, calibration in compared:
            study = studies.get((method, fold, calibration), studies[method, 0, calibration])
            chosen = max(split.leakage, _leakage_of_choice(data, splits[study.fold], split), key=LEAKAGE.index)
            finals += [Final(method, fold, seed, study, chosen, calibration) for seed in config.final.seeds]
        for method, calibration in _references(config):
            seeds = config.final.seeds if registry.get(method).seeded else config.final.seeds[:1]
            finals += [Final(method, fold, seed, None, split.leakage, calibration) for seed in seeds]
    cards = {variant(*one): _card(*one) for one in (*compared, *_references(config))}
    return Plan(splits, list(studies.values()), finals, cards, data.classes)


def _references(config: Config) -> list[tuple[str, str]]:
    """Each with each calibration that changes it."""
    return [
        (method, calibration)
        for calibration in dict.fromkeys(["none", *config.calibration])
        for method in config.references
        if calibration in (config.calibration if registry.get(method).calibrated else ["none"])
    ]


def _card(method: str, calibration: str) -> MethodCard:
    card = registry.get(method).card()
    if calibration == "none":
        return card
    return replace(card, name=variant(method, calibration), label=f"{card.label}, {calibration}")


def _study(config: Config, data: PairedWindows, split: Split, method: str, fold: int, calibration: str) -> Study:
    options, trials = config.method_options[method], config.search.trials
    together = options.trained_together
    folds = 1
    if config.protocol == "cross_validation":
        subjects = len(np.unique(data.subject[np.concatenate([split.pair, split.val])]))
        if subjects < 2:
            raise InputError(
                f"protocol=cross_validation needs two subjects in pair and val together, {split.name} has {subjects}; "
                "choose another data.split, or protocol=val"
            )
        folds = min(INNER_FOLDS, subjects, trials // together + 1)  # few trials on four folds are over the budget
    return Study(method, fold, trials, split.leakage, together, folds, options.processes, calibration)


def _leakage_of_choice(data: PairedWindows, searched: Split, split: Split) -> str:
    """What a configuration that was chosen in the fold ``searched`` knows of the people in test of another."""
    known = [indices for part, indices in searched.parts().items() if part != "test"]
    shared = np.intersect1d(data.subject[np.concatenate(known)], data.subject[split.test])
    return "choice" if searched is not split and len(shared) else "none"


def describe(config: Config, data: PairedWindows, plan: Plan) -> str:
    """The run in three lines."""
    old, new, outer = config.old, config.new, len(plan.splits)
    split = f"subject-wise {outer}-fold" if outer > 1 else "one split by subject"
    split = LEAKY.get(plan.leakage, split)
    where = ""
    if outer > 1:
        once = "the first fold, whose choice is used in all: it knows subjects of their tests"
        where = f", searched in {once if config.search.folds == 'first' else 'every fold'}"
    trainings = sum(study.trainings for study in plan.studies) // len(plan.studies)
    folds = max(study.folds for study in plan.studies)
    judged = f" ({trainings} trainings: successive halving over {folds} folds of pair and val)" if folds > 1 else ""
    return (
        f"{config.name}: {data.dataset}, {len(data)} windows of {len(data.subjects)} subjects, {split}\n"
        f"  teacher listens to {old.modality.upper()} ({old.name} {old.preset}, {old.weights} weights); "
        f"predictions come from {new.modality.upper()} ({new.name} {new.preset}, {new.weights} weights)\n"
        f"  {config.search.trials} trials{judged} for each of {', '.join(config.methods)}{where}; "
        f"seeds {config.final.seeds}; protocol: {config.protocol}"
    )


def window_counts(plan: Plan) -> dict[str, int]:
    """Windows by part of the split: the mean over folds."""
    parts = ("train", "val", "pair", "test")
    return {part: int(np.mean([len(getattr(split, part)) for split in plan.splits])) for part in parts}
