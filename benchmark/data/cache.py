"""Windows on disk: read once, one Arrow file per subject, memory-mapped by every process that needs them.

A cache folder is named by a digest of everything that changes the windows, so a stale one is never read. A subject's
file is written to a temporary name and renamed when whole, so an interrupted run goes on where it stopped and several
processes may fill one folder at once.
"""

import os
import re
import sys
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from benchmark.common.files import atomic_write
from benchmark.common.keys import digest, source_digest
from benchmark.common.machine import cores
from benchmark.common.progress import Progress
from benchmark.data.base import Dataset, PairedWindows, SubjectWindows, Windows
from benchmark.data.signals import preparation
from benchmark.data.signals.spec import SignalSpec
from benchmark.errors import InputError

FORMAT = 1
MEMORY_PER_READER = 1 << 30  # bytes; a night of ISRUC takes about half of it


def load(dataset: Dataset, old: str, new: str, cache: Path, progress: Progress | bool = True) -> PairedWindows:
    """Windows of two modalities of all subjects, read into ``cache`` where they are not there yet.

    Parameters
    ----------
    old, new : two modalities of the data set.
    cache : folder that holds one folder per state of a data set; made if missing.
    progress : True for a progress bar, or a function that is called with (subjects done, subjects in all, subject).

    Raises
    ------
    InputError
        For a modality that the data set lacks, and for what its reader raises.
    """
    for role, modality in (("old", old), ("new", new)):
        if modality not in dataset.modalities:
            raise InputError(
                f"data set {dataset.name} has no {modality!r} for the {role} modality; it has "
                f"{', '.join(dataset.modalities)}"
            )
    if old == new:
        raise InputError(f"old and new modality are both {old}; choose two of {', '.join(dataset.modalities)}")
    subjects = tuple(dataset.subjects())
    specs = {modality: dataset.spec(modality) for modality in dataset.modalities}
    key = content_key(dataset)
    folder = cache / f"{dataset.name}-{key[:16]}"
    files = _fill(dataset, subjects, specs, folder, progress)
    columns = {name: np.concatenate([_column(file, name) for file in files]) for name in ("label", "start")}
    recording = np.concatenate([np.asarray(_table(file).column("recording").to_pylist(), dtype=str) for file in files])
    counts = [_table(file).num_rows for file in files]
    if not sum(counts):
        raise InputError(f"data set {dataset.name} gives no windows; shorten data.seconds")
    return PairedWindows(
        dataset=dataset.name,
        old=MappedWindows(specs[old], files),
        new=MappedWindows(specs[new], files),
        label=columns["label"],
        subject=np.repeat(np.arange(len(files), dtype=np.int64), counts),
        subjects=subjects,
        recording=recording,
        start=columns["start"],
        classes=tuple(dataset.classes),
        content=key,
    )


def content_key(dataset: Dataset) -> str:
    """A digest of the data set's own key, the code that makes its windows, and the libraries' versions."""
    return digest(
        {
            "format": FORMAT,
            "dataset": dataset.name,
            "key": dataset.key(),
            "code": source_digest(sys.modules[type(dataset).__module__], preparation, *dataset.code),
            "versions": {name: version(name) for name in ("numpy", "scipy")},
        }
    )


class MappedWindows(Windows):
    """Windows of one modality in the subjects' Arrow files; only what is taken is read from disk.

    It pickles as the names of the files, so that processes of one machine share the pages.
    """

    def __init__(self, spec: SignalSpec, files: Sequence[Path]):
        self.spec = spec
        self.files = tuple(files)

    def __getstate__(self) -> dict[str, Any]:
        return {"spec": self.spec, "files": self.files}

    @cached_property
    def _chunks(self) -> list[np.ndarray]:
        shape = (-1, self.spec.n_channels, self.spec.n_samples)
        return [_values(file, self.spec.modality).reshape(shape) for file in self.files]

    @cached_property
    def _offsets(self) -> np.ndarray:
        return np.cumsum([0, *map(len, self._chunks)])

    def __len__(self) -> int:
        return int(self._offsets[-1])

    def take(self, indices: np.ndarray) -> np.ndarray:
        """Windows at ``indices`` (n,), in that order, as a float32 array (n, C, T)."""
        indices = np.asarray(indices, dtype=np.int64)
        if len(indices) and (indices.min() < 0 or indices.max() >= len(self)):
            raise IndexError(f"windows {indices.min()} to {indices.max()} asked for, there are {len(self)}")
        out = np.empty((len(indices), self.spec.n_channels, self.spec.n_samples), dtype=np.float32)
        chunk = np.searchsorted(self._offsets, indices, side="right") - 1
        for number in np.unique(chunk):
            here = chunk == number
            out[here] = self._chunks[number][indices[here] - self._offsets[number]]
        return out


def _fill(
    dataset: Dataset,
    subjects: Sequence[str],
    specs: Mapping[str, SignalSpec],
    folder: Path,
    progress: Progress | bool,
) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{_file_stem(subject)}.arrow" for subject in subjects]
    if len(set(files)) != len(files):
        raise ValueError(f"data set {dataset.name}: two subjects share a name")
    missing = [k for k, file in enumerate(files) if not _readable(file)]
    shown = progress is True and missing
    there = len(subjects) - len(missing)
    with (
        tqdm(
            desc=f"reading {dataset.name}", total=len(subjects), initial=there, unit="subject", disable=not shown
        ) as bar,
        closing(read_ahead(dataset, [subjects[k] for k in missing])) as reading,
    ):
        for done, k in enumerate(missing, start=there):
            if callable(progress):
                progress(done, len(subjects), subjects[k])
            _write(check_windows(next(reading).result(), specs, dataset, subjects[k]), specs, files[k])
            bar.update()
    if callable(progress):
        progress(len(subjects), len(subjects), "")
    return files


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


def _write(windows: SubjectWindows, specs: Mapping[str, SignalSpec], file: Path) -> None:
    columns: dict[str, pa.Array] = {
        "label": pa.array(windows.label.astype(np.int64)),
        "start": pa.array(windows.start.astype(np.float64)),
        "recording": pa.array([str(name) for name in windows.recording], type=pa.string()),
    }
    for modality, spec in specs.items():
        flat = pa.array(np.ascontiguousarray(windows.signals[modality], dtype=np.float32).reshape(-1))
        columns[modality] = pa.FixedSizeListArray.from_arrays(flat, spec.n_channels * spec.n_samples)
    batch = pa.RecordBatch.from_pydict(columns)
    with (
        atomic_write(file) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, batch.schema) as writer,
    ):
        writer.write_batch(batch)


def _readable(file: Path) -> bool:
    """Whether a subject's file can be read: what a full disk or a crash left behind is made anew."""
    if not file.exists():
        return False
    try:
        _table(file)
    except (pa.ArrowInvalid, OSError):
        return False
    return True


def _table(file: Path) -> pa.RecordBatch:
    return pa.ipc.open_file(pa.memory_map(str(file))).get_batch(0)


def _column(file: Path, name: str) -> np.ndarray:
    return _table(file).column(name).to_numpy()


def _values(file: Path, modality: str) -> np.ndarray:
    return _table(file).column(modality).values.to_numpy(zero_copy_only=True)


def _file_stem(subject: str) -> str:
    return re.sub(r"[^\w.-]", "_", subject)
