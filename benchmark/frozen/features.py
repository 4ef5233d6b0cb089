"""What a frozen encoder makes of a data set's windows: computed once for each subject and weights, then found on disk.

Which split, fold, side or direction asks is no part of a key, so that none of them computes it again. Shapes: B windows
of a batch, N windows, T tokens, D features.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark.common.keys import array_digest, source_digest
from benchmark.common.progress import Progress, silent
from benchmark.data.base import PairedWindows
from benchmark.encoders import base
from benchmark.encoders.base import Encoder
from benchmark.frozen.store import Entry, Rows, Store

# -- what is computed: the text of these functions is part of every key ------------------------------------------------


@torch.inference_mode()
def block_by_block(encoder: Encoder, windows: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """One forward of a batch: ``pooled/k`` (B, D_k), the mean over tokens of what block k takes, ``pooled/n`` being the
    last block's output; and that output in the model's own layout (B, ...)."""
    hidden = encoder.embed(encoder.inputs(windows))
    pooled = [encoder.pool(hidden)]
    for block in range(encoder.n_blocks):
        hidden = encoder.run(hidden, block, block + 1)
        pooled.append(encoder.pool(hidden))
    return {f"pooled/{k}": mean.cpu().numpy() for k, mean in enumerate(pooled)}, hidden.cpu().numpy()


@torch.inference_mode()
def taken(encoder: Encoder, windows: np.ndarray, block: int | None) -> np.ndarray:
    """What ``block`` takes, token by token, in the model's own layout (B, ...); without one, what the model takes."""
    if block is None:
        return encoder.prepare(windows).cpu().numpy()
    return encoder.run(encoder.embed(encoder.inputs(windows)), 0, block).cpu().numpy()


_PASSES: Any = (block_by_block, taken)

# -- what is kept of it ------------------------------------------------------------------------------------------------


class Features:
    """Outputs of one frozen encoder for the windows of one modality. What is asked for and not there is computed then.

    Windows are asked for by their indices in the data set, in any order, at least one. Errors are those of
    ``Store.writer``. ``saved`` counts the seconds that computing took which was found done.
    """

    def __init__(
        self,
        store: Store,
        data: PairedWindows,
        encoder: Encoder,
        modality: str,
        batch_size: int,
        progress: Progress = silent,
    ):
        self.store, self.data, self.encoder, self.modality = store, data, encoder, modality
        self.batch_size, self.progress, self.saved = batch_size, progress, 0.0
        self._entries: dict[Path, Entry] = {}
        self._last: dict[int, np.ndarray] = {}

    def pooled(self, indices: np.ndarray, block: int) -> Tensor:
        """(N, D) on the encoder's device, in its precision: the mean over tokens of what ``block`` takes;
        ``block == n_blocks`` is the last output."""
        return self._rows("pooled", f"pooled/{block}", indices).all().to(self.encoder.device, self.encoder.dtype)

    def last(self, indices: np.ndarray) -> Rows:
        """The last block's output (N, ...) in the model's own layout, as it is stored."""
        return self._rows("last", "last", indices)

    def block_input(self, indices: np.ndarray, block: int) -> Rows:
        """What ``block`` takes (N, ...), token by token, in the model's own layout, as it is stored."""
        return self._rows("input", "input", indices, block)

    def prepared(self, indices: np.ndarray) -> Rows:
        """The model's input (N, ...), as it is stored: the same for all weights."""
        return self._rows("prepared", "prepared", indices)

    def extract(self, subject: int, last: np.ndarray | None = None) -> None:
        """Compute what is missing of a subject's pooled outputs and, for its own windows ``last`` (counted from 0), of
        the last block's output: one forward for both, in the same batches whatever is missing."""
        everything, kept = self._windows(subject), np.unique([] if last is None else last).astype(np.int64)
        keys = {"pooled": self._key("pooled", subject, everything)} if len(everything) else {}
        if len(kept):
            self._last[subject] = kept
            keys["last"] = self._key("last", subject, kept)
        missing = {what: key for what, key in keys.items() if self._find(key) is None}
        if [*missing] == ["last"]:  # only the batches that have some, but whole, so that the numbers are the same
            everything = everything[np.isin(everything // self.batch_size, kept // self.batch_size)]
        with ExitStack() as stack:
            writers = {what: stack.enter_context(self.store.writer(key)) for what, key in missing.items()}
            started = time.perf_counter()
            for own, windows in self._batches(subject, everything, "features") if missing else ():
                pooled, output = block_by_block(self.encoder, windows)
                seconds = time.perf_counter() - started
                if "pooled" in writers:
                    writers["pooled"].add(pooled, seconds)
                    seconds = 0.0  # one forward counts once
                if "last" in writers and (here := np.isin(own, kept)).any():
                    writers["last"].add({"last": output[here]}, seconds)
                started = time.perf_counter()
        for key in missing.values():
            self._entries[self.store.path(key)] = self.store.written(key)

    def _rows(self, what: str, array: str, indices: np.ndarray, block: int | None = None) -> Rows:
        parts: list[Tensor] = []
        index, rows = np.empty(len(indices), np.int64), 0
        for subject, own in self.data.by_subject(np.unique(indices)):
            entry, stored = self._entry(what, subject, own, block)
            mine = self.data.subject[indices] == subject
            index[mine] = rows + np.searchsorted(stored, indices[mine] - self.data.offsets[subject])
            parts += entry[array]
            rows += entry.rows
        return Rows(parts, torch.from_numpy(index))

    def _entry(self, what: str, subject: int, own: np.ndarray, block: int | None) -> tuple[Entry, np.ndarray]:
        """The entry that has a subject's ``own`` windows, and which of them it has."""
        kept = self._last.get(subject)
        if what == "pooled":
            own = self._windows(subject)
        elif what == "last" and kept is not None and np.isin(own, kept).all():
            own = kept
        key = self._key(what, subject, own, block)
        if what in ("pooled", "last"):
            self.extract(subject, own if what == "last" else kept)
        elif self._find(key) is None:
            batches = self._batches(subject, own, what)
            found = ({what: taken(self.encoder, windows, block)} for _, windows in batches)
            self._entries[self.store.path(key)] = self.store.write(key, found)
        return self._entries[self.store.path(key)], own

    def _batches(self, subject: int, own: np.ndarray, text: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """A subject's own windows, ``batch_size`` at once: their numbers (B,) and what they hold (B, C, samples)."""
        for begin in range(0, len(own), self.batch_size):
            batch = own[begin : begin + self.batch_size]
            yield batch, self.data.side(self.modality).take(self.data.offsets[subject] + batch)
            self.progress(begin + len(batch), len(own), f"{text} of {self.data.subjects[subject]}")

    def _windows(self, subject: int) -> np.ndarray:
        return np.arange(self.data.offsets[subject + 1] - self.data.offsets[subject])

    def _find(self, key: dict[str, Any]) -> Entry | None:
        path = self.store.path(key)
        if path not in self._entries and (entry := self.store.open(key)) is not None:
            self._entries[path] = entry
            self.saved += entry.seconds
        return self._entries.get(path)

    def _key(self, what: str, subject: int, own: np.ndarray, block: int | None = None) -> dict[str, Any]:
        key = {**self.data.subject_key(self.modality, subject), "what": what, **self._of_encoder}
        if what != "prepared":
            key["weights"] = self._weights
        if block is not None:
            key["block"] = block
        return key if len(own) == len(self._windows(subject)) else {**key, "windows": array_digest(own)}

    @cached_property
    def _of_encoder(self) -> dict[str, Any]:
        code = source_digest(*_PASSES, base, sys.modules[type(self.encoder).__module__])
        return {"encoder": self.encoder.name, "preset": self.encoder.preset, "code": code, "torch": torch.__version__}

    @cached_property
    def _weights(self) -> str:
        return self.encoder.fingerprint()
