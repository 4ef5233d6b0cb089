"""The seam every data set stands behind: paired windows of two modalities.

Shapes: N windows, C channels, T samples.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from benchmark.common.keys import array_digest
from benchmark.config.schema import DataOptions
from benchmark.data.signals.spec import SignalSpec
from benchmark.errors import InputError


@dataclass(frozen=True)
class SubjectWindows:
    """All windows of one subject, both modalities aligned in time.

    ``signals[m]`` is float32 (n, C, T); ``label`` int64 (n,); ``start`` float64 (n,), the seconds at which
    each window begins within ``recording`` (n,) strings.
    """

    signals: Mapping[str, np.ndarray]
    label: np.ndarray
    start: np.ndarray
    recording: np.ndarray


@dataclass(frozen=True)
class Published:
    """What was published about a data set, to hold what is found against it."""

    subjects: int
    windows: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Windows by part of the split and class; they depend on which subjects a split draws."""


class Dataset(ABC):
    """A reader of one data set: one file in this package, with its options declared beside it."""

    Options: ClassVar[type[DataOptions]]
    """What its constructor takes, with ``name`` the data set's."""
    name: str
    modalities: tuple[str, ...]
    classes: tuple[str, ...]
    licence: ClassVar[str]
    citation: ClassVar[str]
    how_to_get: ClassVar[str]
    published: ClassVar[Published | None] = None
    code: ClassVar[tuple[ModuleType, ...]] = ()
    """Modules besides its own and ``preparation`` that make its windows: a cache knows their version."""

    @abstractmethod
    def __init__(self, options: DataOptions):
        """``options`` are of the class ``Options``. Raises InputError for a root that is not there."""

    @classmethod
    def fetch(cls, folder: Path) -> None:
        """Download the recordings into ``folder``, where their publisher lets a program do that, and check them."""
        raise InputError(f"data set {cls.name} cannot be fetched by a program: {cls.how_to_get}")

    @abstractmethod
    def subjects(self) -> Sequence[str]:
        """Names of the subjects, sorted. Raises InputError for a missing or incomplete root."""

    @abstractmethod
    def spec(self, modality: str) -> SignalSpec:
        """Channels, rate, length and unit of that modality's windows after preparation."""

    @abstractmethod
    def read(self, subject: str) -> SubjectWindows:
        """Read and prepare one subject. Raises InputError that names the file."""

    @abstractmethod
    def key(self) -> Mapping[str, Any]:
        """Everything that changes the windows: source files (name, size, mtime), options."""


class Windows(ABC):
    """One modality's windows, memory-mapped: indexing with int64 indices gathers (n, C, T) float32."""

    spec: SignalSpec

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def take(self, indices: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class PairedWindows:
    """Windows of the old and the new modality of the same moments, and what is known about each.

    Windows of a subject are next to each other, in the order of ``subjects``.
    """

    dataset: str
    old: Windows
    new: Windows
    label: np.ndarray  # int64 (N,)
    subject: np.ndarray  # int64 (N,), index into subjects
    subjects: tuple[str, ...]
    recording: np.ndarray  # (N,) strings
    start: np.ndarray  # float64 (N,), seconds
    classes: tuple[str, ...]
    content: str  # changes whenever a subject's windows do, whatever other subjects there are

    def __len__(self) -> int:
        return len(self.label)

    def batches(self, indices: np.ndarray, size: int) -> Iterator[np.ndarray]:
        for begin in range(0, len(indices), size):
            yield indices[begin : begin + size]

    def side(self, modality: str) -> Windows:
        """The windows of a modality, be it the old or the new one."""
        return self.old if self.old.spec.modality == modality else self.new

    @cached_property
    def offsets(self) -> np.ndarray:
        """(subjects + 1,): windows of subject k are ``offsets[k]`` .. ``offsets[k + 1] - 1``."""
        return np.searchsorted(self.subject, np.arange(len(self.subjects) + 1))

    def by_subject(self, indices: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """The subjects of sorted ``indices``, and which of each subject's own windows they are, counted from 0."""
        for subject in np.unique(self.subject[indices]):
            mine = indices[self.subject[indices] == subject]
            yield int(subject), mine - self.offsets[subject]

    def subject_key(self, modality: str, subject: int) -> dict[str, str]:
        """What a cache key says of one subject's windows of one modality: not of the role that they have in a run."""
        return {
            "dataset": self.dataset,
            "content": self.content,
            "modality": modality,
            "subject": self.subjects[subject],
        }

    def windows_key(self, modality: str, indices: np.ndarray) -> dict[str, Any]:
        """What a cache key says of windows of several subjects."""
        windows = {self.subjects[subject]: array_digest(own) for subject, own in self.by_subject(np.sort(indices))}
        return {"dataset": self.dataset, "content": self.content, "modality": modality, "windows": windows}
