"""What a data set holds, subject by subject: windows and classes, pauses, flat and clipped channels, and where it
disagrees with what was published.

Shapes: n windows of a subject, C channels, T samples.
"""

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmark.common.terminal import aligned
from benchmark.config.schema import DataOptions
from benchmark.data import cache, registry
from benchmark.data.base import Dataset, SubjectWindows
from benchmark.data.leakage import Moments
from benchmark.data.splits import PARTS, Split, make_splits
from benchmark.errors import InputError

CLIPPED = 0.01  # share of a window's samples at the subject's extreme value from which it counts as clipped


@dataclass
class SubjectReport:
    """One subject's recordings. ``error`` is the one line that says why they cannot be used."""

    subject: str
    counts: np.ndarray
    recordings: int = 0
    seconds: float = 0.0  # from the first window's start to the last one's end, over recordings
    pauses: int = 0  # places where the next window starts more than a stride later
    paused: float = 0.0  # seconds that no window covers there
    flat: Mapping[str, int] = field(default_factory=dict)  # windows by channel
    clipped: Mapping[str, int] = field(default_factory=dict)
    error: str | None = None


@dataclass
class Report:
    dataset: Dataset
    subjects: list[SubjectReport]
    splits: list[Split]
    label: np.ndarray
    subject: np.ndarray
    recorded: Mapping[str, float]  # Hz, by modality
    disagreements: list[str]
    split_error: str | None = None

    @property
    def errors(self) -> list[str]:
        return [one.error for one in self.subjects if one.error] + ([self.split_error] if self.split_error else [])


def inspect(options: DataOptions, seed: int, bar: Any = None) -> Report:
    """Read all of the data set ``options.name``, prepared as its options say and unprepared, and report.

    Parameters
    ----------
    seed : of the split.
    bar : with ``update``, called after each subject.

    Raises
    ------
    InputError
        For a root that cannot be used; a subject that cannot be read is reported.
    """
    dataset = registry.build(options.name, options)
    subjects = list(dataset.subjects())
    none: dict[str, list[Any]] = {modality: [] for modality in dataset.modalities}
    unprepared = registry.build(options.name, options.model_copy(update=none))
    reports: list[SubjectReport] = []
    found: list[SubjectWindows | None] = []
    with (
        closing(cache.read_ahead(dataset, subjects)) as prepared,
        closing(cache.read_ahead(unprepared, subjects)) as raw,
    ):
        specs = {modality: dataset.spec(modality) for modality in dataset.modalities}
        for subject, mine, theirs in zip(subjects, prepared, raw, strict=True):
            try:
                windows = cache.check_windows(mine.result(), specs, dataset, subject)
                reports.append(_subject(dataset, unprepared, subject, windows, theirs.result()))
                # The signals were checked and are not needed again.
                found.append(SubjectWindows({}, windows.label, windows.start, windows.recording))
            except InputError as error:
                reports.append(SubjectReport(subject, np.zeros(len(dataset.classes), dtype=np.int64), error=str(error)))
                found.append(None)
            if bar is not None:
                bar.update()
    read = [windows for windows in found if windows is not None]
    lengths = [len(windows.label) if windows else 0 for windows in found]
    label = np.concatenate([w.label for w in read]) if read else np.zeros(0, dtype=np.int64)
    subject_of = np.repeat(np.arange(len(subjects)), lengths)
    splits, split_error = [], None
    if read:
        moments = Moments(
            np.concatenate([w.recording for w in read]),
            np.concatenate([w.start for w in read]),
            dataset.spec(dataset.modalities[0]).seconds,
        )
        try:
            splits = make_splits(subject_of, options.split, seed, moments)
        except InputError as error:
            split_error = str(error)
    recorded = {modality: unprepared.spec(modality).rate for modality in dataset.modalities}
    report = Report(dataset, reports, splits, label, subject_of, recorded, [], split_error)
    report.disagreements = list(_disagreements(report))
    return report


def _subject(
    dataset: Dataset, unprepared: Dataset, subject: str, windows: SubjectWindows, raw: SubjectWindows
) -> SubjectReport:
    report = SubjectReport(subject, np.bincount(windows.label, minlength=len(dataset.classes)))
    seconds = dataset.spec(dataset.modalities[0]).seconds
    for recording in dict.fromkeys(windows.recording.tolist()):
        start = np.sort(windows.start[windows.recording == recording])
        report.recordings += 1
        report.seconds += float(start[-1] - start[0] + seconds)
        if len(start) > 1:
            step = np.diff(start)
            late = step > step.min() + 1e-6
            report.pauses += int(late.sum())
            report.paused += float(np.maximum(step[late] - seconds, 0.0).sum())
    flat: dict[str, int] = {}
    clipped: dict[str, int] = {}
    for modality in dataset.modalities:
        signal = raw.signals[modality]
        for index, channel in enumerate(unprepared.spec(modality).channels):
            values = signal[:, index]
            least, most = values.min(axis=1, initial=np.inf), values.max(axis=1, initial=-np.inf)
            flat[channel] = int((least == most).sum())
            at_end = np.zeros(len(values))
            for extreme in (values.min(initial=np.inf), values.max(initial=-np.inf)):
                at_end = np.maximum(at_end, (values == extreme).mean(axis=1))
            clipped[channel] = int(((at_end >= CLIPPED) & (least != most)).sum())
    report.flat = {channel: n for channel, n in flat.items() if n}
    report.clipped = {channel: n for channel, n in clipped.items() if n}
    return report


def _disagreements(report: Report) -> Iterator[str]:
    published = report.dataset.published
    if published is None:
        return
    if len(report.subjects) != published.subjects:
        yield f"{len(report.subjects)} subjects here, {published.subjects} published"
    if not report.splits:
        return
    for part, wanted in published.windows.items():
        labels = report.label[report.splits[0].parts()[part]]
        here = {name: int((labels == k).sum()) for k, name in enumerate(report.dataset.classes)}
        if set(here) == set(wanted) and here != dict(wanted):
            counts = ", ".join(f"{name} {here[name]} here, {wanted[name]} published" for name in wanted)
            yield f"{part} windows (they depend on the subjects that a split draws): {counts}"


def text(report: Report, name: str) -> str:
    """The report as it is printed, under the data set's name."""
    dataset, classes = report.dataset, report.dataset.classes
    lines = [f"{name}: {len(report.subjects)} subjects, {len(report.label)} windows of {_seconds(dataset)}"]
    for modality in dataset.modalities:
        spec = dataset.spec(modality)
        channels = ", ".join(spec.channels)
        lines.append(
            f"  {modality}: recorded at {report.recorded[modality]:g} Hz, prepared to {spec.n_channels} x "
            f"{spec.n_samples} samples at {spec.rate:g} Hz in {spec.unit} ({channels})"
        )
    rows = [["subject", *classes, "recordings", "seconds", "pauses", "flat", "clipped"]]
    for one in report.subjects:
        if one.error:
            continue
        pauses = f"{one.pauses} ({one.paused:.0f} s)" if one.pauses else "none"
        counts = [str(n) for n in one.counts]
        shown = [one.subject, *counts, str(one.recordings), f"{one.seconds:.0f}", pauses]
        rows.append([*shown, _windows(one.flat), _windows(one.clipped)])
    total = [str(int(sum(one.counts[k] for one in report.subjects))) for k in range(len(classes))]
    rows.append(["all", *total, "", "", "", "", ""])
    lines += ["", *(f"  {line}" for line in aligned(rows))]
    for split in report.splits[:1]:
        more = f", the first of {len(report.splits)}" if len(report.splits) > 1 else ""
        shared = {"none": "nothing", "subjects": "subjects, no samples", "samples": "SAMPLES: leaky"}[split.leakage]
        lines += ["", f"split {split.name}{more}; parts share {shared}"]
        rows = [["part", "subjects", "windows", *classes]]
        for part in PARTS:
            indices = split.parts()[part]
            counts = [str(int((report.label[indices] == k).sum())) for k in range(len(classes))]
            rows.append([part, str(len(np.unique(report.subject[indices]))), str(len(indices)), *counts])
        lines += [f"  {line}" for line in aligned(rows)]
    lines.append("")
    if report.errors:
        lines += [f"error: {error}" for error in report.errors]
    if report.disagreements:
        lines += [f"differs from what was published: {line}" for line in report.disagreements]
    elif dataset.published and not report.errors:
        lines.append("agrees with what was published")
    unusable = sum(1 for one in report.subjects if one.error)
    lines.append(
        f"{unusable} of {len(report.subjects)} subjects cannot be read" if unusable else "all of it can be read"
    )
    return "\n".join(lines)


def _seconds(dataset: Dataset) -> str:
    return f"{dataset.spec(dataset.modalities[0]).seconds:g} s"


def _windows(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{channel} {n}" for channel, n in counts.items()) or "none"
