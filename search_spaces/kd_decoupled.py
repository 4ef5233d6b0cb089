"""What is searched for decoupled distillation: how much the classes weigh that are not the target."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from benchmark.config.options import Blocks, option
from search_spaces._student import StudentOptions, suggest_student

if TYPE_CHECKING:
    import optuna


class Options(StudentOptions):
    """Options of decoupled distillation."""

    alpha: float = option(1.0, "weight of the target class", ge=0)
    beta: float | None = option(None, "weight of the other classes", ge=0)


PAPER: Mapping[str, Mapping[str, Any]] = {}


def space(trial: "optuna.Trial", blocks: Blocks) -> None:
    """Published weights of the other classes are 1 to 8 times that of the target."""
    suggest_student(trial, blocks)
    trial.suggest_float("beta", 0.5, 8.0, log=True)
