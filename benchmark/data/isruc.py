"""ISRUC-Sleep, subgroup 1: a night's EEG (6 channels) and ECG at 200 Hz, scored in epochs of 30 s.

``ExtractedChannels/subjectN.mat`` holds an array (epochs, 6000) for each channel, ``RawData/N/N_1.txt`` the first
scorer's label of each epoch, one a line; the extracted channels lack the last 30 epochs. ``RawData/N/N.rec`` is the
same night unfiltered, as EDF.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from benchmark.config.options import option
from benchmark.config.schema import DataOptions, SplitOptions
from benchmark.data import fields
from benchmark.data.base import Dataset, Published, Recording, Sensor
from benchmark.data.formats import edf, mat, regular
from benchmark.data.formats.edf import read_edf, read_header
from benchmark.errors import InputError

RATE = 200.0
EPOCH_SECONDS = 30.0
EPOCH_SAMPLES = 6000
LARGEST_LABELS = 1 << 16  # bytes: a night has about 1000 epochs
UNSIGNALLED = 30  # labels at the end that the extracted channels have no epoch for
# Electrode and the ear or mastoid it is recorded against.
EEG = {"F3": "2", "C3": "2", "O1": "2", "F4": "1", "C4": "1", "O2": "1"}
ECG = "X2"
SENSORS: Mapping[str, Sensor] = {"eeg": Sensor(tuple(EEG), RATE, "uV"), "ecg": Sensor((ECG,), RATE, "uV")}
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
    exclude: list[Annotated[int, Field(ge=0)] | Annotated[str, Field(pattern="^[0-9]{1,3}$")]] = option(
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


class ISRUC(Dataset):
    """EEG (uV) and ECG (standardised in each epoch) of the 30 s epochs that sleep is scored in."""

    Options = ISRUCOptions
    options: ISRUCOptions
    name = "isruc"
    modalities = ("eeg", "ecg")
    sensors = SENSORS
    seconds = EPOCH_SECONDS
    licence = "free for research, see the publisher's page"
    citation = "Khalighi et al., Comput. Methods Programs Biomed. 124:180-192, 2016, doi 10.1016/j.cmpb.2015.10.013"
    how_to_get = (
        "ISRUC-Sleep, https://sleeptight.isr.uc.pt/, subgroup 1: the extracted channels into ExtractedChannels/, the "
        "recordings' archives N.rar unpacked into RawData/N/"
    )
    published = Published(subjects=100, windows={"train": {"wake": 4687, "sleep": 14550}})
    code = (edf, mat)

    def __init__(self, options: ISRUCOptions):
        signals = "ExtractedChannels/subjectN.mat" if options.source == "extracted" else "RawData/N/N.rec"
        self.contents = f"{signals} and RawData/N/N_1.txt"
        super().__init__(options)
        self.classes = CLASSES[options.classes]
        self.excluded = frozenset(f"{int(number):03d}" for number in options.exclude)

    def found(self) -> Sequence[str]:
        where, pattern = "ExtractedChannels/*.mat", r"ExtractedChannels/subject(\d+)\.mat"
        if self.options.source == "raw":
            where, pattern = "RawData/*/*.rec", r"RawData/(\d+)/\1\.rec"
        return sorted({f"{int(number):03d}" for number in fields.matches(self.root, where, pattern)})

    def files(self, subject: str) -> Sequence[Path]:
        """Signals and labels."""
        number = int(subject)
        raw = self.root / "RawData" / str(number)
        extracted = self.root / "ExtractedChannels" / f"subject{number}.mat"
        return [extracted if self.options.source == "extracted" else raw / f"{number}.rec", raw / f"{number}_1.txt"]

    def recordings(self, subject: str) -> Iterator[Recording]:
        file, labels = self.files(subject)
        stage = read_labels(labels)[:-UNSIGNALLED]
        eeg, ecg = (read_extracted if self.options.source == "extracted" else read_raw)(file, len(stage))
        label = (stage > 0).astype(np.int64) if len(self.classes) == 2 else np.where(stage == 5, 4, stage)
        yield Recording(file.stem, {"eeg": eeg, "ecg": ecg}, label, EPOCH_SECONDS * np.arange(len(stage)), file)


def read_labels(file: Path) -> np.ndarray:
    """The label of each epoch, int64 (n,), of a text with one a line; blank lines at the end are skipped."""
    regular.size_of(file, LARGEST_LABELS)
    try:
        lines = file.read_text(encoding="ascii").rstrip().splitlines()
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
