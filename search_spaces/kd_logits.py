"""What is searched for logit distillation: nothing but what all students share."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from benchmark.config.options import Blocks, option
from search_spaces._student import StudentOptions, suggest_student

if TYPE_CHECKING:
    import optuna


class Options(StudentOptions):
    """Options of logit distillation."""

    standardise: bool = option(False, "z-scores of the logits of each window, of three classes or more")


PAPER: Mapping[str, Mapping[str, Any]] = {}


def space(trial: "optuna.Trial", blocks: Blocks) -> None:
    """How soft, how fast, and how much of the student."""
    suggest_student(trial, blocks)
