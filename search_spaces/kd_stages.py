"""What is searched for distillation at every stage: how much the target class is enhanced."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from benchmark.config.options import Blocks, option
from search_spaces._student import StudentOptions, suggest_student

if TYPE_CHECKING:
    import optuna


class Options(StudentOptions):
    """Options of distillation at every stage."""

    stages: int = option(4, "parts of the student that have a head in training", ge=1)
    gamma: float | None = option(None, "power that enhances the target class", ge=1)


PAPER: Mapping[str, Mapping[str, Any]] = {}


def space(trial: "optuna.Trial", blocks: Blocks) -> None:
    """Four stages, as published."""
    suggest_student(trial, blocks)
    trial.suggest_float("gamma", 1.0, 2.0)
