"""What is known about one modality's windows before anything is read from them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SignalSpec:
    """Modality, channel names, sampling rate (Hz), window length (samples) and unit of a signal."""

    modality: str  # "eeg" | "ecg" | "ppg" | "emg" | "eda"
    channels: tuple[str, ...]
    rate: float
    n_samples: int
    unit: str  # "uV", "mV", or "z" after standardisation

    @property
    def n_channels(self) -> int:
        return len(self.channels)

    @property
    def seconds(self) -> float:
        return self.n_samples / self.rate
