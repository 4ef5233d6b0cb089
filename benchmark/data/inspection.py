"""What a data set holds, subject by subject: windows and classes, pauses, flat and clipped channels, and where it
disagrees with what was published.

Shapes: n windows of a subject, C channels, T samples.
"""

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from benchmark.common.progress import Bar
from benchmark.common.terminal import aligned
from benchmark.config.schema import DataOptions
from benchmark.data import cache, registry
from benchmark.data.base import Dataset, SubjectWindows
from benchmark.data.leakage import Moments, moving, window_digests
from benchmark.data.splits import PARTS, Split, make_splits
from benchmark.errors import InputError

CLIPPED = 0.01  # share of a window's samples at the subject's extreme value from which it counts as clipped
NONE = SubjectWindows({}, np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0, dtype=str))


@dataclass
class SubjectReport:
    """One subject's recordings. ``error`` is the one line that says why they cannot be used."""

    subject: str
    windows: SubjectWindows = NONE  # without signals
    digests: np.ndarray | None = None  # int64 (n, modalities)
    moves: np.ndarray | None = None  # bool (n, modalities)
    recordings: int = 0
    seconds: float = 0.0  # from the first window's start to the last one's end, over recordings
    pauses: int = 0  # places where the next window starts more than a stride later
    paused: float = 0.0  # seconds that no window covers there
    flat: dict[str, int] = field(default_factory=dict)  # windows by channel, of those that have any
    clipped: dict[str, int] = field(default_factory=dict)
    error: str | None = None


@dataclass
class Report:
    dataset: Dataset
    subjects: list[SubjectReport]
    label: np.ndarray
    subject: np.ndarray
    splits: list[Split] = field(default_factory=list)
    split_error: str | None = None
    copies: list[str] = field(default_factory=list)

    @property
    def errors(self) -> list[str]:
        split = [self.split_error] if self.split_error else []
        return [*(one.error for one in self.subjects if one.error), *self.copies, *split]

    def counts(self, label: np.ndarray) -> list[str]:
        """Windows of each class."""
        return [str(int((label == k).sum())) for k in range(len(self.dataset.classes))]


def inspect(options: DataOptions, seed: int, progress: bool = False) -> Report:
    """Read all of the data set ``options.name``, prepared as its options say and unprepared, and report.

    Parameters
    ----------
    seed : of the split.
    progress : whether to show a bar.

    Raises
    ------
    InputError
        For a root that cannot be used; a subject that cannot be read is reported.
    """
    dataset = registry.build(options.name, options)
    names = list(dataset.subjects())
    none: dict[str, list[Any]] = {modality: [] for modality in dataset.modalities}
    unprepared = registry.build(options.name, options.model_copy(update=none))
    specs = {modality: dataset.spec(modality) for modality in dataset.modalities}
    subjects: list[SubjectReport] = []
    with (
        closing(cache.read_ahead(dataset, names)) as prepared,
        closing(cache.read_ahead(unprepared, names)) as raw,
        Bar(len(names), f"reading {options.name}", hidden=not progress) as bar,
    ):
        for name, mine, theirs in zip(names, prepared, raw, strict=True):
            bar.update(0, name)
            try:
                windows = cache.check_windows(mine.result(), specs, dataset, name)
                subjects.append(_subject(dataset, name, windows, theirs.result()))
            except InputError as error:
                subjects.append(SubjectReport(name, error=str(error)))
            bar.update()
    label = np.concatenate([one.windows.label for one in subjects])
    subject = np.repeat(np.arange(len(subjects)), [len(one.windows.label) for one in subjects])
    report = Report(dataset, subjects, label, subject)
    if len(label):
        recording = np.concatenate([one.windows.recording for one in subjects])
        digests = np.concatenate([one.digests for one in subjects if one.digests is not None])
        moves = np.concatenate([one.moves for one in subjects if one.moves is not None])
        report.copies = [*cache.copies(dataset, names, subject, recording, digests, moves)]
        start = np.concatenate([one.windows.start for one in subjects])
        moments = Moments(recording, start, specs[dataset.modalities[0]].seconds)
        try:
            report.splits = make_splits(subject, options.split, seed, moments)
        except InputError as error:
            report.split_error = str(error)
    return report


def _subject(dataset: Dataset, name: str, windows: SubjectWindows, raw: SubjectWindows) -> SubjectReport:
    # The signals were checked and are not needed again.
    signals = [windows.signals[modality] for modality in dataset.modalities]
    report = SubjectReport(name, replace(windows, signals={}), window_digests(signals), moving(signals))
    for recording in dict.fromkeys(windows.recording.tolist()):
        start = np.sort(windows.start[windows.recording == recording])
        report.recordings += 1
        report.seconds += float(start[-1] - start[0] + dataset.seconds)
        if len(start) > 1:
            step = np.diff(start)
            late = step > step.min() + 1e-6
            report.pauses += int(late.sum())
            report.paused += float(np.maximum(step[late] - dataset.seconds, 0.0).sum())
    for modality, sensor in dataset.sensors.items():
        for values, channel in zip(np.moveaxis(raw.signals[modality], 1, 0), sensor.channels, strict=True):
            least, most = values.min(axis=1, initial=np.inf), values.max(axis=1, initial=-np.inf)
            ends = least.min(initial=np.inf), most.max(initial=-np.inf)
            at_end = np.maximum(*((values == end).mean(axis=1) for end in ends))
            flat, clipped = least == most, (at_end >= CLIPPED) & (least != most)
            for found, where in ((report.flat, flat), (report.clipped, clipped)):
                if where.any():
                    found[channel] = int(where.sum())
    return report


def _disagreements(report: Report) -> Iterator[str]:
    """Where a data set that was published differs from that."""
    published = report.dataset.published
    if published is None:
        return
    if len(report.subjects) != published.subjects:
        yield f"{len(report.subjects)} subjects here, {published.subjects} published"
    for split in report.splits[:1]:
        for part, wanted in published.windows.items():
            here = dict(zip(report.dataset.classes, report.counts(report.label[split.parts()[part]]), strict=True))
            if set(here) == set(wanted) and any(here[name] != str(wanted[name]) for name in wanted):
                counts = ", ".join(f"{name} {here[name]} here, {wanted[name]} published" for name in wanted)
                yield f"{part} windows (they depend on the subjects that a split draws): {counts}"


def text(report: Report, name: str) -> str:
    """The report as it is printed, under the data set's name."""
    dataset = report.dataset
    lines = [f"{name}: {len(report.subjects)} subjects, {len(report.label)} windows of {dataset.seconds:g} s"]
    for modality, sensor in dataset.sensors.items():
        spec = dataset.spec(modality)
        lines.append(
            f"  {modality}: recorded at {sensor.rate:g} Hz, prepared to {spec.n_channels} x {spec.n_samples} samples "
            f"at {spec.rate:g} Hz in {spec.unit} ({', '.join(spec.channels)})"
        )
    rows = [["subject", *dataset.classes, "recordings", "seconds", "pauses", "flat", "clipped"]]
    for one in report.subjects:
        if not one.error:
            pauses = f"{one.pauses} ({one.paused:.0f} s)" if one.pauses else "none"
            shown = [str(one.recordings), f"{one.seconds:.0f}", pauses, _windows(one.flat), _windows(one.clipped)]
            rows.append([one.subject, *report.counts(one.windows.label), *shown])
    rows.append(["all", *report.counts(report.label), "", "", "", "", ""])
    lines += ["", *(f"  {line}" for line in aligned(rows))]
    for split in report.splits[:1]:
        more = f", the first of {len(report.splits)}" if len(report.splits) > 1 else ""
        shared = {"none": "nothing", "subjects": "subjects, no samples", "samples": "SAMPLES: leaky"}[split.leakage]
        lines += ["", f"split {split.name}{more}; parts share {shared}"]
        rows = [["part", "subjects", "windows", *dataset.classes]]
        for part in PARTS:
            indices = split.parts()[part]
            n_subjects = len(np.unique(report.subject[indices]))
            rows.append([part, str(n_subjects), str(len(indices)), *report.counts(report.label[indices])])
        lines += [f"  {line}" for line in aligned(rows)]
    lines += ["", *(f"error: {error}" for error in report.errors)]
    disagreements = [*_disagreements(report)]
    lines += [f"differs from what was published: {line}" for line in disagreements]
    if dataset.published and not disagreements and not report.errors:
        lines.append("agrees with what was published")
    unusable = sum(1 for one in report.subjects if one.error)
    lines.append(
        f"{unusable} of {len(report.subjects)} subjects cannot be read" if unusable else "all of it can be read"
    )
    return "\n".join(lines)


def _windows(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{channel} {n}" for channel, n in counts.items()) or "none"
