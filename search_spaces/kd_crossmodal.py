"""What is searched for cross-modal distillation: how much passes between the proxies."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from benchmark.config.options import Blocks, option
from search_spaces._student import StudentOptions, suggest_student

if TYPE_CHECKING:
    import optuna


class Options(StudentOptions):
    """Options of cross-modal distillation."""

    beta: float | None = option(None, "weight of what the proxies learn from each other", ge=0)
    threshold: float = option(0.0, "of the rank correlation above which a window is selected", ge=-1, le=1)


PAPER: Mapping[str, Mapping[str, Any]] = {}


def space(trial: "optuna.Trial", blocks: Blocks) -> None:
    """The published weight is 1."""
    suggest_student(trial, blocks)
    trial.suggest_float("beta", 0.1, 10.0, log=True)
