"""What a simulated data set looks like: the shape of a published one, or one of its own."""

from collections.abc import Mapping
from dataclasses import dataclass

from benchmark.data import registry
from benchmark.data.signals.preparation import DEFAULTS, Stages


@dataclass(frozen=True)
class Shape:
    """What a simulated data set looks like, unless its options say otherwise."""

    source: str | None  # the data set whose preparation it has
    classes: tuple[str, ...]
    subjects: int
    condition_seconds: float
    seconds: float
    stride: float
    rates: Mapping[str, float]  # Hz, by modality, before preparation
    channels: Mapping[str, tuple[str, ...]]
    units: Mapping[str, str]


SESSION = ("baseline", "stress", "amusement")
ELECTRODES = ("F3", "C3", "O1", "F4", "C4", "O2")
HEART = {"ecg": "mV", "ppg": "au"}
SHAPES: Mapping[str | None, Shape] = {
    None: Shape(
        None, SESSION, 24, 100.0, 10.0, 10.0, {"ecg": 250, "ppg": 64}, {"ecg": ("II",), "ppg": ("PPG",)}, HEART
    ),
    "wesad": Shape(
        "wesad", SESSION, 15, 300.0, 60.0, 15.0, {"ecg": 700, "ppg": 64}, {"ecg": ("ECG",), "ppg": ("BVP",)}, HEART
    ),
    "isruc": Shape(
        "isruc",
        ("wake", "sleep"),
        16,
        900.0,
        30.0,
        30.0,
        {"eeg": 200, "ecg": 200},
        {"eeg": ELECTRODES, "ecg": ("X2",)},
        {"eeg": "uV", "ecg": "uV"},
    ),
    "fog": Shape(
        "fog",
        ("walking", "freezing"),
        12,
        120.0,
        3.0,
        1.5,
        {"eeg": 500, "emg": 500},
        {"eeg": ELECTRODES, "emg": ("EMG1", "EMG2", "EMG3")},
        {"eeg": "uV", "emg": "uV"},
    ),
}


def published_stages(shape: Shape, modality: str) -> Stages:
    """The preparation of the data set that is imitated; without one, the modality's own."""
    if shape.source is None:
        return DEFAULTS[modality]
    return getattr(registry.options_class(shape.source)(), modality)
