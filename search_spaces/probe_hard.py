"""What is searched for the probe on pseudo-labels: the block that it reads, and how much it is held back."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from benchmark.config.options import Blocks, option
from search_spaces._features import FeatureOptions, suggest_block

if TYPE_CHECKING:
    import optuna


class Options(FeatureOptions):
    """Options of the probe on pseudo-labels."""

    c: float | None = option(None, "inverse strength of the penalty, scikit-learn's C", gt=0)
    class_weighted: bool = option(True, "weights 1 / count of the teacher's classes")


PAPER: Mapping[str, Mapping[str, Any]] = {}


def space(trial: "optuna.Trial", blocks: Blocks) -> None:
    """Any block; features are standardised before they are penalised."""
    suggest_block(trial, blocks)
    trial.suggest_float("c", 1e-4, 10.0, log=True)
