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
from benchmark.data import fields
from benchmark.data.signals.preparation import Stages, prepare_windows, prepared_rate, prepared_unit
from benchmark.data.signals.spec import SignalSpec
from benchmark.errors import InputError


@dataclass(frozen=True)
class Sensor:
    """What a modality is recorded with: its channels, their rate and their unit, before any preparation."""

    channels: tuple[str, ...]
    rate: float  # Hz
    unit: str


@dataclass(frozen=True)
class Recording:
    """One recording as it was made, and the windows that there are of it.

    ``signals[m]`` is (C, T) at the sensor's rate; ``label`` int64 (n,); ``start`` float64 (n,), the seconds at which
    each window begins within the recording.
    """

    name: str
    signals: Mapping[str, np.ndarray]
    label: np.ndarray
    start: np.ndarray
    file: Path | None = None  # for messages


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
    """What its constructor takes, with ``name`` the data set's; an option for the stages of each modality."""
    name: str
    modalities: tuple[str, ...]
    sensors: Mapping[str, Sensor]
    classes: tuple[str, ...]
    seconds: float
    """Length of a window; said by the option of that name, where there is one."""
    contents: str | None = None
    """What is in the folder ``data.root``, in words; None where nothing is read."""
    licence: ClassVar[str]
    citation: ClassVar[str]
    how_to_get: ClassVar[str]
    published: ClassVar[Published | None] = None
    code: ClassVar[tuple[ModuleType, ...]] = ()
    """Modules besides its own and ``preparation`` that make its windows: a cache knows their version."""
    libraries: ClassVar[tuple[str, ...]] = ()
    """Distributions besides ``keys.LIBRARIES`` that do."""
    leave_out: ClassVar[str] = "leave the subject out with data.exclude=[{}]"
    """What to do about a subject of whom a file is missing."""

    def __init__(self, options: DataOptions):
        """``options`` are of the class ``Options``; its option ``exclude``, where there is one, names subjects to leave
        out. Raises InputError for a root that is not there."""
        self.options = options
        self.stages: dict[str, Stages] = {modality: getattr(options, modality) for modality in self.modalities}
        self.excluded = frozenset(map(str, getattr(options, "exclude", ())))
        self.seconds = getattr(options, "seconds", None) or self.seconds
        if self.contents is not None:
            self.root = fields.folder(getattr(options, "root", None), self.contents, self.how_to_get)

    @classmethod
    def fetch(cls, folder: Path) -> None:
        """Download the recordings into ``folder``, where their publisher lets a program do that, and check them."""
        raise InputError(f"data set {cls.name} cannot be fetched by a program: {cls.how_to_get}")

    @abstractmethod
    def found(self) -> Sequence[str]:
        """Names of all subjects that are there, sorted."""

    def files(self, subject: str) -> Sequence[Path]:
        """What is read of a subject, below ``root``."""
        return ()

    @abstractmethod
    def recordings(self, subject: str) -> Iterator[Recording]:
        """The subject's recordings, one after the other. Raises InputError that names the file."""

    def subjects(self) -> Sequence[str]:
        """Names of the subjects, sorted. Raises InputError for a missing or incomplete root."""
        found = self.found()
        if not found:
            raise InputError(f"data.root {self.root}: no {self.contents} in it; download it ({self.how_to_get})")
        if unknown := self.excluded - set(found):
            raise InputError(
                f"data.exclude names subject {min(unknown)}, {self.root} has {len(found)} subjects ({found[0]} to "
                f"{found[-1]}); leave it out of the list"
            )
        kept = [subject for subject in found if subject not in self.excluded]
        if not kept:
            raise InputError(f"data.exclude leaves no subject of {self.root}; shorten it")
        for subject in kept:
            for file in self.files(subject):
                if not file.is_file():
                    what = "not a regular file" if file.exists() else "missing"
                    how = self.leave_out.format(subject.lstrip("0"))
                    raise InputError(f"{file}: {what}, subject {subject} needs it; add the file or {how}")
        return kept

    def spec(self, modality: str) -> SignalSpec:
        """Channels, rate, length and unit of that modality's windows after preparation."""
        sensor, stages = self.sensors[modality], self.stages[modality]
        rate = prepared_rate(sensor.rate, stages)
        unit = prepared_unit(sensor.unit, stages)
        return SignalSpec(modality, sensor.channels, rate, round(self.seconds * rate), unit)

    def key(self) -> Mapping[str, Any]:
        """Everything that changes the windows: source files (name, size, mtime), options but for the choice of subjects
        and parts, and what stages null stands for."""
        files = [(file, file.stat()) for subject in self.subjects() for file in self.files(subject)]
        return {
            "files": [(str(file.relative_to(self.root)), stat.st_size, stat.st_mtime_ns) for file, stat in files],
            "options": self.options.model_dump(exclude={"root", "subjects", "exclude", "split"}),
            "stages": self.stages,
        }

    def read(self, subject: str) -> SubjectWindows:
        """Read and prepare one subject. Raises InputError that names the file."""
        parts = [self._prepared(recording) for recording in self.recordings(subject)]
        if len(parts) == 1:  # nothing is copied: a night may be large
            return parts[0]
        return SubjectWindows(
            {modality: np.concatenate([part.signals[modality] for part in parts]) for modality in self.modalities},
            np.concatenate([part.label for part in parts]),
            np.concatenate([part.start for part in parts]),
            np.concatenate([part.recording for part in parts]),
        )

    def _prepared(self, recording: Recording) -> SubjectWindows:
        signals = {}
        for modality, stages in self.stages.items():
            signal, rate = recording.signals[modality], self.sensors[modality].rate
            try:
                signals[modality], _ = prepare_windows(signal, rate, stages, recording.start, self.seconds)
            except InputError as error:
                raise InputError(f"{recording.file}: {error}" if recording.file else str(error)) from None
        name = np.full(len(recording.label), recording.name)
        return SubjectWindows(signals, recording.label, recording.start, name)


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
    content: Mapping[str, tuple[str, ...]]  # by modality, of each subject's windows: changes whenever they do

    def __len__(self) -> int:
        return len(self.label)

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
            "modality": modality,
            "subject": self.subjects[subject],
            "content": self.content[modality][subject],
        }

    def windows_key(self, modality: str, indices: np.ndarray) -> dict[str, Any]:
        """What a cache key says of windows of several subjects."""
        windows = {
            self.subjects[subject]: {"content": self.content[modality][subject], "own": array_digest(own)}
            for subject, own in self.by_subject(np.sort(indices))
        }
        return {"dataset": self.dataset, "modality": modality, "windows": windows}

    def labels_key(self, indices: np.ndarray) -> dict[str, Any]:
        """What a cache key says of the labels of windows ``indices``."""
        return {"classes": self.classes, "labels": array_digest(self.label[np.sort(indices)])}

    def moments_key(self, indices: np.ndarray) -> dict[str, str]:
        """What a cache key says of when windows ``indices`` were recorded."""
        indices = np.sort(indices)
        names = np.unique(self.recording[indices], return_inverse=True)[1]
        return {"start": array_digest(self.start[indices]), "recording": array_digest(names)}
