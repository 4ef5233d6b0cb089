"""What is searched for the probe on soft targets: the block, how soft the targets are, and how much it is held back."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from benchmark.config.options import Blocks, option
from search_spaces._features import FeatureOptions, suggest_block

if TYPE_CHECKING:
    import optuna


class Options(FeatureOptions):
    """Options of the probe on soft targets."""

    temperature: float | None = option(None, "that softens teacher and probe", gt=0)
    penalty: float | None = option(None, "of the squared weights, per window", gt=0)


PAPER: Mapping[str, Mapping[str, Any]] = {}


def space(trial: "optuna.Trial", blocks: Blocks) -> None:
    """Any block; features are standardised before they are penalised."""
    suggest_block(trial, blocks)
    trial.suggest_float("temperature", 1.0, 8.0, log=True)
    trial.suggest_float("penalty", 1e-4, 10.0, log=True)
