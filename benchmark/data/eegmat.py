"""EEGMAT (PhysioNet): 19-channel EEG and one ECG lead at rest and during mental arithmetic, 500 Hz, as EDF.

``SubjectNN_1.edf`` is rest (about 3 minutes), ``SubjectNN_2.edf`` serial subtraction (62 s).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from pydantic import field_validator, model_validator

from benchmark.config.options import option
from benchmark.config.schema import DataOptions, SplitOptions
from benchmark.data import fields
from benchmark.data.base import Dataset, Published, Recording, Sensor
from benchmark.data.formats import edf
from benchmark.data.formats.edf import read_edf
from benchmark.data.signals.preparation import starts_of
from benchmark.errors import InputError

if TYPE_CHECKING:
    from mne.io import BaseRaw

# fmt: off
CHANNELS = (
    "Fp1", "Fp2", "F3", "F4", "F7", "F8", "T3", "T4", "C3", "C4", "T5", "T6", "P3", "P4", "O1", "O2", "Fz", "Cz", "Pz",
)
# fmt: on
RATE = 500.0
REFERENCE = "A2-A1"  # one ear against the other: no scalp channel
SENSORS: Mapping[str, Sensor] = {"eeg": Sensor(CHANNELS, RATE, "uV"), "ecg": Sensor(("ECG",), RATE, "mV")}
LARGEST = 1 << 25  # bytes: three minutes take 4 MB
FILES = "https://physionet.org/files/eegmat/1.0.0/"


class EEGMATOptions(DataOptions):
    """EEGMAT, read from the EDF files of PhysioNet."""

    name: Literal["eegmat"] = option("eegmat", "data set")
    root: str | None = option(None, "folder of SubjectNN_1.edf and SubjectNN_2.edf")
    rest_seconds: float = option(60.0, "the last so many seconds of rest are used", ge=1)
    task_seconds: float = option(60.0, "the first so many seconds of the task", ge=1)
    seconds: float = option(10.0, "window length", ge=1)
    stride: float = option(5.0, fields.STRIDE, gt=0)
    reference: Literal["average"] | None = option(
        None, "null: as recorded, against the ears; average: over the 19 channels"
    )
    eeg_bandpass: list[float] | None = option(
        None,
        "the files are band-passed at 0.5-45 Hz already",
        accepts=f"[low, high] in Hz with 0 < low < high < {RATE / 2:g}",
    )
    eeg: fields.Preparation = fields.preparation([{"resample_poly": 200}])
    ecg: fields.Preparation = fields.preparation(
        [{"bandpass_fir": [0.05, 47]}, {"resample_linear": 100}, {"zscore": "recording"}]
    )
    split: SplitOptions = fields.split(
        SplitOptions(kind="kfold", folds=5, train=0.4, val=0.2, pair=0.4),
        "train, val, pair: fractions of the subjects that are not in test",
    )

    @field_validator("eeg_bandpass")
    @classmethod
    def _check_band(cls, band: list[float] | None) -> list[float] | None:
        if band is not None and (len(band) != 2 or not 0 < band[0] < band[1] < RATE / 2):
            fields.refuse()
        return band

    @model_validator(mode="after")
    def _check_kept(self) -> Self:
        for name, kept in (("rest_seconds", self.rest_seconds), ("task_seconds", self.task_seconds)):
            if kept < self.seconds:
                raise ValueError(
                    f"data.{name}={kept:g} cannot be used; give a number of at least data.seconds, {self.seconds:g}"
                )
        return self


class EEGMAT(Dataset):
    """EEG (uV) and ECG (mV, usually standardised) of the same 10 s or so, one class per recording."""

    Options = EEGMATOptions
    options: EEGMATOptions
    name = "eegmat"
    modalities = ("eeg", "ecg")
    sensors = SENSORS
    classes = ("rest", "arithmetic")
    contents = "SubjectNN_1.edf and SubjectNN_2.edf"
    licence = "Open Data Commons Attribution License 1.0"
    citation = "Zyma et al., Data 4(1):14, 2019, doi 10.3390/data4010014; PhysioNet eegmat 1.0.0, doi 10.13026/C2JQ1P"
    how_to_get = "PhysioNet, https://physionet.org/content/eegmat/1.0.0/; python -m benchmark.data fetch eegmat"
    published = Published(subjects=36)
    code = (edf,)
    leave_out = "remove the other recording of {}"

    @classmethod
    def fetch(cls, folder: Path, url: str = FILES) -> None:
        """All recordings of PhysioNet, held against its list of checksums; about 175 MB."""
        from benchmark.common import download

        by_hand = f"get the files by hand from {cls.how_to_get.partition(';')[0]}"
        wanted = download.sums(download.text(f"{url}SHA256SUMS.txt", by_hand))
        files = [name for name in wanted if re.fullmatch(r"Subject\d+_[12]\.edf|subject-info\.csv", name)]
        if not files:
            raise InputError(f"{url}SHA256SUMS.txt: names no recording; {by_hand}")
        for name in sorted(files):
            download.fetch(url + name, wanted[name], folder / name, by_hand)

    def found(self) -> Sequence[str]:
        return fields.matches(self.root, "*.edf", r"(Subject\d+)_[12]\.edf")

    def files(self, subject: str) -> Sequence[Path]:
        """Rest and task."""
        return [self.root / f"{subject}_{number}.edf" for number in (1, 2)]

    def recordings(self, subject: str) -> Iterator[Recording]:
        for label, file in enumerate(self.files(subject)):
            raw = read_edf(file, largest=LARGEST)
            start = self._starts(file, self.classes[label], raw.n_times / RATE)
            eeg, ecg = self._channels(file, raw)
            yield Recording(file.stem, {"eeg": eeg, "ecg": ecg}, np.full(len(start), label), start, file)

    def _starts(self, file: Path, name: str, duration: float) -> np.ndarray:
        """Seconds at which the windows begin: in the last ``rest_seconds`` of rest, the first ``task_seconds`` of the
        task. A recording that is shorter gives what it has."""
        kept = min(self.options.rest_seconds if name == "rest" else self.options.task_seconds, duration)
        if kept < self.seconds:
            raise InputError(f"{file}: {duration:g} s long, a window takes {self.seconds:g} s; lower data.seconds")
        return (duration - kept if name == "rest" else 0.0) + starts_of(kept, self.seconds, self.options.stride)

    def _channels(self, file: Path, raw: "BaseRaw") -> tuple[np.ndarray, np.ndarray]:
        """EEG (19, T) in uV, ordered as ``CHANNELS`` whatever their order in the file, and ECG (1, T) in mV."""
        cleaned = {name: re.sub(r"^(EEG|ECG)\s+", "", name).strip() for name in raw.ch_names}
        ecg = [name for name, short in cleaned.items() if short.upper() == "ECG" or name.upper().startswith("ECG")]
        eeg = {short: name for name, short in cleaned.items() if name not in ecg and short != REFERENCE}
        if not ecg:
            raise InputError(f"{file}: no ECG channel among {', '.join(raw.ch_names)}; use the files of PhysioNet")
        if missing := [name for name in CHANNELS if name not in eeg]:
            raise InputError(
                f"{file}: no EEG channel {', '.join(missing)} among {', '.join(raw.ch_names)}; "
                "use the files of PhysioNet"
            )
        if raw.info["sfreq"] != RATE:
            raise InputError(
                f"{file}: sampled at {raw.info['sfreq']:g} Hz, EEGMAT has {RATE:g} Hz; use PhysioNet's files"
            )
        heart = raw.get_data(picks=ecg[:1]) * 1e3
        scalp = raw.pick([eeg[name] for name in CHANNELS])
        if self.options.eeg_bandpass:
            scalp.filter(*self.options.eeg_bandpass, picks="all", verbose="error")
        if self.options.reference == "average":
            scalp.set_eeg_reference("average", verbose="error")
        return scalp.get_data(picks="all") * 1e6, heart
