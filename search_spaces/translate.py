"""What is searched for translation: the generator's size, how fast it learns, and what a discriminator has to say."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from benchmark.config.options import Blocks, MethodOptions, option
from search_spaces.bridge import FULL_SIZE

if TYPE_CHECKING:
    import optuna


class Options(MethodOptions):
    """Options of translation."""

    width: int | None = option(None, "channels inside the generator, and inside the discriminator", ge=1, le=1024)
    depth: int | None = option(None, "times that the generator halves the samples, rounding up", ge=1, le=16)
    learning_rate: float | None = option(None, "of Adam, for both", gt=0)
    adversarial: float | None = option(None, "weight of the adversarial term beside L1; 0: no discriminator", ge=0)
    batch_size: int = option(16, "windows a step", ge=1)
    epochs: int = option(20, "passes over the pair split", ge=1)


PAPER: Mapping[str, Mapping[str, Any]] = {}


def space(trial: "optuna.Trial", blocks: Blocks) -> None:
    """Generators are small beside small encoders; L1 leads, as in the published loss."""
    trial.suggest_categorical("width", [16, 32, 64] if blocks.new_width >= FULL_SIZE else [8, 16])
    trial.suggest_int("depth", 4, 7)
    trial.suggest_float("learning_rate", 1e-3, 1e-2, log=True)
    trial.suggest_categorical("adversarial", [0.0, 0.01, 0.1])
