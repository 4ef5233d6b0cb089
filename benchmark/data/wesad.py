"""WESAD: chest ECG at 700 Hz and wrist PPG (BVP) at 64 Hz at baseline, under stress and amused.

``SN/SN.pkl`` is a pickle that Python 2 wrote: a dict with ``signal.chest.ECG`` (T, 1), ``signal.wrist.BVP`` (T', 1)
and ``label`` (T,), which has the chest's rate: 0 between conditions, 1 baseline, 2 stress, 3 amusement, 4 meditation.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmark.config.options import option
from benchmark.config.schema import DataOptions, SplitOptions
from benchmark.data import fields
from benchmark.data.base import Dataset, Published, Recording, Sensor
from benchmark.data.formats import unpickle
from benchmark.data.signals.preparation import label_windows, starts_of
from benchmark.errors import InputError

SENSORS: Mapping[str, Sensor] = {"ecg": Sensor(("ECG",), 700.0, "mV"), "ppg": Sensor(("BVP",), 64.0, "au")}
LABEL_RATE = SENSORS["ecg"].rate
PLACES = {"ecg": ("signal", "chest", "ECG"), "ppg": ("signal", "wrist", "BVP")}
CONDITIONS = {1: "baseline", 2: "stress", 3: "amusement"}
KNOWN_LABELS = range(8)
LATE = 1.0  # seconds by which the two devices may differ in length


class WESADOptions(DataOptions):
    """WESAD, read from its publisher's pickles."""

    name: Literal["wesad"] = option("wesad", "data set")
    root: str | None = option(None, "folder of S2/S2.pkl to S17/S17.pkl")
    seconds: float = option(60.0, "window length", ge=1)
    stride: float = option(5.0, fields.STRIDE, gt=0)
    label_share: float = option(1.0, "share of a window's samples that must have one label", gt=0.5, le=1)
    exclude: list[str] = option([], "subjects to leave out", accepts="a list of subjects such as [S2], or []")
    ecg: fields.Preparation = fields.preparation(
        [{"resample_linear": 500}, {"bandpass_fir": [0.05, 47]}, {"resample_linear": 100}, {"zscore": "recording"}],
    )
    ppg: fields.Preparation = fields.preparation(
        [{"resample_fft": 125}, {"bandpass_chebyshev": [0.5, 12]}, {"zscore": "recording"}]
    )
    split: SplitOptions = fields.split(
        SplitOptions(kind="paper", train=5, val=2, pair=5, test=3, folds=5), "of subjects"
    )


class WESAD(Dataset):
    """ECG and PPG, standardised over the recording, in windows of one condition throughout."""

    Options = WESADOptions
    options: WESADOptions
    name = "wesad"
    modalities = ("ecg", "ppg")
    sensors = SENSORS
    classes = tuple(CONDITIONS.values())
    contents = "S2/S2.pkl to S17/S17.pkl"
    licence = "for research and other non-commercial use, see the publisher's page"
    citation = "Schmidt et al., Proc. ACM ICMI 2018:400-408, doi 10.1145/3242969.3242985"
    how_to_get = (
        "WESAD, https://ubi29.informatik.uni-siegen.de/usi/data_wesad.html, or https://doi.org/10.24432/C57K5T; "
        "unpacked it has S2/S2.pkl to S17/S17.pkl"
    )
    published = Published(subjects=15, windows={"train": {"baseline": 1112, "stress": 607, "amusement": 312}})
    code = (unpickle,)

    def found(self) -> Sequence[str]:
        return sorted(fields.matches(self.root, "*/", r"(S\d+)"), key=lambda name: int(name[1:]))

    def files(self, subject: str) -> Sequence[Path]:
        return [self.root / subject / f"{subject}.pkl"]

    def recordings(self, subject: str) -> Iterator[Recording]:
        (file,) = self.files(subject)
        signals, label = read_pickle(file)
        duration = min(_durations(signals, label).values())
        starts = starts_of(duration, self.seconds, self.options.stride)
        found, pure = label_windows(label, LABEL_RATE, starts, self.seconds, self.options.label_share)
        kept = pure & np.isin(found, list(CONDITIONS))
        if not kept.any():
            raise InputError(
                f"{file}: no {self.seconds:g} s of baseline, stress or amusement in {duration:g} s; lower data.seconds "
                "or download it again"
            )
        yield Recording(file.stem, signals, found[kept] - 1, starts[kept], file)


def read_pickle(file: Path) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """ECG (1, T) in mV and PPG (1, T'), float64, and the labels (T,) at the ECG's rate, int64.

    Raises
    ------
    InputError
        For a pickle that holds anything but plain data, or not these three arrays of matching lengths.
    """
    content = unpickle.load(file, "a subject's SN.pkl of WESAD")
    signals = {modality: _array(file, content, *path)[None] for modality, path in PLACES.items()}
    label = _array(file, content, "label")
    if not np.isin(label, list(KNOWN_LABELS)).all():
        wrong = label[~np.isin(label, list(KNOWN_LABELS))][0]
        raise InputError(f"{file}: label holds {wrong:g}, labels are 0 to {KNOWN_LABELS[-1]}; download it again")
    for modality, signal in signals.items():
        if not np.isfinite(signal).all():
            where = np.flatnonzero(~np.isfinite(signal))[0] / SENSORS[modality].rate
            raise InputError(
                f"{file}: {'.'.join(PLACES[modality])} holds values that are not finite, the first at {where:g} s; "
                "download it again"
            )
    seconds = _durations(signals, label)
    if max(seconds.values()) - min(seconds.values()) > LATE:
        raise InputError(
            f"{file}: ECG at {SENSORS['ecg'].rate:g} Hz lasts {seconds['ecg']:g} s, BVP at {SENSORS['ppg'].rate:g} Hz "
            f"{seconds['ppg']:g} s, label {seconds['label']:g} s; they must be of one length, download it again"
        )
    return signals, label.astype(np.int64)


def _durations(signals: Mapping[str, np.ndarray], label: np.ndarray) -> dict[str, float]:
    """Seconds that each of them lasts."""
    seconds = {modality: signal.shape[-1] / SENSORS[modality].rate for modality, signal in signals.items()}
    return {**seconds, "label": len(label) / LABEL_RATE}


def _array(file: Path, content: Any, *path: str) -> np.ndarray:
    """A column of numbers (T,), float64."""
    name = ".".join(path)
    try:
        values = unpickle.item(content, *path)
    except KeyError as error:
        raise InputError(f"{file}: no {error.args[0]} in it; use a subject's SN.pkl of WESAD") from None
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiub":
        found = values.dtype if isinstance(values, np.ndarray) else type(values).__name__.lstrip("_")
        raise InputError(f"{file}: {name} is {found}, not an array of numbers; use a subject's SN.pkl of WESAD")
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1 or not len(values):
        raise InputError(f"{file}: {name} has shape {values.shape}, not (samples, 1); use a subject's SN.pkl of WESAD")
    return values.astype(np.float64)
