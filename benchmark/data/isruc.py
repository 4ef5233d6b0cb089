"""ISRUC-Sleep, subgroup 1: a night's EEG (6 channels) and ECG at 200 Hz, scored in epochs of 30 s.

``ExtractedChannels/subjectN.mat`` holds an array (epochs, 6000) for each channel, ``RawData/N/N_1.txt`` the first
scorer's label of each epoch, one a line; the extracted channels lack the last 30 epochs. ``RawData/N/N.rec`` is the
same night unfiltered, as EDF.
"""

import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import field_validator

from benchmark.config.options import option
from benchmark.config.schema import DataOptions, SplitOptions
from benchmark.data import fields
from benchmark.data.base import Dataset, Published, SubjectWindows
from benchmark.data.formats import edf, mat
from benchmark.data.formats.edf import read_edf, read_header
from benchmark.data.signals.preparation import Stages, check_stages, prepare_windows, prepared_rate, prepared_unit
from benchmark.data.signals.spec import SignalSpec
from benchmark.errors import InputError

RATE = 200.0
EPOCH_SECONDS = 30.0
EPOCH_SAMPLES = 6000
UNSIGNALLED = 30  # labels at the end that the extracted channels have no epoch for
# Electrode and the ear or mastoid it is recorded against.
EEG = {"F3": "2", "C3": "2", "O1": "2", "F4": "1", "C4": "1", "O2": "1"}
ECG = "X2"
STAGES = {0: "W", 1: "N1", 2: "N2", 3: "N3", 5: "REM"}
CLASSES = {"wake_sleep": ("wake", "sleep"), "stages": ("W", "N1", "N2", "N3", "REM")}


class ISRUCOptions(DataOptions):
    """ISRUC-Sleep, read from the publisher's files."""

    name: Literal["isruc"] = option("isruc", "data set")
    root: str | None = option(None, "folder of ExtractedChannels/ and RawData/")
    source: Literal["extracted", "raw"] = option(
        "extracted",
        "extracted: ExtractedChannels/subjectN.mat, filtered by the publisher | raw: RawData/N/N.rec (EDF)",
    )
    classes: Literal["wake_sleep", "stages"] = option("wake_sleep", "wake_sleep | stages: W, N1, N2, N3, REM")
    exclude: list[int | str] = option(
        [], "numbers of subjects to leave out", accepts="a list of numbers of subjects such as [8,40], or []"
    )
    eeg: fields.Preparation = fields.preparation([])
    ecg: fields.Preparation = fields.preparation(
        [
            {"each": "window"},
            {"resample_linear": 500},
            {"bandpass_fir": [0.05, 47]},
            {"resample_linear": 100},
            {"zscore": "window"},
        ],
    )
    split: SplitOptions = fields.split(
        SplitOptions(kind="paper", train=33, val=11, pair=33, test=22, folds=5), "of subjects"
    )

    @field_validator("exclude")
    @classmethod
    def _check_exclude(cls, exclude: list[int | str]) -> list[int | str]:
        if not all(re.fullmatch(r"[0-9]{1,3}", str(number)) for number in exclude):
            fields.refuse()
        return exclude


class ISRUC(Dataset):
    """EEG (uV) and ECG (standardised in each epoch) of the 30 s epochs that sleep is scored in."""

    Options = ISRUCOptions
    name = "isruc"
    modalities = ("eeg", "ecg")
    licence = "free for research, see the publisher's page"
    citation = "Khalighi et al., Comput. Methods Programs Biomed. 124:180-192, 2016, doi 10.1016/j.cmpb.2015.10.013"
    how_to_get = (
        "ISRUC-Sleep, https://sleeptight.isr.uc.pt/, subgroup 1: the extracted channels into ExtractedChannels/, the "
        "recordings' archives N.rar unpacked into RawData/N/"
    )
    published = Published(subjects=100, windows={"train": {"wake": 4687, "sleep": 14550}})
    code = (edf, mat)

    def __init__(self, options: ISRUCOptions):
        self.classes = CLASSES[options.classes]
        self.source = options.source
        self.exclude = {int(number) for number in options.exclude}
        self.stages: dict[str, Stages] = {"eeg": options.eeg, "ecg": options.ecg}
        self.root = fields.folder(options.root, "ExtractedChannels/ and RawData/", self.how_to_get)

    def subjects(self) -> Sequence[str]:
        pattern, where = (
            (r"ExtractedChannels/subject(\d+)\.mat", "ExtractedChannels/subject*.mat")
            if self.source == "extracted"
            else (r"RawData/(\d+)/\1\.rec", "RawData/*/*.rec")
        )
        found = (re.fullmatch(pattern, file.relative_to(self.root).as_posix()) for file in self.root.glob(where))
        numbers = {int(match[1]) for match in found if match}
        if not numbers:
            raise InputError(f"data.root {self.root}: no {where} in it; download it ({self.how_to_get})")
        if unknown := self.exclude - numbers:
            raise InputError(
                f"data.exclude names subject {min(unknown)}, {self.root} has {len(numbers)} subjects "
                f"({min(numbers)} to {max(numbers)}); leave it out of the list"
            )
        numbers -= self.exclude
        if not numbers:
            raise InputError(f"data.exclude leaves no subject of {self.root}; shorten it")
        names = [f"{number:03d}" for number in sorted(numbers)]
        for name in names:
            if not self.label_file(name).is_file():
                raise InputError(
                    f"{self.label_file(name)}: missing, the signals of subject {int(name)} are there; add the file or "
                    f"leave the subject out with data.exclude=[{int(name)}]"
                )
        return names

    def spec(self, modality: str) -> SignalSpec:
        rate = prepared_rate(RATE, self.stages[modality])
        channels = {"eeg": tuple(EEG), "ecg": (ECG,)}[modality]
        unit = prepared_unit("uV", self.stages[modality])
        return SignalSpec(modality, channels, rate, round(EPOCH_SECONDS * rate), unit)

    def key(self) -> Mapping[str, Any]:
        files = [file for name in self.subjects() for file in (self.signal_file(name), self.label_file(name))]
        return {
            "files": [(str(f.relative_to(self.root)), f.stat().st_size, f.stat().st_mtime_ns) for f in files],
            "source": self.source,
            "classes": self.classes,
            "stages": [[modality, check_stages(stages)] for modality, stages in self.stages.items()],
            "mne": version("mne"),
        }

    def signal_file(self, subject: str) -> Path:
        number = int(subject)
        if self.source == "extracted":
            return self.root / "ExtractedChannels" / f"subject{number}.mat"
        return self.root / "RawData" / str(number) / f"{number}.rec"

    def label_file(self, subject: str) -> Path:
        return self.root / "RawData" / str(int(subject)) / f"{int(subject)}_1.txt"

    def read(self, subject: str) -> SubjectWindows:
        stage = read_labels(self.label_file(subject))[:-UNSIGNALLED]
        file = self.signal_file(subject)
        eeg, ecg = (read_extracted if self.source == "extracted" else read_raw)(file, len(stage))
        starts = EPOCH_SECONDS * np.arange(len(stage))
        signals = {}
        for modality, recording in (("eeg", eeg), ("ecg", ecg)):
            try:
                signals[modality], _ = prepare_windows(recording, RATE, self.stages[modality], starts, EPOCH_SECONDS)
            except InputError as error:
                raise InputError(f"{file}: {error}") from None
        label = (stage > 0).astype(np.int64) if len(self.classes) == 2 else np.where(stage == 5, 4, stage)
        return SubjectWindows(signals, label, starts, np.full(len(stage), file.stem))


def read_labels(file: Path) -> np.ndarray:
    """The label of each epoch, int64 (n,), of a text with one a line; blank lines at the end are skipped."""
    try:
        lines = file.read_text(encoding="ascii").rstrip().splitlines()
    except FileNotFoundError:
        raise InputError(f"{file}: missing; download it again") from None
    except (UnicodeDecodeError, OSError):
        raise InputError(f"{file}: not a text of labels; download it again") from None
    known = {str(code): code for code in STAGES}
    for number, line in enumerate(lines, start=1):
        if line.strip() not in known:
            raise InputError(
                f"{file}: line {number} is {line.strip()[:20]!r}; a label is one of "
                f"{', '.join(f'{code} ({name})' for code, name in STAGES.items())}; use the publisher's file"
            )
    if len(lines) <= UNSIGNALLED:
        raise InputError(
            f"{file}: {len(lines)} labels, of which the last {UNSIGNALLED} are not used; download it again"
        )
    return np.array([known[line.strip()] for line in lines], dtype=np.int64)


def read_extracted(file: Path, n_epochs: int) -> tuple[np.ndarray, np.ndarray]:
    """EEG (6, T) and ECG (1, T), float32 in uV, of ``n_epochs`` epochs of a ``subjectN.mat``."""
    names = mat.variables(file)
    wanted = [_one_of(file, [f"{electrode}_A{ear}", f"{electrode}_M{ear}"], names) for electrode, ear in EEG.items()]
    wanted.append(_one_of(file, [ECG], names))
    signals = np.empty((len(wanted), n_epochs * EPOCH_SAMPLES), dtype=np.float32)
    for row, name in enumerate(wanted):  # one at a time: a night of doubles takes 43 MB a channel
        signals[row] = _epochs(file, name, n_epochs).reshape(-1)
    return signals[:-1], signals[-1:]


def _one_of(file: Path, accepted: Sequence[str], names: Sequence[str]) -> str:
    found = [name for name in accepted if name in names]
    if not found:
        raise InputError(
            f"{file}: no channel {' or '.join(accepted)} among {', '.join(names) or 'none'}; download it again, or "
            "leave the subject out with data.exclude"
        )
    return found[0]


def _epochs(file: Path, name: str, n_epochs: int) -> np.ndarray:
    values = mat.read_numbers(file, name)
    if values.ndim != 2 or values.shape[1] != EPOCH_SAMPLES:
        raise InputError(
            f"{file}: channel {name} has shape {values.shape}, not (epochs, {EPOCH_SAMPLES}) as 30 s at 200 Hz have; "
            "download it again"
        )
    if len(values) != n_epochs:
        raise InputError(
            f"{file}: channel {name} has {len(values)} epochs, the labels without the last {UNSIGNALLED} are "
            f"{n_epochs}; download both again, or leave the subject out with data.exclude"
        )
    if not np.isfinite(values).all():
        epoch = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
        raise InputError(
            f"{file}: channel {name} holds values that are not finite, the first in epoch {epoch}; download it again"
        )
    return values


def read_raw(file: Path, n_epochs: int) -> tuple[np.ndarray, np.ndarray]:
    """EEG (6, T) and ECG (1, T), float64 in uV, of the first ``n_epochs`` epochs of an ``N.rec``."""
    header = read_header(file)
    by_name: dict[str, int] = {}
    for index, label in enumerate(header.labels):
        by_name.setdefault(re.sub(r"^EEG\s+|\s+", "", label).upper(), index)
    chosen = []
    for electrode, ear in EEG.items():
        chosen.append(by_name[_one_of(file, [f"{electrode}-A{ear}", f"{electrode}-M{ear}"], list(by_name))])
    chosen.append(by_name[_one_of(file, [ECG], list(by_name))])
    for index in chosen:
        if header.rates[index] != RATE:
            raise InputError(
                f"{file}: {header.labels[index]} is sampled at {header.rates[index]:g} Hz, ISRUC has {RATE:g} Hz; use "
                "the publisher's files"
            )
    raw = read_edf(file, [header.labels[index] for index in chosen])
    n_samples = n_epochs * EPOCH_SAMPLES
    if raw.n_times < n_samples:
        raise InputError(
            f"{file}: {raw.n_times / RATE:g} s long, its {n_epochs} labels take {n_samples / RATE:g} s; download both "
            "again, or leave the subject out with data.exclude"
        )
    found = {name: index for index, name in enumerate(raw.ch_names)}
    if missing := [header.labels[index] for index in chosen if header.labels[index] not in found]:
        raise InputError(f"{file}: MNE finds no channel {', '.join(missing)}; download it again")
    signals = raw.get_data(picks=[found[header.labels[index]] for index in chosen], stop=n_samples)
    signals *= 1e6
    return signals[:-1], signals[-1:]
