"""What is searched for contrastive distillation: how much it weighs beside soft targets."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from benchmark.config.options import Blocks, option
from search_spaces._student import StudentOptions, suggest_student

if TYPE_CHECKING:
    import optuna


class Options(StudentOptions):
    """Options of contrastive distillation."""

    least_batch: ClassVar[int] = 2

    beta: float | None = option(None, "weight of InfoNCE beside soft targets", ge=0)
    contrast_temperature: float = option(0.1, "of InfoNCE", gt=0)
    dimension: int = option(64, "of the projections that are compared", ge=1, le=100_000)


PAPER: Mapping[str, Mapping[str, Any]] = {}


def space(trial: "optuna.Trial", blocks: Blocks) -> None:
    """Its weight over two powers of ten."""
    suggest_student(trial, blocks)
    trial.suggest_float("beta", 0.1, 10.0, log=True)
