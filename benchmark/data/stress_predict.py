"""Stress-Predict: PPG (BVP, 64 Hz) and EDA (4 Hz) of an Empatica E4 on the wrist, an hour at rest and under stress.

``Raw_data/SNN/BVP.csv`` and ``EDA.csv`` have a number a line: Unix time of the first sample in s, rate in Hz, samples.
``Processed_data/Improved_All_Combined_hr_rsp_binary.csv`` has a label for each second: 0 baseline and rest, 1 Stroop
test, interview or hyperventilation. Volunteer 1 has none.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from benchmark.config.options import option
from benchmark.config.schema import DataOptions, SplitOptions
from benchmark.data import fields
from benchmark.data.base import Dataset, Published, Recording, Sensor
from benchmark.data.formats import delimited
from benchmark.data.signals.preparation import label_windows, starts_of
from benchmark.errors import InputError

SENSORS: Mapping[str, Sensor] = {"ppg": Sensor(("BVP",), 64.0, "au"), "eda": Sensor(("EDA",), 4.0, "uS")}
SIGNALS = {"ppg": "BVP.csv", "eda": "EDA.csv"}
LABELS = "Processed_data/Improved_All_Combined_hr_rsp_binary.csv"
HEADER = "Participant,HR,respr,Time(sec),Label"
PARTICIPANT, TIME, LABEL = 0, 3, 4
UNLABELLED = "S01"
VOLUNTEERS = 35
LATE = 30.0  # seconds by which signals and labels may begin or end apart; published ones begin 9 s after the signals
FILES = "https://raw.githubusercontent.com/italha-d/Stress-Predict-Dataset/main/"


class StressPredictOptions(DataOptions):
    """Stress-Predict, read from its publisher's texts."""

    name: Literal["stress_predict"] = option("stress_predict", "data set")
    root: str | None = option(None, "folder of Raw_data/ and Processed_data/")
    seconds: float = option(60.0, "window length", ge=1)
    stride: float = option(15.0, fields.STRIDE, gt=0)
    label_share: float = option(
        1.0, "share of a window that must have one label; windows across a change are left out", gt=0.5, le=1
    )
    exclude: list[str] = option([], "subjects to leave out", accepts="a list of subjects such as [S02], or []")
    ppg: fields.Preparation = fields.preparation(
        [{"resample_fft": 125}, {"bandpass_chebyshev": [0.5, 12]}, {"zscore": "recording"}]
    )
    eda: fields.Preparation = fields.preparation([{"resample_poly": 6.5}, {"zscore": "recording"}])
    split: SplitOptions = fields.split(
        SplitOptions(kind="kfold", folds=5, train=0.4, val=0.2, pair=0.4),
        "train, val, pair: fractions of the subjects that are not in test",
    )


class StressPredict(Dataset):
    """PPG and EDA, standardised over the recording, in windows of one label throughout."""

    Options = StressPredictOptions
    options: StressPredictOptions
    name = "stress_predict"
    modalities = ("ppg", "eda")
    sensors = SENSORS
    classes = ("baseline", "stress")
    contents = "Raw_data/SNN/BVP.csv, Raw_data/SNN/EDA.csv and Processed_data/"
    licence = "MIT"
    citation = "Iqbal et al., Sensors 22(21):8135, 2022, doi 10.3390/s22218135"
    how_to_get = (
        "GitHub, https://github.com/italha-d/Stress-Predict-Dataset; python -m benchmark.data fetch stress_predict"
    )
    published = Published(subjects=VOLUNTEERS - 1)
    code = (delimited,)
    libraries = ("pyarrow",)

    @classmethod
    def fetch(cls, folder: Path, url: str = FILES) -> None:
        """The labels, and both signals of everyone who has some, about 55 MB; their publisher states no checksums."""
        from benchmark.common import download

        raw = [f"Raw_data/S{k:02d}/{file}" for k in range(1, VOLUNTEERS + 1) for file in SIGNALS.values()]
        for name in [LABELS, *(name for name in raw if UNLABELLED not in name)]:
            by_hand = f"get the files by hand from {cls.how_to_get.partition(';')[0]}"
            download.fetch(url + name, None, folder / name, by_hand)

    def found(self) -> Sequence[str]:
        """All whose signals are there, but for the one who was published without labels."""
        return [name for name in fields.matches(self.root, "Raw_data/*/", r"Raw_data/(S\d\d)") if name != UNLABELLED]

    def files(self, subject: str) -> Sequence[Path]:
        """Both signals, and the labels of all."""
        return [*(self.root / "Raw_data" / subject / name for name in SIGNALS.values()), self.root / LABELS]

    def recordings(self, subject: str) -> Iterator[Recording]:
        *files, labels = self.files(subject)
        folder, rates = files[0].parent, {modality: sensor.rate for modality, sensor in SENSORS.items()}
        clock = {modality: read_e4(file, rates[modality]) for modality, file in zip(SIGNALS, files, strict=True)}
        first, label = read_labels(labels, subject)
        clock["label"], rates["label"] = (first, np.repeat(label, int(rates["ppg"]))), rates["ppg"]
        signals = {name: cut[None] for name, cut in together(folder, clock, rates).items()}
        (label,) = signals.pop("label")
        duration = min(signal.shape[-1] / rates[modality] for modality, signal in signals.items())
        duration = min(duration, len(label) / rates["label"])
        starts = starts_of(duration, self.seconds, self.options.stride)
        found, pure = label_windows(label, rates["label"], starts, self.seconds, self.options.label_share)
        if not pure.any():
            raise InputError(
                f"{folder}: no {self.seconds:g} s of one label in {duration:g} s; lower data.seconds or download it "
                "again"
            )
        yield Recording(subject, signals, found[pure], starts[pure], folder)


def read_e4(file: Path, rate: float) -> tuple[float, np.ndarray]:
    """The Unix time of the first sample in seconds, and all samples (T,), of a text of the E4; InputError for another
    rate than ``rate`` Hz, and for what is none."""
    (values,) = delimited.read_columns(file, [0], 1)
    if len(values) < 3:
        raise InputError(f"{file}: {len(values)} lines, not a start, a rate and samples; download it again")
    if values[1] != rate:
        raise InputError(f"{file}: line 2 says {values[1]:g} Hz, the E4 has {rate:g} Hz; use the publisher's files")
    return float(values[0]), values[2:]


def read_labels(file: Path, subject: str) -> tuple[float, np.ndarray]:
    """The Unix second of a subject's first label, and the labels (T,), int64, of that second and those after it."""
    who, time, label = delimited.read_columns(file, [PARTICIPANT, TIME, LABEL], HEADER.count(",") + 1, HEADER)
    mine = np.flatnonzero(who == int(subject[1:]))
    if not len(mine):
        raise InputError(
            f"{file}: no label of participant {int(subject[1:])}; leave the subject out with data.exclude=[{subject}]"
        )
    time, label = time[mine], label[mine]
    for wrong, said in (
        (np.append(False, np.diff(time) != 1), "a second after the one before"),
        (~np.isin(label, (0, 1)), "with a label of 0 or 1"),
    ):
        if wrong.any():
            k = int(wrong.argmax())
            raise InputError(
                f"{file}: line {mine[k] + 2} has the time {time[k]:.0f} and the label {label[k]:g}, and should be "
                f"{said}; download it again"
            )
    return float(time[0]), label.astype(np.int64)


def together(
    folder: Path, clock: Mapping[str, tuple[float, np.ndarray]], rates: Mapping[str, float]
) -> dict[str, np.ndarray]:
    """What each of several series (start in s, values (T,)) holds of the time that all of them cover, to the nearest
    sample; InputError, naming ``folder``, where they begin or end more than ``LATE`` apart."""
    begin = {name: start for name, (start, _) in clock.items()}
    end = {name: start + len(values) / rates[name] for name, (start, values) in clock.items()}
    first, last = max(begin.values()), min(end.values())
    if first - min(begin.values()) > LATE or max(end.values()) - last > LATE:
        spans = ", ".join(f"{name} from {begin[name] - first:g} to {end[name] - first:g} s" for name in clock)
        raise InputError(
            f"{folder}: on the clock it has {spans}; they must begin and end within {LATE:g} s of each other, download "
            "them again"
        )
    part = {}
    for name, (start, values) in clock.items():
        skipped = round((first - start) * rates[name])
        part[name] = values[skipped : skipped + round((last - first) * rates[name])]
    return part
