"""What is searched for the linear map between latent spaces: the block, the kind of map, and its penalty."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from benchmark.config.options import Blocks, option
from search_spaces._features import FeatureOptions, suggest_block

if TYPE_CHECKING:
    import optuna


class Options(FeatureOptions):
    """Options of the linear map."""

    map: Literal["affine", "orthogonal"] | None = option(None, "affine: ridge regression | orthogonal: Procrustes")
    penalty: float | None = option(None, "of the squared weights of map=affine, per window", gt=0)


PAPER: Mapping[str, Mapping[str, Any]] = {}


def space(trial: "optuna.Trial", blocks: Blocks) -> None:
    """Any block; the penalty says nothing to an orthogonal map."""
    suggest_block(trial, blocks)
    trial.suggest_categorical("map", ["affine", "orthogonal"])
    trial.suggest_float("penalty", 1e-4, 10.0, log=True)
