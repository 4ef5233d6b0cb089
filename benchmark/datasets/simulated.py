"""Simulated ECG and PPG of the same hearts in three states: what runs where no recordings are.

A subject is one session: baseline, then stress and amusement in either order, with pauses in which the body changes
over. A latent state (heart rate, its variability with the breath and with the 0.1 Hz rhythm, breathing, vascular tone)
drives one series of beats. Both sensors see those beats: the ECG as a sum of Gaussians over the phase between R peaks
(the shape parameters of McSharry et al. 2003, doi 10.1109/TBME.2003.808805), the PPG as a systolic and a reflected
wave that arrive one pulse transit time later. Subjects differ in level and in how strongly they react, and both
sensors have noise and movement of their own, so that the states overlap.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from scipy import signal as sps
from scipy.ndimage import gaussian_filter1d

from benchmark.datasets import options
from benchmark.datasets.base import Dataset, SubjectWindows
from benchmark.preparation import Stages, check_stages, prepare_windows, prepared_rate, prepared_unit
from benchmark.signals import SignalSpec

LATENT_RATE = 50.0  # Hz, of the latent state
PAUSE_SECONDS = 12.0  # before each condition
MARGIN_SECONDS = 4.0  # simulated before and after, so that filters have their edges outside of the windows

# P, Q, R, S, T: angle within the beat (rad), amplitude and width (rad) in ECGSYN's dynamical model, whose bumps have
# the height amplitude * width^2. Here they are normalised to R = 1 mV.
WAVE_ANGLE = np.array([-np.pi / 3, -np.pi / 12, 0.0, np.pi / 12, np.pi / 2])
WAVE_WIDTH = np.array([0.25, 0.1, 0.1, 0.1, 0.4])
WAVE_HEIGHT = np.array([1.2, -5.0, 30.0, -7.5, 0.75]) * WAVE_WIDTH**2 / (30.0 * 0.1**2)
T_WAVE = 4


@dataclass(frozen=True)
class Latent:
    """The state of the body: arrays over time at ``LATENT_RATE``, or one number per field for a whole condition."""

    heart_rate: Any  # beats a minute
    respiratory: Any  # heart rate's swing with the breath, beats a minute
    mayer: Any  # heart rate's swing at about 0.1 Hz, beats a minute
    breathing_rate: Any  # breaths a minute
    irregularity: Any  # of the breath, standard deviation of its log rate
    pulse_amplitude: Any  # of the PPG; falls as the vessels narrow
    reflection: Any  # height of the reflected wave over that of the systolic one
    transit: Any  # from the R peak to the foot of the pulse, s
    t_wave: Any  # height of the T wave over its normal one


BASELINE = Latent(68.0, 2.6, 1.8, 14.0, 0.10, 1.0, 0.42, 0.24, 1.0)
# How a state changes each field: heart rate and transit time by addition, the others by the factor exp(...).
CHANGE = {
    "baseline": Latent(0, 0, 0, 0, 0, 0, 0, 0, 0),
    "stress": Latent(13.5, -0.60, 0.0, 0.35, 0.2, -0.50, -0.40, -0.02, -0.38),
    "amusement": Latent(5.0, 0.38, 0.5, 0.15, 1.1, -0.15, 0.2, -0.005, 0.2),
}
BETWEEN_SUBJECTS = Latent(6.0, 0.30, 0.25, 0.12, 0.2, 0.25, 0.22, 0.02, 0.15)
BETWEEN_CONDITIONS = Latent(2.0, 0.15, 0.15, 0.06, 0.2, 0.12, 0.12, 0.005, 0.08)
WITHIN_CONDITION = Latent(1.8, 0.15, 0.20, 0.06, 0.0, 0.12, 0.10, 0.005, 0.06)
ADDITIVE = frozenset({"heart_rate", "transit"})
FLUCTUATION_SECONDS = 12.0  # time scale of WITHIN_CONDITION
TRANSITION_SECONDS = 3.0


@dataclass(frozen=True)
class Session:
    """One subject's recording before preparation. ``signals[m]`` is (C, T) in ``unit(m)`` at ``rate[m]`` Hz."""

    signals: Mapping[str, np.ndarray]
    rate: Mapping[str, float]
    beats: np.ndarray  # (K,) seconds of the R peaks
    feet: np.ndarray  # (K,) seconds at which each beat's pulse arrives at the PPG sensor
    onset: Mapping[str, float]  # seconds at which each condition begins
    latent: Latent


class Simulated(Dataset):
    """ECG (mV) and PPG (arbitrary unit) of simulated subjects; nothing to download, the same in every run."""

    name = "simulated"
    modalities = ("ecg", "ppg")
    licence = "none needed: made by this program"
    citation = "McSharry et al., IEEE Trans. Biomed. Eng. 50(3):289-294, 2003, for the shape of the ECG"
    how_to_get = "nothing to get: it is computed"

    def __init__(
        self,
        *,
        subjects: int,
        condition_seconds: float,
        seconds: float,
        stride: float,
        effect: float,
        noise: float,
        seed: int,
        ecg_rate: float,
        ppg_rate: float,
        ecg: Stages,
        ppg: Stages,
    ):
        self.classes = ("baseline", "stress", "amusement")
        self.n_subjects = options.whole("subjects", subjects, least=1)
        self.seconds = options.number("seconds", seconds, least=1)
        self.stride = options.number("stride", stride, above=0)
        self.condition_seconds = options.number("condition_seconds", condition_seconds, least=self.seconds)
        self.effect = options.number("effect", effect, least=0, most=3)
        self.noise = options.number("noise", noise, least=0)
        self.seed = options.whole("seed", seed, least=0)
        self.rates = {
            "ecg": options.number("ecg_rate", ecg_rate, least=100),
            "ppg": options.number("ppg_rate", ppg_rate, least=32),
        }
        self.stages: dict[str, Stages] = {"ecg": options.stages("ecg", ecg), "ppg": options.stages("ppg", ppg)}

    def subjects(self) -> Sequence[str]:
        return [f"S{number:03d}" for number in range(self.n_subjects)]

    def spec(self, modality: str) -> SignalSpec:
        rate = prepared_rate(self.rates[modality], self.stages[modality])
        unit = prepared_unit({"ecg": "mV", "ppg": "au"}[modality], self.stages[modality])
        channel = {"ecg": "II", "ppg": "PPG"}[modality]
        return SignalSpec(modality, (channel,), rate, round(self.seconds * rate), unit)

    def key(self) -> Mapping[str, Any]:
        # The number of subjects is left out: subject k is the same among any number of them.
        return {
            "condition_seconds": self.condition_seconds,
            "seconds": self.seconds,
            "stride": self.stride,
            "effect": self.effect,
            "noise": self.noise,
            "seed": self.seed,
            "rates": self.rates,
            "stages": [[modality, check_stages(stages)] for modality, stages in self.stages.items()],
        }

    def read(self, subject: str) -> SubjectWindows:
        session = self.simulate(subject)
        per_condition = int((self.condition_seconds - self.seconds) / self.stride + 1e-9) + 1
        step = np.arange(per_condition) * self.stride
        order = sorted(session.onset, key=lambda state: session.onset[state])
        starts = np.concatenate([session.onset[state] + step for state in order])
        signals = {
            modality: prepare_windows(
                session.signals[modality], session.rate[modality], self.stages[modality], starts, self.seconds
            )[0]
            for modality in self.modalities
        }
        label = np.repeat([self.classes.index(state) for state in order], per_condition).astype(np.int64)
        return SubjectWindows(signals, label, starts, np.full(len(label), subject))

    def simulate(self, subject: str) -> Session:
        """The subject's whole session: its beats and both sensors' signals."""
        number = int(subject[1:])
        # A stream for the body and one per sensor: another sensor changes neither the beats nor the other signals.
        body, *sensors = (
            np.random.default_rng(np.random.SeedSequence([self.seed, number, stream]))
            for stream in range(1 + len(self.modalities))
        )
        order = ["baseline", *body.permutation(["stress", "amusement"]).tolist()]
        block = PAUSE_SECONDS + self.condition_seconds
        onset = {state: MARGIN_SECONDS + k * block + PAUSE_SECONDS for k, state in enumerate(order)}
        duration = 2 * MARGIN_SECONDS + len(order) * block
        latent = _latent(body, onset, duration, self.effect)
        breath, beats = _beats(body, latent)
        time = np.arange(len(breath)) / LATENT_RATE
        feet = beats + np.interp(beats, time, latent.transit)
        draw = {"ecg": _ecg, "ppg": _ppg}
        signals = {
            modality: draw[modality](rng, latent, breath, beats, feet, self.rates[modality], duration, self.noise)
            for modality, rng in zip(self.modalities, sensors, strict=True)
        }
        return Session(signals, self.rates, beats, feet, onset, latent)


def _latent(rng: np.random.Generator, onset: Mapping[str, float], duration: float, effect: float) -> Latent:
    """The session's latent state over time: the subject's level, the state's change, and slow fluctuation."""
    n = round(duration * LATENT_RATE)
    time = np.arange(n) / LATENT_RATE
    reactivity = effect * np.exp(0.3 * rng.standard_normal())
    ordered = sorted(onset, key=lambda state: onset[state])
    # A condition's level holds from the middle of the pause before it; the change-over is smooth.
    condition = np.searchsorted([onset[state] - PAUSE_SECONDS / 2 for state in ordered[1:]], time, side="right")
    values = {}
    for field in (f.name for f in fields(Latent)):
        level = getattr(BETWEEN_SUBJECTS, field) * rng.standard_normal()
        changes = [
            reactivity * getattr(CHANGE[state], field) + getattr(BETWEEN_CONDITIONS, field) * rng.standard_normal()
            for state in ordered
        ]
        steps = gaussian_filter1d(np.array(changes)[condition], TRANSITION_SECONDS * LATENT_RATE / 2, mode="nearest")
        offset = level + steps + getattr(WITHIN_CONDITION, field) * _slow(rng, n, FLUCTUATION_SECONDS)
        start = getattr(BASELINE, field)
        values[field] = start + offset if field in ADDITIVE else start * np.exp(offset)
    values["heart_rate"] = np.clip(values["heart_rate"], 42.0, 150.0)
    values["breathing_rate"] = np.clip(values["breathing_rate"], 6.0, 36.0)
    values["transit"] = np.clip(values["transit"], 0.12, 0.4)
    return Latent(**values)


def _beats(rng: np.random.Generator, latent: Latent) -> tuple[np.ndarray, np.ndarray]:
    """The breath (T,) in [-1, 1] and the seconds of the beats (K,): a beat whenever the heart rate's integral passes
    a whole number."""
    n = len(latent.heart_rate)
    wandering = np.exp(latent.irregularity * _slow(rng, n, 2.5))
    breath = np.sin(_phase(rng, latent.breathing_rate / 60 * wandering))
    mayer = np.sin(_phase(rng, 0.1 * np.exp(0.15 * _slow(rng, n, 10.0))))
    rate = latent.heart_rate + latent.respiratory * breath + latent.mayer * mayer + 0.6 * _slow(rng, n, 1.0)
    count = np.cumsum(np.clip(rate, 35.0, 180.0) / 60 / LATENT_RATE) + rng.uniform()
    return breath, np.interp(np.arange(1, int(count[-1]) + 1), count, np.arange(n) / LATENT_RATE)


def _ecg(
    rng: np.random.Generator,
    latent: Latent,
    breath: np.ndarray,
    beats: np.ndarray,
    feet: np.ndarray,
    rate: float,
    duration: float,
    noise: float,
) -> np.ndarray:
    """One lead (1, T) in mV."""
    time = np.arange(round(duration * rate)) / rate
    latent_time = np.arange(len(breath)) / LATENT_RATE
    interval = np.interp(time, (beats[1:] + beats[:-1]) / 2, np.diff(beats))
    phase = 2 * np.pi * np.interp(time, beats, np.arange(len(beats)), left=-0.5, right=len(beats) - 0.5)
    # As in ECGSYN, waves grow and shift by the root of the rate in phase, i.e. less than the interval in time.
    stretch = np.sqrt(1.0 / interval)
    height = WAVE_HEIGHT * np.exp([0.2, 0.2, 0.1, 0.2, 0.1] * rng.standard_normal(5))
    width = WAVE_WIDTH * np.exp(0.08 * rng.standard_normal(5))
    clean = np.zeros_like(time)
    for wave in range(len(WAVE_ANGLE)):
        angle = WAVE_ANGLE[wave] * np.sqrt(stretch)
        distance = np.remainder(phase - angle + np.pi, 2 * np.pi) - np.pi
        bump = height[wave] * np.exp(-0.5 * (distance / (width[wave] * stretch)) ** 2)
        clean += bump * (np.interp(time, latent_time, latent.t_wave) if wave == T_WAVE else 1.0)
    chest = np.interp(time, latent_time, breath)
    moving = _movement(rng, time, rate, per_minute=1.0, low=1.0, high=12.0)
    disturbance = 0.06 * chest + 0.08 * _slow(rng, len(time), 2.0, rate) + 0.03 * rng.standard_normal(len(time))
    return (clean * (1 + 0.06 * chest) + noise * (disturbance + 0.25 * moving))[None]


def _ppg(
    rng: np.random.Generator,
    latent: Latent,
    breath: np.ndarray,
    beats: np.ndarray,
    feet: np.ndarray,
    rate: float,
    duration: float,
    noise: float,
) -> np.ndarray:
    """One channel (1, T), in units of a resting pulse."""
    time = np.arange(round(duration * rate)) / rate
    latent_time = np.arange(len(breath)) / LATENT_RATE
    interval = np.diff(feet, append=feet[-1] + feet[-1] - feet[-2])
    stretch = np.sqrt(interval)  # systole shortens less than the beat
    at_beats = {
        field: np.interp(feet, latent_time, getattr(latent, field)) for field in ("pulse_amplitude", "reflection")
    }
    amplitude = at_beats["pulse_amplitude"] * (1 + 0.08 * np.interp(feet, latent_time, breath))
    clean = np.zeros(len(time))
    for height, delay, width in ((amplitude, 0.17, 0.065), (amplitude * at_beats["reflection"], 0.42, 0.11)):
        centre, spread = feet + delay * stretch, width * stretch
        near = np.arange(-round(0.6 * rate), round(0.6 * rate) + 1)
        sample = np.rint(centre * rate).astype(np.int64)[:, None] + near
        bump = height[:, None] * np.exp(-0.5 * ((sample / rate - centre[:, None]) / spread[:, None]) ** 2)
        inside = (sample >= 0) & (sample < len(time))
        np.add.at(clean, sample[inside], bump[inside])
    chest = np.interp(time, latent_time, breath)
    moving = _movement(rng, time, rate, per_minute=2.0, low=0.6, high=5.0)
    disturbance = 0.15 * chest + 0.2 * _slow(rng, len(time), 1.5, rate) + 0.04 * rng.standard_normal(len(time))
    return (clean + noise * (disturbance + 0.5 * moving))[None]


def _movement(
    rng: np.random.Generator, time: np.ndarray, rate: float, per_minute: float, low: float, high: float
) -> np.ndarray:
    """Bursts of a few seconds of band-limited noise (T,), of about unit deviation at their height."""
    envelope = np.zeros_like(time)
    for _ in range(rng.poisson(per_minute * time[-1] / 60)):
        centre, length = rng.uniform(0, time[-1]), rng.uniform(0.8, 2.0)
        envelope += rng.uniform(0.5, 1.5) * np.exp(-0.5 * ((time - centre) / length) ** 2)
    sections = sps.butter(2, [low, high], btype="bandpass", fs=rate, output="sos")
    shaken = sps.sosfiltfilt(sections, rng.standard_normal(len(time)))
    return envelope * shaken / shaken.std()


def _slow(rng: np.random.Generator, n: int, seconds: float, rate: float = LATENT_RATE) -> np.ndarray:
    """A first-order autoregressive process (n,) of unit variance with that time constant, from its stationary state."""
    keep = np.exp(-1 / (seconds * rate))
    steps = rng.standard_normal(n) * np.sqrt(1 - keep**2)
    steps[0] = rng.standard_normal()
    return sps.lfilter([1.0], [1.0, -keep], steps)


def _phase(rng: np.random.Generator, frequency: np.ndarray) -> np.ndarray:
    return 2 * np.pi * (np.cumsum(frequency) / LATENT_RATE + rng.uniform())
