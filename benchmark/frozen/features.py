"""What a frozen encoder makes of a data set's windows: computed once for each subject and weights, then found on disk.

Which split, fold, side or direction asks is no part of a key, so that none of them computes it again. Shapes: B windows
of a batch, N windows, T tokens, D features. *Own* windows are a subject's, counted from 0.
"""

import sys
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark.common.keys import source_digest
from benchmark.common.machine import computing
from benchmark.common.progress import Progress, silent
from benchmark.common.store import Entry, Rows, Store
from benchmark.data.base import PairedWindows
from benchmark.encoders import base
from benchmark.encoders.base import Encoder


@torch.inference_mode()
def one_pass(
    encoder: Encoder, windows: np.ndarray, wanted: Collection[str], block: int | None
) -> dict[str, dict[str, np.ndarray]]:
    """What is computed of a batch, by what is wanted, as arrays (B, ...). The text of this is part of every key.

    ``prepared``: the model's input. ``input``: what ``block`` takes, token by token, in the model's own layout.
    ``pooled``: for each block k ``pooled/k`` (B, D_k), the mean over tokens of what it takes, ``pooled/n`` being the
    last block's output; ``last``: that output in the model's own layout; both come of one forward.
    """
    if "prepared" in wanted:
        return {"prepared": {"prepared": encoder.prepare(windows).cpu().numpy()}}
    hidden = encoder.embed(encoder.inputs(windows))
    if block is not None:
        return {"input": {"input": encoder.run(hidden, 0, block).cpu().numpy()}}
    pooled = {"pooled/0": encoder.pool(hidden).cpu().numpy()}
    for k in range(encoder.n_blocks):
        hidden = encoder.run(hidden, k, k + 1)
        pooled[f"pooled/{k + 1}"] = encoder.pool(hidden).cpu().numpy()
    return {"pooled": pooled, "last": {"last": hidden.cpu().numpy()}}


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
        self._exact = Store(store.root)  # for what is no output of the encoder, and trained on as it is

    def stored(self, subject: int) -> bool:
        """Whether a subject's pooled outputs have a file; nothing is read or computed."""
        return self.store.path(self._key("pooled", subject)).exists()

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
        """Compute what is missing of a subject's pooled outputs and, for its own windows ``last``, of the last block's
        output: one forward for both."""
        own = np.zeros(0, np.int64) if last is None else np.unique(last).astype(np.int64)
        self._complete(subject, {"pooled": np.arange(self._count(subject)), "last": own})

    def seconds(self, what: str, indices: np.ndarray, block: int | None = None) -> dict[tuple[str, int], float]:
        """What computing that took of what was read of these windows, by what it is and by subject."""
        of = self.encoder.name if what == "prepared" else self._weights[:8]
        name = f"{self.modality} {what}{'' if block is None else f' {block}'} {of}"
        found = {}
        for subject, _ in self.data.by_subject(np.unique(indices)):
            path = self._store(what).path(self._key(what, subject, block))
            found[name, subject] = self._entries[path].seconds
        return found

    def _rows(self, what: str, array: str, indices: np.ndarray, block: int | None = None) -> Rows:
        parts: list[Tensor] = []
        index, rows = np.empty(len(indices), np.int64), 0
        for subject, own in self.data.by_subject(np.unique(indices)):
            if what in ("pooled", "last"):  # a forward for the last output gives the pooled ones, too
                self.extract(subject, own if what == "last" else None)
            else:
                self._complete(subject, {what: own}, block)
            entry = self._entries[self._store(what).path(self._key(what, subject, block))]
            mine = self.data.subject[indices] == subject
            index[mine] = rows + np.searchsorted(_own(entry), indices[mine] - self.data.offsets[subject])
            parts += entry[array]
            rows += entry.rows
        return Rows(parts, torch.from_numpy(index))

    def _complete(self, subject: int, wanted: Mapping[str, np.ndarray], block: int | None = None) -> None:
        """Open the entries that have these own windows; compute, in one pass, those that are not there or lack some."""
        missing = {}
        for what, own in wanted.items():
            entry = self._find(self._key(what, subject, block), own) if len(own) else None
            if len(own) and (entry is None or not _has(entry, own)):
                missing[what] = own if entry is None else np.union1d(own, _own(entry))
        if missing:
            self._compute(subject, missing, block)

    def _compute(self, subject: int, missing: Mapping[str, np.ndarray], block: int | None) -> None:
        keys = {what: self._key(what, subject, block) for what in missing}
        with ExitStack() as stack:
            writers = {what: stack.enter_context(self._store(what).writer(key)) for what, key in keys.items()}
            started = time.perf_counter()
            for batch in self._batches(np.unique(np.concatenate([*missing.values()])), subject):
                windows = self.data.side(self.modality).take(self.data.offsets[subject] + batch)
                found = one_pass(self.encoder, windows, keys, block)
                seconds = time.perf_counter() - started
                for what, own in missing.items():
                    kept = np.isin(batch, own)
                    arrays = {name: values[kept] for name, values in found[what].items()}
                    if len(own) < self._count(subject):
                        arrays["windows"] = batch[kept]
                    if kept.any():
                        writers[what].add(arrays, seconds)
                        seconds = 0.0  # a pass counts once
                about = f"{' and '.join(missing)} of {self.data.subjects[subject]}"
                self.progress(int(batch[-1]) + 1, self._count(subject), about)
                started = time.perf_counter()
        for what, key in keys.items():
            store = self._store(what)
            self._entries[store.path(key)] = store.written(key)

    def _batches(self, own: np.ndarray, subject: int) -> Iterator[np.ndarray]:
        """The batches of a subject that have any of its ``own`` windows, and all of each: what a window gives does not
        depend, to the last digit, on which others are asked for."""
        everything = np.arange(self._count(subject))
        for number in np.unique(own // self.batch_size):
            yield everything[number * self.batch_size : (number + 1) * self.batch_size]

    def _store(self, what: str) -> Store:
        return self._exact if what == "prepared" else self.store

    def _count(self, subject: int) -> int:
        return int(self.data.offsets[subject + 1] - self.data.offsets[subject])

    def _find(self, key: Mapping[str, Any], own: np.ndarray) -> Entry | None:
        """The entry as this process has it or, where that lacks some of the windows, as it is on disk by now."""
        store = self._store(key["what"])
        path = store.path(key)
        entry = self._entries.get(path)
        if entry is None or not _has(entry, own):
            known, entry = entry, store.open(key)
            if entry is not None:
                self._entries[path] = entry
                self.saved += entry.seconds if known is None else 0.0
        return entry

    def _key(self, what: str, subject: int, block: int | None = None) -> dict[str, Any]:
        key = {**self.data.subject_key(self.modality, subject), "what": what, **self._of_encoder}
        if what != "prepared":
            key["weights"] = self._weights
        return key if block is None else {**key, "block": block}

    @cached_property
    def _of_encoder(self) -> dict[str, Any]:
        code = source_digest(one_pass, base, sys.modules[type(self.encoder).__module__])
        return {
            "encoder": self.encoder.name,
            "preset": self.encoder.preset,
            "code": code,
            "batch": self.batch_size,
            **computing(self.encoder.device),
        }

    @cached_property
    def _weights(self) -> str:
        return self.encoder.fingerprint()


def _own(entry: Entry) -> np.ndarray:
    """Which of a subject's own windows an entry has, sorted; one without a list has all of them."""
    return torch.cat(entry["windows"]).numpy() if "windows" in entry else np.arange(entry.rows)


def _has(entry: Entry, own: np.ndarray) -> bool:
    return "windows" not in entry or bool(np.isin(own, _own(entry)).all())
