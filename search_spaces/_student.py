"""What all distillation into a student shares: how soft targets are, how it learns, and how much of it is trained."""

from typing import TYPE_CHECKING, ClassVar, Literal, get_args

from benchmark.config.options import Blocks, MethodOptions, option, written
from benchmark.config.schema import Config
from benchmark.errors import InputError

if TYPE_CHECKING:
    import optuna

Adapt = Literal["full", "last_k", "lora", "head"]
LORA_RANKS = (2, 4, 8, 16)


def last_searched(n_blocks: int) -> range:
    """How many of the last blocks a search may train: at most half, the rest is what ``full`` is for."""
    return range(1, max(1, n_blocks // 2) + 1)


class StudentOptions(MethodOptions):
    """Options of distillation into a student."""

    least_batch: ClassVar[int] = 1
    """Windows that its loss must have to compare."""

    temperature: float | None = option(None, "that softens teacher and student", gt=0)
    learning_rate: float | None = option(None, "of Adam", gt=0)
    batch_size: int | None = option(None, "windows a step", ge=1)
    epochs: int = option(20, "passes over the pair split", ge=1)
    adapt: Adapt | None = option(
        None,
        "what of the new encoder is trained beside a head: full | last_k blocks | lora, adapters in it | head: none",
    )
    last: int | None = option(None, "blocks that adapt=last_k trains", ge=1)
    lora_rank: int | None = option(None, "of the adapters of adapt=lora", ge=1, le=1024)
    workers: int = option(
        1, "processes that train a student together, each with the cores of a trial, and with a GPU of its own", ge=1
    )
    zero: Literal[0, 1, 2, 3] = option(
        0,
        "what workers share out instead of each having all of it (DeepSpeed's ZeRO): 0 nothing | 1 Adam's moments | 2 "
        "gradients, too | 3 weights, too",
    )
    bf16: bool = option(False, "workers multiply in bfloat16 (autocast); weights and losses stay float32")
    accumulate: int = option(1, "parts of a batch that workers take one after the other, for less memory", ge=1)
    offload: bool = option(False, "workers keep Adam's moments, and with zero=3 weights, in the memory of the CPU")

    @property
    def processes(self) -> int:
        return self.workers

    def check(self, config: Config, blocks: Blocks | None) -> None:
        """InputError for more blocks than there are, an amount of what is not trained, and too small a batch."""
        method = type(self).__module__.rpartition(".")[2]
        if blocks and self.last is not None and self.last > blocks.new:
            raise InputError(
                f"{method}.last={self.last} cannot be used; give a number of blocks of the new encoder, 1 to "
                f"{blocks.new}"
            )
        if self.batch_size is not None and self.batch_size < self.least_batch:
            raise InputError(
                f"{method}.batch_size={self.batch_size} cannot be used; {method} compares windows of a batch, give at "
                f"least {self.least_batch}"
            )
        for name, adapt in (("last", "last_k"), ("lora_rank", "lora")):
            value = getattr(self, name)
            if value is not None and self.adapt not in (adapt, None):
                raise InputError(
                    f"{method}.{name}={value} says nothing with {method}.adapt={self.adapt}; leave it out, or give "
                    f"{method}.adapt={adapt}"
                )
        self._check_workers(method)

    def _check_workers(self, method: str) -> None:
        """InputError for options of DeepSpeed that do not go together."""
        for name in ("zero", "bf16", "accumulate", "offload"):
            value = getattr(self, name)
            if self.workers == 1 and value != type(self).model_fields[name].default:
                raise InputError(
                    f"{method}.{name}={written(value)} says nothing with {method}.workers=1, which trains by PyTorch "
                    f"alone; leave it out, or give {method}.workers=2 or more"
                )
        if self.offload and not self.zero:
            raise InputError(f"{method}.offload=true needs {method}.zero=1, 2 or 3; with zero=0 there is nothing to do")
        if self.accumulate > 1 and self.least_batch > 1:
            raise InputError(
                f"{method}.accumulate={self.accumulate} cannot be used; {method} compares all windows of a batch, "
                "leave it out"
            )


def suggest_student(trial: "optuna.Trial", blocks: Blocks) -> None:
    """Everything that a student shares; how many blocks or which rank only where it is asked for."""
    trial.suggest_float("temperature", 1.0, 8.0, log=True)
    trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True)
    trial.suggest_categorical("batch_size", [16, 32])
    adapt = trial.suggest_categorical("adapt", list(get_args(Adapt)))
    if adapt == "last_k":
        trial.suggest_int("last", 1, max(last_searched(blocks.new)))
    elif adapt == "lora":
        trial.suggest_categorical("lora_rank", list(LORA_RANKS))
