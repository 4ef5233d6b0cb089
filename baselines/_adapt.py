"""How much of an encoder is trained: all of it, its last blocks, low-rank adapters in its blocks, or nothing.

Adapters are LoRA (Hu et al., 2022, arXiv 2106.09685): beside a frozen weight W a product B A of rank r, which begins at
zero. They are put on every linear layer of the blocks or, where blocks have none, on every convolution: A then has the
kernel, and B a kernel of one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from benchmark.encoders.base import Encoder
from search_spaces._student import LORA_RANKS, Adapt, StudentOptions, last_searched

PLACES: Mapping[Adapt, str] = {
    "full": "the whole new model",
    "last_k": "last blocks of the new model",
    "lora": "adapters in the new model (LoRA)",
    "head": "a linear head on the new model",
}


@dataclass(frozen=True)
class Adaptation:
    """``amount``: so many last blocks, or the rank of the adapters. Called with a frozen encoder, it readies that, in
    place, for its training: what is to be trained asks for a gradient, everything else stays frozen."""

    kind: Adapt = "full"
    amount: int = 0

    @classmethod
    def of(cls, options: StudentOptions) -> "Adaptation":
        """What a configuration asks for."""
        assert options.adapt is not None
        amount = {"last_k": options.last, "lora": options.lora_rank}.get(options.adapt, 0)
        assert amount is not None
        return cls(options.adapt, amount)

    @classmethod
    def searched(cls, space: Mapping[str, Sequence[Any]], n_blocks: int) -> list["Adaptation"]:
        """All of a search space, which may not say what its first choice does not need."""
        amounts = {
            "last_k": space.get("last") or last_searched(n_blocks),
            "lora": space.get("lora_rank") or LORA_RANKS,
        }
        return [cls(kind, k) for kind in space.get("adapt", ["full"]) for k in amounts.get(kind, [0])]

    @property
    def place(self) -> str:
        """What is trained, whatever the amount."""
        return PLACES[self.kind]

    def __str__(self) -> str:
        return {"last_k": f"blocks, last {self.amount}", "lora": f"LoRA, rank {self.amount}"}.get(self.kind, self.kind)

    def __call__(self, encoder: Encoder) -> list[nn.Module]:
        """The modules that are to be in training mode: what is frozen must not drop out, nor move its statistics."""
        if self.kind == "full":
            return [encoder.requires_grad_(True)]
        if self.kind == "last_k":
            names = encoder.block_names[encoder.n_blocks - self.amount :]
            return [encoder.get_submodule(name).requires_grad_(True) for name in names]
        if self.kind == "lora":
            self._inject(encoder)
            encoder.eval()
        return []

    def _inject(self, encoder: Encoder) -> None:
        from peft import LoraConfig, inject_adapter_in_model  # takes seconds, and only adapters need it

        inside = tuple(f"{name}." for name in encoder.block_names)
        of_blocks = [(name, module) for name, module in encoder.named_modules() if name.startswith(inside)]
        for kind in (nn.Linear, nn.Conv1d):
            names = [name for name, module in of_blocks if isinstance(module, kind)]
            if names:
                inject_adapter_in_model(
                    LoraConfig(r=self.amount, lora_alpha=self.amount, target_modules=names), encoder
                )
                return
        raise TypeError(f"the blocks of {encoder.name} have neither linear layers nor convolutions for an adapter")


FULL = Adaptation()
