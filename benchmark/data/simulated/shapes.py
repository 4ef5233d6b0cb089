"""What a simulated data set looks like: the shape of a published one, or one of its own."""

from collections.abc import Mapping
from dataclasses import dataclass

from benchmark.data import registry
from benchmark.data.base import Sensor
from benchmark.data.signals.preparation import Stages


@dataclass(frozen=True)
class Shape:
    """What a simulated data set looks like, unless its options say otherwise."""

    source: str  # the data set whose preparation it has
    classes: tuple[str, ...]
    subjects: int
    condition_seconds: float
    seconds: float
    stride: float
    sensors: Mapping[str, Sensor]


SESSION = ("baseline", "stress", "amusement")
ELECTRODES = ("F3", "C3", "O1", "F4", "C4", "O2")
SHAPES: Mapping[str | None, Shape] = {
    None: Shape(
        "wesad", SESSION, 24, 100.0, 10.0, 10.0, {"ecg": Sensor(("II",), 250, "mV"), "ppg": Sensor(("PPG",), 64, "au")}
    ),
    "wesad": Shape(
        "wesad", SESSION, 15, 300.0, 60.0, 15.0, {"ecg": Sensor(("ECG",), 700, "mV"), "ppg": Sensor(("BVP",), 64, "au")}
    ),
    "isruc": Shape(
        "isruc",
        ("wake", "sleep"),
        16,
        900.0,
        30.0,
        30.0,
        {"eeg": Sensor(ELECTRODES, 200, "uV"), "ecg": Sensor(("X2",), 200, "uV")},
    ),
    "fog": Shape(
        "fog",
        ("walking", "freezing"),
        12,
        120.0,
        3.0,
        1.5,
        {"eeg": Sensor(ELECTRODES, 500, "uV"), "emg": Sensor(("EMG1", "EMG2", "EMG3"), 500, "uV")},
    ),
}


def published_stages(shape: Shape, modality: str) -> Stages:
    """The preparation of the data set that is imitated."""
    return getattr(registry.options_class(shape.source)(), modality)
