"""What is searched for logit distillation: how soft the targets are, and how the student learns."""

from typing import TYPE_CHECKING, Any

from benchmark.config.options import Blocks, Option, positive, whole

if TYPE_CHECKING:
    import optuna

OPTIONS = {
    "temperature": Option(None, positive),
    "learning_rate": Option(None, positive),
    "batch_size": Option(None, whole(1)),
    "epochs": Option(20, whole(1)),
}

PAPER: dict[str, dict[str, Any]] = {}


def space(trial: "optuna.Trial", blocks: Blocks) -> None:
    """The student is always the whole new model."""
    trial.suggest_float("temperature", 1.0, 8.0, log=True)
    trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True)
    trial.suggest_categorical("batch_size", [16, 32])
