"""What closed-form competitors share: the block of the frozen new encoder whose pooled output they read."""

from typing import TYPE_CHECKING

from benchmark.config.options import Blocks, MethodOptions, option
from benchmark.config.schema import Config
from benchmark.errors import InputError

if TYPE_CHECKING:
    import optuna


class FeatureOptions(MethodOptions):
    """Options of a method that is fitted on stored features."""

    block: int | None = option(None, "block of the new encoder whose output is read", ge=0)

    def check(self, config: Config, blocks: Blocks | None) -> None:
        """InputError for a block that the new encoder does not have."""
        if blocks and self.block is not None and self.block >= blocks.new:
            name = f"{type(self).__module__.rpartition('.')[2]}.block={self.block}"
            raise InputError(f"{name} cannot be used; give a block of the new encoder, 0 to {blocks.new - 1}")


def suggest_block(trial: "optuna.Trial", blocks: Blocks) -> None:
    """Any block."""
    trial.suggest_int("block", 0, blocks.new - 1)
