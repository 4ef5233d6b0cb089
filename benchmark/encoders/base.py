"""An encoder is a sequence of blocks that can be entered and left at any block.

Shapes: B windows, C channels, N samples, T tokens, D features. A *hidden* is what passes between
blocks; its layout is the model's own, but its first dimension is always the window.
"""

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.common.keys import content_digest
from benchmark.data.signals.spec import SignalSpec
from benchmark.errors import InputError

_WRAPPERS = "student|module|model|net|backbone|hubert_ecg|hubert"
"""Names under which training scripts of the released models keep the encoder."""


@dataclass(frozen=True)
class ReleasedWeights:
    """Where the authors publish the weights of one preset, and under which name they are looked for."""

    file: str
    """Name of the file in the weights folder."""
    url: str
    page: str
    """The page a person would read: record, repository or model card."""
    licence: str
    checksum: str | None = None
    """``sha256:...`` or ``md5:...`` where the publisher states one."""


class Encoder(nn.Module, ABC):
    """A foundation model without its head.

    A subclass is one file in this package. It is built for one ``SignalSpec``, which fixes how many
    tokens a window has.
    """

    name: ClassVar[str]
    modalities: ClassVar[tuple[str, ...]]
    rate: ClassVar[float]
    """Sampling rate in Hz that ``prepare`` wants; data sets resample to it."""
    played: ClassVar[Mapping[str, float]] = {}
    """Rate in Hz of modalities that are played to the encoder faster than they were recorded, as if at ``rate``."""
    presets: ClassVar[Mapping[str, Mapping[str, Any]]]
    released: ClassVar[Mapping[str, ReleasedWeights]] = {}
    """Published weights by preset; a preset that is not here is trained by the user."""
    example: ClassVar[SignalSpec]
    """A signal this encoder takes, for listings and parameter counts."""
    prefix: ClassVar[str] = ""
    """Start of every state-dict name here that released files leave out."""
    outside_path: ClassVar[tuple[str, ...]] = ()
    """State-dict prefixes of parameters that no block reads: final norms, pre-training heads, decoders."""

    def __init__(self, signal: SignalSpec, preset: str):
        super().__init__()
        if preset not in self.presets:
            raise InputError(f"encoder {self.name} has no preset {preset!r}; choose one of {', '.join(self.presets)}")
        if signal.modality not in self.modalities:
            raise InputError(
                f"encoder {self.name} takes {' or '.join(self.modalities)}, the data set gives {signal.modality}; "
                "choose an encoder for that modality"
            )
        rate = self.played.get(signal.modality, self.rate)
        if signal.rate != rate:
            raise InputError(
                f"encoder {self.name} takes {rate:g} Hz, the {signal.modality} windows have {signal.rate:g} Hz; "
                f"set the data set's rate for {signal.modality} to {rate:g}"
            )
        self.signal = signal
        self.preset = preset
        self.weights_report: Mapping[str, Sequence[str]] | None = None
        """What the last ``load_original_state_dict`` did; None for random weights."""

    @property
    @abstractmethod
    def block_names(self) -> tuple[str, ...]:
        """State-dict prefixes of the blocks a bridge can join, in order."""

    @property
    def n_blocks(self) -> int:
        return len(self.block_names)

    @abstractmethod
    def prepare(self, windows: np.ndarray) -> Tensor:
        """Raw windows (B, C, N) in ``signal.unit`` -> the model's input. No parameters, no gradient."""

    @abstractmethod
    def embed(self, inputs: Tensor) -> Tensor:
        """The model's input -> the hidden that block 0 takes."""

    @abstractmethod
    def run(self, hidden: Tensor, start: int, stop: int) -> Tensor:
        """Blocks ``start`` .. ``stop - 1`` and nothing else; ``start == stop`` returns ``hidden``."""

    @abstractmethod
    def to_tokens(self, hidden: Tensor) -> Tensor:
        """The model's own layout -> (B, T, D)."""

    @abstractmethod
    def from_tokens(self, tokens: Tensor) -> Tensor:
        """(B, T, D) -> the layout that ``run`` takes; the inverse of ``to_tokens``."""

    @abstractmethod
    def shape_at(self, block: int) -> tuple[int, int]:
        """(T, D) of the input of ``block``; ``block == n_blocks`` is the last block's output."""

    def load_original_state_dict(
        self, mapping: Mapping[str, Tensor], source: str = "the state dict"
    ) -> Mapping[str, Sequence[str]]:
        """Load weights under the original implementation's names, or under this class's own.

        A common prefix (``student.``, ``module.``, ...) is removed. Returns the entry names under ``used``,
        ``ignored`` (in the file, not here), ``missing`` (here, not in the file, left as they were) and
        ``adapted`` (what had to be resized, and how). Raises InputError, naming ``source``, if an entry that
        a block or the embedding needs is missing or has another shape.
        """
        entries = self._without_prefix(mapping)
        renamed, adapted = self._adapt({name: value for name, value, _ in entries})
        own = self.state_dict()
        used = {name: value for name, value in renamed.items() if name in own}
        in_file = {name: original for name, _, original in entries}
        under_prefix = set(in_file.values())
        ignored = [in_file.get(name, name) for name in renamed if name not in own]
        ignored += [name for name in mapping if name not in under_prefix]
        needed = [
            name
            for name in own
            if name not in used and not name.startswith(self.outside_path) and not name.endswith("num_batches_tracked")
        ]
        if needed:
            raise InputError(
                f"{source} does not hold {self.name} {self.preset}: {len(needed)} of {len(own)} entries are missing, "
                f"the first is {needed[0]}, while the file starts with {next(iter(mapping), 'nothing')}; "
                f"give a file of {self.name} {self.preset}"
            )
        for name in [name for name, value in used.items() if value.shape != own[name].shape]:
            if not name.startswith(self.outside_path):
                raise InputError(
                    f"{source}: {name} has shape {tuple(used[name].shape)}, {self.name} {self.preset} needs "
                    f"{tuple(own[name].shape)}; use the weights of that preset and window length"
                )
            ignored.append(f"{in_file.get(name, name)} (shape {tuple(used.pop(name).shape)})")
        for name, value in used.items():
            if not torch.isfinite(value).all():
                raise InputError(f"{source}: {name} holds values that are not finite; get the file again")
        self.load_state_dict(used, strict=False)
        missing = [name for name in own if name not in used]
        report = {"used": list(used), "ignored": ignored, "missing": missing, "adapted": adapted}
        self.weights_report = report
        return report

    def _adapt(self, entries: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
        """Rename or resize entries of a released file; returns them and a line for each resized one."""
        return entries, []

    def _without_prefix(self, mapping: Mapping[str, Tensor]) -> list[tuple[str, Tensor, str]]:
        """(own name, value, name in the file) of the entries under the prefix that most block entries have."""
        blocks = "|".join(re.escape(name.removeprefix(self.prefix)) for name in self.block_names)
        wrapped = re.compile(rf"((?:(?:{_WRAPPERS})\.)*)(?:{blocks})\.")
        counts = Counter(match[1] for match in map(wrapped.match, mapping) if match)
        prefix = counts.most_common(1)[0][0] if counts else ""
        return [
            (self.prefix + name.removeprefix(prefix), value, name)
            for name, value in mapping.items()
            if name.startswith(prefix)
        ]

    def pool(self, hidden: Tensor) -> Tensor:
        """The mean over tokens, (B, D): what probes, heads and bridges see."""
        return self.to_tokens(hidden).mean(dim=1)

    def inputs(self, windows: np.ndarray) -> Tensor:
        """``prepare``, on the encoder's device and in its precision."""
        return self.prepare(windows).to(self.device, self.dtype)

    def forward(self, inputs: Tensor) -> Tensor:
        """The model's input -> the last block's hidden."""
        return self.run(self.embed(inputs), 0, self.n_blocks)

    def block_outputs(self, inputs: Tensor) -> list[Tensor]:
        """Hiddens in one pass: entry k is the input of block k; the last entry is the last block's output."""
        hiddens = [self.embed(inputs)]
        for block in range(self.n_blocks):
            hiddens.append(self.run(hiddens[-1], block, block + 1))
        return hiddens

    def freeze(self) -> "Encoder":
        """Evaluation mode and no gradients."""
        return self.eval().requires_grad_(False)

    def fingerprint(self) -> str:
        """SHA-256 over names, shapes and values of the state dict: changes whenever the numbers may."""
        arrays = ((name, value.detach().cpu().contiguous()) for name, value in self.state_dict().items())
        return content_digest(
            (f"{name} {array.dtype} {tuple(array.shape)}", array.flatten().view(torch.uint8).numpy())
            for name, array in arrays
        )

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def _windows(self, windows: np.ndarray) -> Tensor:
        """float32 (B, C, N), checked against the signal."""
        expected = (self.signal.n_channels, self.signal.n_samples)
        if windows.ndim != 3 or windows.shape[1:] != expected:
            raise InputError(
                f"encoder {self.name} was built for windows of {expected[0]} channels x {expected[1]} samples, "
                f"got an array of shape {windows.shape}; give (windows, channels, samples)"
            )
        return torch.from_numpy(np.require(windows, dtype=np.float32, requirements=["C", "W"]))

    def _check_blocks(self, start: int, stop: int) -> None:
        if not 0 <= start <= stop <= self.n_blocks:
            raise ValueError(f"blocks {start}:{stop} of an encoder with {self.n_blocks} blocks")
