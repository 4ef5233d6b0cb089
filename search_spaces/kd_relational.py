"""What is searched for relational distillation: how much it weighs beside soft targets."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from benchmark.config.options import Blocks, option
from search_spaces._student import StudentOptions, suggest_student

if TYPE_CHECKING:
    import optuna


class Options(StudentOptions):
    """Options of relational distillation."""

    least_batch: ClassVar[int] = 3

    beta: float | None = option(None, "weight of distances and angles beside soft targets", ge=0)


PAPER: Mapping[str, Mapping[str, Any]] = {}


def space(trial: "optuna.Trial", blocks: Blocks) -> None:
    """The published weight is 25, with a cross-entropy in place of soft targets."""
    suggest_student(trial, blocks)
    trial.suggest_float("beta", 1.0, 100.0, log=True)
