"""TROIKA (IEEE Signal Processing Cup 2015): chest ECG and two wrist PPG at 125 Hz of people who run on a treadmill.

``DATA_NN_TYPETT.mat`` holds ``sig`` (6, T): ECG, two PPG, three axes of acceleration; ``REF_NN_TYPETT.mat`` (in the
publisher's archive ``DATA_NN_TYPETT_BPMtrace.mat``) holds ``BPM0``, the heart rate in each 8 s, every 2 s, which was
taken from the ECG. NN is the person: 04 ran twice.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from benchmark.config.options import option
from benchmark.config.schema import DataOptions, SplitOptions
from benchmark.data import fields
from benchmark.data.base import Dataset, Published, Recording, Sensor
from benchmark.data.formats import mat
from benchmark.data.signals.preparation import starts_of
from benchmark.errors import InputError

RATE = 125.0
SECONDS, STRIDE = 8.0, 2.0  # of the windows that have a reference
ROWS = 6
ZONES = (125.0, 150.0)  # beats a minute at which a zone begins
PLAUSIBLE = (30.0, 240.0)  # beats a minute
LARGEST = 1 << 24  # bytes: five minutes take 2 MB uncompressed
SENSORS: Mapping[str, Sensor] = {"ecg": Sensor(("ECG",), RATE, "au"), "ppg": Sensor(("PPG",), RATE, "au")}


class TROIKAOptions(DataOptions):
    """TROIKA, read from MATLAB files."""

    name: Literal["troika"] = option("troika", "data set")
    root: str | None = option(None, "folder of DATA_NN_TYPETT.mat and REF_NN_TYPETT.mat")
    sensor: Literal["first", "second"] = option("first", "which of the two PPG sensors on the wrist")
    exclude: list[str] = option([], "subjects to leave out", accepts="a list of subjects such as [S04], or []")
    ecg: fields.Preparation = fields.preparation(
        [{"resample_linear": 500}, {"bandpass_fir": [0.05, 47]}, {"resample_linear": 100}, {"zscore": "recording"}]
    )
    ppg: fields.Preparation = fields.preparation([{"bandpass_chebyshev": [0.5, 12]}, {"zscore": "recording"}])
    split: SplitOptions = fields.split(
        SplitOptions(kind="kfold", folds=5, train=0.4, val=0.2, pair=0.4),
        "train, val, pair: fractions of the subjects that are not in test",
    )


class TROIKA(Dataset):
    """ECG and PPG, standardised over the run, in the windows that have a reference; classes are zones of it."""

    Options = TROIKAOptions
    options: TROIKAOptions
    name = "troika"
    modalities = ("ecg", "ppg")
    sensors = SENSORS
    classes = ("below 125", "125 to 150", "150 and more")
    seconds = SECONDS
    contents = "DATA_NN_TYPETT.mat and REF_NN_TYPETT.mat"
    licence = "none is stated with the files; published for the IEEE Signal Processing Cup 2015"
    citation = "Zhang, Pi and Liu, IEEE Trans. Biomed. Eng. 62(2):522-531, 2015, doi 10.1109/TBME.2014.2359372"
    how_to_get = (
        "the author's page, https://sites.google.com/site/researchbyzhang/ieeespcup2015, has competition_data.zip; "
        "unpacked, Training_data/ is the folder"
    )
    published = Published(subjects=12)
    code = (mat,)

    def found(self) -> Sequence[str]:
        return sorted({f"S{run[:2]}" for run in self._runs()})

    def files(self, subject: str) -> Sequence[Path]:
        """Signals and reference of each run of the subject, one after the other."""
        files = []
        for run in self._runs():
            if run.startswith(subject[1:]):
                traces = [self.root / f"REF_{run}.mat", self.root / f"DATA_{run}_BPMtrace.mat"]
                files += [self.root / f"DATA_{run}.mat", next((file for file in traces if file.exists()), traces[0])]
        return files

    def recordings(self, subject: str) -> Iterator[Recording]:
        files = self.files(subject)
        for file, reference in zip(files[::2], files[1::2], strict=True):
            signals, rates = read_signals(file), read_reference(reference)
            starts = starts_of(signals.shape[-1] / RATE, SECONDS, STRIDE)
            if len(rates) != len(starts):
                raise InputError(
                    f"{reference}: {len(rates)} heart rates, {file.name} has {len(starts)} windows of {SECONDS:g} s "
                    f"every {STRIDE:g} s at {RATE:g} Hz; they are not of one run, download both again"
                )
            ppg = 1 + ("first", "second").index(self.options.sensor)
            parts = {"ecg": signals[:1], "ppg": signals[ppg : ppg + 1]}
            yield Recording(file.stem, parts, np.digitize(rates, ZONES), starts, file)

    def _runs(self) -> list[str]:
        """Runs of which signals or reference are there: ``04_TYPE01``."""
        return fields.matches(self.root, "*.mat", r"(?:DATA|REF)_(\d\d_TYPE\d\d)(?:_BPMtrace)?\.mat")


def read_signals(file: Path) -> np.ndarray:
    """All rows (6, T) of a run, float64; InputError for other shapes and values."""
    signals = _numbers(file, "sig")
    if signals.ndim != 2 or signals.shape[0] != ROWS or signals.shape[1] < SECONDS * RATE:
        raise InputError(
            f"{file}: sig has shape {signals.shape}, not ({ROWS}, at least {SECONDS * RATE:g} samples); download it "
            "again"
        )
    return signals


def read_reference(file: Path) -> np.ndarray:
    """The heart rate of each window (n,), beats a minute; InputError for other shapes and values."""
    rates = _numbers(file, "BPM0")
    if rates.size != max(rates.shape, default=0):
        raise InputError(f"{file}: BPM0 has shape {rates.shape}, not (windows, 1); download it again")
    rates = rates.reshape(-1)
    if len(wrong := np.flatnonzero((rates < PLAUSIBLE[0]) | (rates > PLAUSIBLE[1]))):
        raise InputError(
            f"{file}: the heart rate of window {wrong[0]} is {rates[wrong[0]]:g} a minute, not {PLAUSIBLE[0]:g} to "
            f"{PLAUSIBLE[1]:g}; download it again"
        )
    return rates


def _numbers(file: Path, name: str) -> np.ndarray:
    """A variable of finite numbers, float64."""
    names = mat.variables(file, LARGEST)
    if name not in names:
        raise InputError(f"{file}: no variable {name} among {', '.join(names) or 'none'}; download it again")
    values = mat.read_numbers(file, name).astype(np.float64)
    if not np.isfinite(values).all():
        raise InputError(f"{file}: {name} holds values that are not finite; download it again")
    return values
