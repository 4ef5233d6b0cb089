"""What is searched for the bridge: where it leaves and enters, how wide it is, and how fast it learns."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from benchmark.config.options import Blocks, MethodOptions, option
from benchmark.config.schema import Config
from benchmark.errors import InputError

if TYPE_CHECKING:
    import optuna


PUBLISHED = "published"
"""The objective that, unless told otherwise, begins as published as well."""


class Options(MethodOptions):
    """Options of the prototype bridge."""

    position: Literal["searched", "two_stage"] = option(
        "searched", "searched | two_stage: input and output by the paper's rule, probe quality and CKA"
    )
    input: int | None = option(None, "block of the new encoder whose output the bridge takes", ge=0)
    output: Annotated[int, Field(ge=0)] | Literal["head"] | None = option(
        None,
        "block of the old encoder whose input the bridge gives, or the head's",
        accepts="a block of the old encoder, 0 or more, or head",
    )
    similarity: Literal["cka", "debiased_cka", "minibatch_cka"] = option("cka", "of position=two_stage")
    rank: int | None = option(None, "of the prototypes' weights", ge=1, le=100_000)
    prototypes: int | None = option(None, "token vectors that the output is made of", ge=1, le=100_000)
    learning_rate: float | None = option(None, "of Adam", gt=0)
    epochs: int = option(40, "passes over the pair split", ge=1)
    batch_size: int = option(16, "windows a step", ge=1)
    init: Literal["rand", "randreal", "regression"] | None = option(
        None,
        "prototypes: standard normal | real tokens of the block entered | the best linear map of the bridge's rank; "
        "null: rand for the published objective, regression for the others",
    )
    objective: Literal["published", "decision", "pooled", "both"] | None = option(
        None,
        "published: loss at loss_at | decision: the teacher's soft decision, through blocks and head | pooled: the "
        "teacher's pooled last block | both of these",
    )
    temperature: float = option(2.0, "that softens both decisions", gt=0)
    pooled_weight: float = option(1.0, "of pooled features beside the decision, or alone", gt=0)
    class_weighted: bool = option(True, "windows weigh 1 / count of the teacher's classes in the decision")
    weight_decay: float = option(0.0, "of AdamW; 0: Adam", ge=0, lt=1)
    dropout: float = option(0.0, "of input features, in training", ge=0, lt=1)
    mixing: float = option(0.0, "of pairs: parameter of mixup's beta distribution; 0: none", ge=0)
    averaging: bool = option(False, "predict by the mean of the weights of the second half of the epochs")
    standardise: bool | None = option(
        None,
        "inputs, over pair; folded into the bridge when it is trained; null: not for the published objective, but for "
        "the others",
    )
    loss: Literal["cosine", "mse", "l1", "infonce"] = option("cosine", "between what comes out and what should")
    loss_at: Literal["last_layer", "bridge_output"] = option(
        "last_layer", "behind the old model's blocks | in front of them"
    )
    layout: Literal["transpose", "released"] = option(
        "transpose", "of LaBraM's tokens; released: as in the released code"
    )
    population: int = option(1, "trials at one position that are trained together", ge=1)
    compile: bool = option(False, "torch.compile the old model's blocks")
    autocast: Literal["none", "bfloat16"] = option("none", "precision of the old model's blocks")

    shared: ClassVar[tuple[str, ...]] = (
        *("input", "output", "batch_size", "epochs", "loss", "loss_at", "layout", "objective", "temperature"),
        *("pooled_weight", "class_weighted", "weight_decay", "dropout", "mixing", "averaging", "standardise"),
    )

    @property
    def start(self) -> str:
        """``init``, or what stands in for it."""
        return self.init or ("rand" if self.objective == PUBLISHED else "regression")

    @property
    def standardises(self) -> bool:
        """``standardise``, or what stands in for it."""
        return self.objective != PUBLISHED if self.standardise is None else self.standardise

    @property
    def trained_together(self) -> int:
        return self.population

    def check(self, config: Config, blocks: Blocks | None) -> None:
        found = self._out_of_range(blocks) if blocks else self._contradiction(config)
        if found:
            raise InputError(found)

    def _out_of_range(self, blocks: Blocks) -> str | None:
        if self.input is not None and self.input >= blocks.new:
            return f"bridge.input={self.input} cannot be used; give a block of the new encoder, 0 to {blocks.new - 1}"
        if isinstance(self.output, int) and self.output >= blocks.old:
            accepted = f"a block of the old encoder, 0 to {blocks.old - 1}, or head"
            return f"bridge.output={self.output} cannot be used; give {accepted}"
        return None

    def _contradiction(self, config: Config) -> str | None:
        head, old, trials = self.output == "head", config.old.name, config.search.trials
        given = [(name, value) for name in ("input", "output") if (value := getattr(self, name)) is not None]
        if self.position == "two_stage" and given and config.search.space != "paper":
            name, value = given[0]
            return f"bridge.position=two_stage chooses bridge.{name}={value} itself; leave one of them out"
        if head and self.loss_at == "bridge_output":
            return (
                "bridge.output=head has no block after it, so bridge.loss_at=bridge_output says nothing; leave it out"
            )
        if self.layout == "released" and (head or old != "labram"):
            place = "at bridge.output=head" if head else f"with old encoder {old}"
            return f"bridge.layout=released is no other layout {place}; leave it out, or use labram as old encoder"
        if self.loss == "infonce" and self.batch_size < 2:
            return "bridge.loss=infonce tells windows of a batch apart; give bridge.batch_size of at least 2"
        if trials % self.population:
            return f"bridge.population={self.population} does not divide search.trials={trials}; change one of them"
        return None


# The released hyperparameters, by experiment (method.md of the paper's release: six directions).
_RELEASED: Mapping[str, Mapping[str, Any]] = {
    "wesad_ppg2ecg": {"input": 7, "output": 11, "rank": 32, "prototypes": 50, "learning_rate": 1e-4, "epochs": 50},
    "wesad_ecg2ppg": {"input": 4, "output": 2, "rank": 8, "prototypes": 150, "learning_rate": 1e-6, "epochs": 100},
    "isruc_eeg2ecg": {"input": 7, "output": 2, "rank": 32, "prototypes": 300, "learning_rate": 1e-5, "epochs": 50},
    "isruc_ecg2eeg": {"input": 11, "output": 0, "rank": 4, "prototypes": 200, "learning_rate": 1e-4, "epochs": 50},
    "fog_eeg2emg": {
        "input": 3,
        "output": 11,
        "rank": 256,
        "prototypes": 200,
        "learning_rate": 1e-5,
        "epochs": 100,
        "loss": "infonce",
    },
    "fog_emg2eeg": {"input": 6, "output": 10, "rank": 8, "prototypes": 50, "learning_rate": 1e-4, "epochs": 100},
}
_BEGIN: Mapping[str, Any] = {"objective": PUBLISHED, "init": "rand", "standardise": False}
PAPER: Mapping[str, Mapping[str, Any]] = {name: {**_BEGIN, **point} for name, point in _RELEASED.items()}


RANKS = (2, 4, 8, 16, 32, 64, 128, 256)
PROTOTYPES = (8, 16, 32, 50, 100, 150, 200, 300)
FULL_SIZE = 128  # features: released models have 200 and more, tiny ones below 50


def space(trial: "optuna.Trial", blocks: Blocks) -> None:
    """Positions over all blocks of both models, the head among the landing places.

    A rank above the width of what is mapped, or many more prototypes than there are dimensions, add nothing. Full-size
    blocks are trained through at the published rates, which are too slow for small ones.
    """
    trial.suggest_categorical("objective", [PUBLISHED, "decision", "pooled", "both"])
    trial.suggest_int("input", 0, blocks.new - 1)
    trial.suggest_categorical("output", [*range(blocks.old), "head"])
    trial.suggest_categorical("rank", [rank for rank in RANKS if rank <= blocks.new_width])
    trial.suggest_categorical("prototypes", [n for n in PROTOTYPES if n <= 1.5 * blocks.old_width])
    trial.suggest_float("learning_rate", 1e-6 if blocks.old_width >= FULL_SIZE else 3e-4, 1e-2, log=True)
