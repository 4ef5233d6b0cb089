"""What is searched for the nearest neighbours: the block, and how many of them vote."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from benchmark.config.options import Blocks, option
from search_spaces._features import FeatureOptions, suggest_block

if TYPE_CHECKING:
    import optuna


class Options(FeatureOptions):
    """Options of the nearest neighbours."""

    neighbours: int | None = option(None, "pairs that vote; no more than there are", ge=1)


PAPER: Mapping[str, Mapping[str, Any]] = {}


def space(trial: "optuna.Trial", blocks: Blocks) -> None:
    """Any block."""
    suggest_block(trial, blocks)
    trial.suggest_int("neighbours", 1, 100, log=True)
