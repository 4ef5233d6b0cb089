"""What is searched for feature distillation: which blocks meet, and how much that weighs."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from benchmark.config.options import Blocks, option
from benchmark.config.schema import Config
from benchmark.errors import InputError
from search_spaces._student import StudentOptions, suggest_student

if TYPE_CHECKING:
    import optuna


class Options(StudentOptions):
    """Options of feature distillation."""

    student_block: int | None = option(None, "guided block of the new encoder", ge=0)
    teacher_block: int | None = option(None, "block of the old encoder whose output is the hint", ge=0)
    beta: float | None = option(None, "weight of the hint beside soft targets", ge=0)

    def check(self, config: Config, blocks: Blocks | None) -> None:
        super().check(config, blocks)
        for name, side in (("student_block", "new"), ("teacher_block", "old")):
            value = getattr(self, name)
            if blocks and value is not None and value >= getattr(blocks, side):
                raise InputError(
                    f"kd_features.{name}={value} cannot be used; give a block of the {side} encoder, 0 to "
                    f"{getattr(blocks, side) - 1}"
                )


PAPER: Mapping[str, Mapping[str, Any]] = {}


def space(trial: "optuna.Trial", blocks: Blocks) -> None:
    """Any block of the one with any of the other."""
    suggest_student(trial, blocks)
    trial.suggest_int("student_block", 0, blocks.new - 1)
    trial.suggest_int("teacher_block", 0, blocks.old - 1)
    trial.suggest_float("beta", 0.1, 10.0, log=True)
