"""What is searched for DIST: how much relations between windows weigh."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from benchmark.config.options import Blocks, option
from search_spaces._student import StudentOptions, suggest_student

if TYPE_CHECKING:
    import optuna


class Options(StudentOptions):
    """Options of DIST."""

    least_batch: ClassVar[int] = 2

    beta: float = option(1.0, "weight of relations between classes (inter-class)", ge=0)
    gamma: float | None = option(None, "weight of relations between windows (intra-class)", ge=0)


PAPER: Mapping[str, Mapping[str, Any]] = {}


def space(trial: "optuna.Trial", blocks: Blocks) -> None:
    """The published weights are equal."""
    suggest_student(trial, blocks)
    trial.suggest_float("gamma", 0.25, 4.0, log=True)
