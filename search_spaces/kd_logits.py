"""What is searched for logit distillation: how soft the targets are, and how the student learns."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from benchmark.config.options import Blocks, MethodOptions, option

if TYPE_CHECKING:
    import optuna


class Options(MethodOptions):
    """Options of logit distillation."""

    temperature: float | None = option(None, "that softens teacher and student", gt=0)
    learning_rate: float | None = option(None, "of Adam", gt=0)
    batch_size: int | None = option(None, "windows a step", ge=1)
    epochs: int = option(20, "passes over the pair split", ge=1)


PAPER: Mapping[str, Mapping[str, Any]] = {}


def space(trial: "optuna.Trial", blocks: Blocks) -> None:
    """The student is always the whole new model."""
    trial.suggest_float("temperature", 1.0, 8.0, log=True)
    trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True)
    trial.suggest_categorical("batch_size", [16, 32])
