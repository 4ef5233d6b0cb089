"""Windows on disk: read once, a subject an entry of a ``Store``, memory-mapped by every process that needs them.

An entry's key says everything that changes the windows, so a stale one is never read. It is there whole or not at all,
so an interrupted run goes on where it stopped and several processes may fill one cache at once. One that is damaged is
said and read from the recordings again. What is computed of windows goes by their own content, so that recordings which
are copied to another place, and read again there, cost no more than that.
"""

import os
import sys
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark.common.keys import array_digest, digest, source_digest
from benchmark.common.machine import cores
from benchmark.common.progress import Bar, Progress
from benchmark.common.store import Entry, Rows, Store
from benchmark.data.base import Dataset, PairedWindows, SubjectWindows, Windows
from benchmark.data.leakage import copied, moving, window_digests
from benchmark.data.signals import preparation
from benchmark.data.signals.spec import SignalSpec
from benchmark.errors import InputError

FORMAT = 4
BATCH = 64  # windows that are handed to the store at once
MEMORY_PER_READER = 1 << 30  # bytes; a night of ISRUC takes about half of it


def load(dataset: Dataset, old: str, new: str, cache: Path, progress: Progress | bool = True) -> PairedWindows:
    """Windows of two modalities of all subjects, read into ``cache`` where they are not there yet.

    Parameters
    ----------
    old, new : two modalities of the data set.
    cache : folder of a ``Store``; made if missing.
    progress : True for a progress bar, or a function that is called with (subjects done, subjects in all, subject).

    Raises
    ------
    InputError
        For a modality that the data set lacks, for a recording that two subjects have, and for what its reader raises.
    RunError
        Where the disk is full, or does not give back what it took.
    """
    for role, modality in (("old", old), ("new", new)):
        if modality not in dataset.modalities:
            raise InputError(
                f"data set {dataset.name} has no {modality!r} for the {role} modality; it has "
                f"{', '.join(dataset.modalities)}"
            )
    if old == new:
        raise InputError(f"old and new modality are both {old}; choose two of {', '.join(dataset.modalities)}")
    store, subjects = Store(cache), tuple(dataset.subjects())
    same = {"what": "windows", "dataset": dataset.name, "source": source_key(dataset)}
    keys = [{**same, "subject": subject} for subject in subjects]
    entries = _entries(dataset, subjects, store, keys, progress)
    if not sum(entry.rows for entry in entries):
        raise InputError(f"data set {dataset.name} gives no windows; shorten data.seconds")
    subject = np.repeat(np.arange(len(entries), dtype=np.int64), [entry.rows for entry in entries])
    recording = np.concatenate([_text(_values(entry, "recording")) for entry in entries])
    digests = [_values(entry, "digest") for entry in entries]
    moves = np.concatenate([_values(entry, "moves") for entry in entries]).astype(bool)
    for copy in copies(dataset, subjects, subject, recording, np.concatenate(digests), moves):
        raise InputError(copy)
    return PairedWindows(
        dataset=dataset.name,
        old=StoredWindows(dataset.spec(old), store, keys),
        new=StoredWindows(dataset.spec(new), store, keys),
        label=np.concatenate([_values(entry, "label") for entry in entries]),
        subject=subject,
        subjects=subjects,
        recording=recording,
        start=np.concatenate([_values(entry, "start") for entry in entries]),
        classes=tuple(dataset.classes),
        content={
            modality: tuple(_content(dataset.spec(modality), found[:, column]) for found in digests)
            for column, modality in enumerate(dataset.modalities)
        },
    )


def source_key(dataset: Dataset) -> str:
    """A digest of the data set's own key, the code that makes its windows, and the versions of its own libraries."""
    return digest(
        {
            "format": FORMAT,
            "dataset": dataset.name,
            "key": dataset.key(),
            "code": source_digest(sys.modules[type(dataset).__module__], Dataset, preparation, *dataset.code),
            "versions": {name: version(name) for name in dataset.libraries},
        }
    )


class StoredWindows(Windows):
    """Windows of one modality in the subjects' entries; only what is taken is read from disk.

    It pickles as the entries' keys, so that processes of one machine share the pages; one that takes windows checks the
    entries first, and ends in a RunError where one is not there or damaged.
    """

    def __init__(self, spec: SignalSpec, store: Store, keys: Sequence[Mapping[str, str]]):
        self.spec, self.store, self.keys = spec, store, tuple(keys)

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("spec", "store", "keys")}

    @cached_property
    def _parts(self) -> list[Tensor]:
        return [part for key in self.keys for part in self.store.written(key)[self.spec.modality]]

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def take(self, indices: np.ndarray) -> np.ndarray:
        """Windows at ``indices`` (n,), in that order, as a float32 array (n, C, T)."""
        indices = np.asarray(indices, dtype=np.int64)
        if len(indices) and (indices.min() < 0 or indices.max() >= len(self)):
            raise IndexError(f"windows {indices.min()} to {indices.max()} asked for, there are {len(self)}")
        return Rows(self._parts, torch.from_numpy(indices)).all().numpy()


def _entries(
    dataset: Dataset,
    subjects: Sequence[str],
    store: Store,
    keys: Sequence[Mapping[str, str]],
    progress: Progress | bool,
) -> list[Entry]:
    """The subjects' entries; those that are not there or damaged are read from the recordings."""
    found = [store.open(key) for key in keys]
    missing = [k for k, entry in enumerate(found) if entry is None]
    shown, there = progress is True and missing, len(subjects) - len(missing)
    specs = {modality: dataset.spec(modality) for modality in dataset.modalities}
    with (
        Bar(len(subjects), f"reading {dataset.name}", there, hidden=not shown) as bar,
        closing(read_ahead(dataset, [subjects[k] for k in missing])) as reading,
    ):
        for done, k in enumerate(missing, start=there):
            if callable(progress):
                progress(done, len(subjects), subjects[k])
            bar.update(0, subjects[k])
            windows = check_windows(next(reading).result(), specs, dataset, subjects[k])
            _write(windows, dataset.modalities, store, keys[k])
            found[k] = store.written(keys[k])
            bar.update()
    if callable(progress):
        progress(len(subjects), len(subjects), "")
    return [entry for entry in found if entry is not None]


def read_ahead(dataset: Dataset, subjects: Sequence[str]) -> Generator[Future[SubjectWindows], None, None]:
    """The subjects' windows in order, as they are asked for, read on all cores: so many at once as memory allows.

    In threads, because NumPy, SciPy and Arrow release the interpreter for what takes long, and windows of a night are
    too large to be sent between processes.
    """
    waiting = deque(subjects)
    running: deque[Future[SubjectWindows]] = deque()
    workers = _workers(len(subjects))
    pool = ThreadPoolExecutor(workers, thread_name_prefix="read")
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                running.append(pool.submit(dataset.read, waiting.popleft()))
            yield running.popleft()
    finally:
        pool.shutdown(cancel_futures=True)


def _workers(n_subjects: int) -> int:
    most = cores()
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        free = most * MEMORY_PER_READER
    return max(1, min(most, n_subjects, free // MEMORY_PER_READER))


def check_windows(
    windows: SubjectWindows, specs: Mapping[str, SignalSpec], dataset: Dataset, subject: str
) -> SubjectWindows:
    """A reader's promises, held to before anything is kept."""
    where = f"data set {dataset.name}, subject {subject}"
    n = len(windows.label)
    for modality, spec in specs.items():
        signal = windows.signals[modality]
        if signal.shape != (n, spec.n_channels, spec.n_samples) or signal.dtype != np.float32:
            raise ValueError(
                f"{where}: {modality} is {signal.dtype} {signal.shape}, its specification says float32 "
                f"{(n, spec.n_channels, spec.n_samples)}"
            )
        if not np.isfinite(signal).all():
            raise InputError(f"{where}: {modality} holds values that are not finite; mend or leave out that subject")
    if not len(windows.start) == len(windows.recording) == n:
        raise ValueError(f"{where}: label, start and recording differ in length")
    if n and (windows.label.min() < 0 or windows.label.max() >= len(dataset.classes)):
        raise ValueError(f"{where}: labels outside 0 .. {len(dataset.classes) - 1}")
    return windows


def copies(
    dataset: Dataset,
    subjects: Sequence[str],
    subject: np.ndarray,
    recording: np.ndarray,
    digests: np.ndarray,
    moves: np.ndarray,
) -> Iterator[str]:
    """A line for each two subjects who have a recording in common.

    Of N windows: ``subject`` (N,) indexes ``subjects``, ``recording`` (N,) names, ``digests`` and ``moves`` (N,
    modalities).
    """
    for one, other, modality in copied(digests, moves, subject):
        first, second = subjects[subject[one]], subjects[subject[other]]
        apart = f"move the files of one of them out of {getattr(dataset, 'root', 'the folder')}"
        if "exclude" in type(dataset.options).model_fields:
            apart = f"leave one of them out with data.exclude=[{second.lstrip('0')}]"
        yield (
            f"data set {dataset.name}: {recording[one]} of {first} and {recording[other]} of {second} have equal "
            f"windows of {dataset.modalities[modality]}, so that one person counts as two; get the right files, or "
            f"{apart}"
        )


def _content(spec: SignalSpec, digests: np.ndarray) -> str:
    """Of one subject's windows of a modality, by their digests (n,): what it is that is computed of."""
    return digest({"signal": asdict(spec), "windows": array_digest(digests)})


def _write(windows: SubjectWindows, modalities: Sequence[str], store: Store, key: Mapping[str, str]) -> None:
    signals = [windows.signals[modality] for modality in modalities]
    arrays = {
        **windows.signals,
        "label": windows.label.astype(np.int64),
        "start": windows.start.astype(np.float64),
        "recording": _codes(windows.recording),
        "digest": window_digests(signals),
        "moves": moving(signals).astype(np.uint8),
    }
    with store.writer(key) as writer:
        for begin in range(0, max(1, len(windows.label)), BATCH):  # a subject without windows has an entry, too
            writer.add({name: values[begin : begin + BATCH] for name, values in arrays.items()})


def _values(entry: Entry, name: str) -> np.ndarray:
    return torch.cat(entry[name]).numpy()


def _codes(text: np.ndarray) -> np.ndarray:
    """Strings (n,) as the code points (n, longest) of their characters, int32: what a store takes."""
    text = np.ascontiguousarray(text, dtype=str)
    return text.view(np.int32).reshape(len(text), text.itemsize // 4)


def _text(codes: np.ndarray) -> np.ndarray:
    """The strings (n,) of ``_codes``."""
    return codes.view(f"U{codes.shape[1]}").reshape(len(codes))
