"""Simulated recordings of two sensors on the same bodies: what runs where no recordings are.

A subject is one session: baseline, then stress and amusement in either order, with pauses in which the body changes
over. A latent state (heart rate, its variability with the breath and with the 0.1 Hz rhythm, breathing, vascular tone)
drives one series of beats. Both sensors see those beats: the ECG as a sum of Gaussians over the phase between R peaks
(the shape parameters of McSharry et al. 2003, doi 10.1109/TBME.2003.808805), the PPG as a systolic and a reflected
wave that arrive one pulse transit time later. Subjects differ in level and in how strongly they react, and both
sensors have noise and movement of their own, so that the states overlap.

``like`` gives the shape of a published data set instead: its channels, rates, windows, preparation, classes and their
shares. ``wesad`` is the session above with WESAD's sensors; ``isruc`` a night of sleep stages, with EEG and ECG;
``fog`` a walk that freezes, with EEG and EMG. One latent state drives both sensors, and one heart shows in both.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from scipy import signal as sps
from scipy.ndimage import gaussian_filter1d

from benchmark.data.simulated import electrophysiology
from benchmark.data import options, registry
from benchmark.data.base import Dataset, SubjectWindows
from benchmark.data.simulated.electrophysiology import LEVELS, States, eeg, emg, night, severities, slow, walk
from benchmark.errors import InputError
from benchmark.data.signals.preparation import (
    DEFAULTS,
    Stages,
    check_stages,
    label_windows,
    prepare_windows,
    prepared_rate,
    prepared_unit,
    starts_of,
)
from benchmark.data.signals.spec import SignalSpec

LATENT_RATE = 50.0  # Hz, of the latent state
PAUSE_SECONDS = 12.0  # before each condition
MARGIN_SECONDS = 4.0  # simulated before and after, so that filters have their edges outside of the windows

# P, Q, R, S, T: angle within the beat (rad), amplitude and width (rad) in ECGSYN's dynamical model, whose bumps have
# the height amplitude * width^2. Here they are normalised to R = 1 mV.
WAVE_ANGLE = np.array([-np.pi / 3, -np.pi / 12, 0.0, np.pi / 12, np.pi / 2])
WAVE_WIDTH = np.array([0.25, 0.1, 0.1, 0.1, 0.4])
WAVE_HEIGHT = np.array([1.2, -5.0, 30.0, -7.5, 0.75]) * WAVE_WIDTH**2 / (30.0 * 0.1**2)
T_WAVE = 4
CHUNK_SAMPLES = 1 << 18  # of an ECG, computed at once


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
    "W": Latent(5.0, -0.30, 0.20, 0.15, 1.2, 0, 0, 0, 0),
    "N1": Latent(0.0, 0.05, 0.05, 0, 0.4, 0, 0, 0, 0),
    "N2": Latent(-3.5, 0.25, 0, -0.05, -0.3, 0, 0, 0, 0),
    "N3": Latent(-5.0, 0.45, -0.50, -0.08, -0.9, 0, 0, 0, 0),
    "REM": Latent(-1.0, -0.10, 0.30, 0.06, 0.9, 0, 0, 0, 0),
    "walking": Latent(22.0, -0.50, -0.2, 0.35, 0.4, 0, 0, 0, 0),
    "freezing": Latent(27.0, -0.60, -0.2, 0.40, 0.6, 0, 0, 0, 0),
}
BETWEEN_SUBJECTS = Latent(6.0, 0.30, 0.25, 0.12, 0.2, 0.25, 0.22, 0.02, 0.15)
BETWEEN_CONDITIONS = Latent(2.0, 0.15, 0.15, 0.06, 0.2, 0.12, 0.12, 0.005, 0.08)
WITHIN_CONDITION = Latent(1.8, 0.15, 0.20, 0.06, 0.0, 0.12, 0.10, 0.005, 0.06)
ADDITIVE = frozenset({"heart_rate", "transit"})
FLUCTUATION_SECONDS = 12.0  # time scale of WITHIN_CONDITION
TRANSITION_SECONDS = 3.0


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
    None: Shape(None, SESSION, 24, 100, 10, 10, {"ecg": 250, "ppg": 64}, {"ecg": ("II",), "ppg": ("PPG",)}, HEART),
    "wesad": Shape(
        "wesad", SESSION, 15, 300, 60, 15, {"ecg": 700, "ppg": 64}, {"ecg": ("ECG",), "ppg": ("BVP",)}, HEART
    ),
    "isruc": Shape(
        "isruc",
        ("wake", "sleep"),
        16,
        900,
        30,
        30,
        {"eeg": 200, "ecg": 200},
        {"eeg": ELECTRODES, "ecg": ("X2",)},
        {"eeg": "uV", "ecg": "uV"},
    ),
    "fog": Shape(
        "fog",
        ("walking", "freezing"),
        12,
        120,
        3,
        1.5,
        {"eeg": 500, "emg": 500},
        {"eeg": ELECTRODES, "emg": ("EMG1", "EMG2", "EMG3")},
        {"eeg": "uV", "emg": "uV"},
    ),
}
# WESAD's windows in stress and amusement are so many times those in the baseline.
WESAD_SHARES = {"baseline": 1.0, "stress": 607 / 1112, "amusement": 312 / 1112}
LABEL_RATE, LABEL_SHARE = 500.0, 0.8  # of the walk, as in FOG
AROUSAL_BEATS = 1.5  # beats a minute that a unit of arousal adds
RESTLESS = {"W": 3.0, "N1": 1.0, "N2": 0.4, "N3": 0.2, "REM": 0.5}  # movement of a sleeper, times the sessions'


@dataclass(frozen=True)
class Session:
    """One subject's recording before preparation. ``signals[m]`` is (C, T) in the shape's unit at ``rate[m]`` Hz."""

    signals: Mapping[str, np.ndarray]
    rate: Mapping[str, float]
    beats: np.ndarray  # (K,) seconds of the R peaks
    feet: np.ndarray  # (K,) seconds at which each beat's pulse arrives at the PPG sensor
    onset: Mapping[str, float]  # seconds at which each condition begins; of a night or a walk, for the first time
    latent: Latent
    duration: float
    states: States


class Simulated(Dataset):
    """Recordings of simulated subjects, two modalities at once; nothing to download, the same in every run."""

    name = "simulated"
    modalities: tuple[str, ...] = ("ecg", "ppg")
    licence = "none needed: made by this program"
    citation = "McSharry et al., IEEE Trans. Biomed. Eng. 50(3):289-294, 2003, for the shape of the ECG"
    how_to_get = "nothing to get: it is computed"
    code = (electrophysiology,)

    def __init__(
        self,
        *,
        like: str | None,
        subjects: int | None,
        condition_seconds: float | None,
        seconds: float | None,
        stride: float | None,
        effect: float,
        noise: float,
        seed: int,
        ecg_rate: float | None,
        ppg_rate: float | None,
        ecg: Stages | None,
        ppg: Stages | None,
        eeg: Stages | None,
        emg: Stages | None,
    ):
        self.like: str | None = options.choice("like", like, tuple(SHAPES))
        self.shape = shape = SHAPES[self.like]
        if like:
            self.name = f"simulated-{like}"
        self.modalities = tuple(shape.rates)
        self.classes = shape.classes
        self.n_subjects = options.whole("subjects", _or(subjects, shape.subjects), least=1)
        self.seconds = options.number("seconds", _or(seconds, shape.seconds), least=1)
        self.stride = options.number("stride", _or(stride, shape.stride), above=0)
        if self.like == "isruc":
            if stride is not None:
                raise InputError(
                    f"option data.stride is {stride!r}; leave it out with like=isruc, epochs do not overlap"
                )
            self.stride = self.seconds
        least = 8 * self.seconds if self.like == "isruc" else self.seconds
        length = _or(condition_seconds, shape.condition_seconds)
        self.condition_seconds = options.number("condition_seconds", length, least=least)
        self.effect = options.number("effect", effect, least=0, most=3)
        self.noise = options.number("noise", noise, least=0)
        self.seed = options.whole("seed", seed, least=0)
        self.rates = dict(shape.rates)
        for modality, rate, lowest in (("ecg", ecg_rate, 100), ("ppg", ppg_rate, 32)):
            if rate is not None and modality in self.rates:
                self.rates[modality] = options.number(f"{modality}_rate", rate, least=lowest)
        given = {"ecg": ecg, "ppg": ppg, "eeg": eeg, "emg": emg}
        self.stages: dict[str, Stages] = {
            modality: options.stages(modality, _or(given[modality], _published_stages(shape, modality)))
            for modality in self.modalities
        }

    def subjects(self) -> Sequence[str]:
        return [f"S{number:03d}" for number in range(self.n_subjects)]

    def spec(self, modality: str) -> SignalSpec:
        rate = prepared_rate(self.rates[modality], self.stages[modality])
        unit = prepared_unit(self.shape.units[modality], self.stages[modality])
        return SignalSpec(modality, self.shape.channels[modality], rate, round(self.seconds * rate), unit)

    def key(self) -> Mapping[str, Any]:
        # The number of subjects is left out: subject k is the same among any number of them.
        return {
            "like": self.like,
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
        starts, label = self._windows(session)
        signals = {}
        for modality in self.modalities:
            signals[modality], _ = prepare_windows(
                session.signals[modality], session.rate[modality], self.stages[modality], starts, self.seconds
            )
        return SubjectWindows(signals, label, starts, np.full(len(label), subject))

    def _windows(self, session: Session) -> tuple[np.ndarray, np.ndarray]:
        """Seconds at which the windows begin, and their classes."""
        if self.like == "isruc":
            starts = MARGIN_SECONDS + self.seconds * np.arange(int(self.condition_seconds / self.seconds + 1e-9))
            return starts, (session.states.at(starts + self.seconds / 2) > 0).astype(np.int64)
        if self.like == "fog":
            starts = MARGIN_SECONDS + starts_of(self.condition_seconds, self.seconds, self.stride)
            frozen = session.states.at(np.arange(round(session.duration * LABEL_RATE)) / LABEL_RATE)
            label, clear = label_windows(frozen, LABEL_RATE, starts, self.seconds, LABEL_SHARE)
            return starts[clear], label[clear]
        order = sorted(session.onset, key=lambda state: session.onset[state])
        steps = [starts_of(self._condition_seconds(state), self.seconds, self.stride) for state in order]
        starts = np.concatenate([session.onset[state] + step for state, step in zip(order, steps, strict=True)])
        label = np.repeat([self.classes.index(state) for state in order], [len(step) for step in steps])
        return starts, label.astype(np.int64)

    def _condition_seconds(self, state: str) -> float:
        """How long a condition of the session lasts."""
        share = WESAD_SHARES[state] if self.like == "wesad" else 1.0
        return self.seconds + share * (self.condition_seconds - self.seconds)

    def simulate(self, subject: str) -> Session:
        """The subject's whole session: its beats and both sensors' signals."""
        number = int(subject[1:])
        # A stream for the body and one per sensor: another sensor changes neither the beats nor the other signals.
        body, *sensors = (
            np.random.default_rng(np.random.SeedSequence([self.seed, number, stream]))
            for stream in range(1 + len(self.modalities))
        )
        states, duration, lead = self._states(body)
        segments = states.segments()
        latent = _latent(body, segments, duration, self.effect, lead)
        arousal = np.zeros(len(latent.heart_rate))
        if self.like in ("isruc", "fog"):
            arousal = slow(body, len(arousal), FLUCTUATION_SECONDS, LATENT_RATE)
            latent = replace(latent, heart_rate=latent.heart_rate + AROUSAL_BEATS * arousal)
        breath, beats = _beats(body, latent)
        time = np.arange(len(breath)) / LATENT_RATE
        feet = beats + np.interp(beats, time, latent.transit)
        restless = None
        if self.like == "isruc":
            levels = np.array([RESTLESS[name] for name in states.names])
            restless = np.exp(np.log(levels).mean() + self.effect * (np.log(levels) - np.log(levels).mean()))
            restless = restless[states.at(time)]
        weights = np.zeros((0, len(time)))
        if self.like == "isruc":
            weights = (states.at(time) == np.arange(len(states.names))[:, None]).astype(np.float64)
        elif self.like == "fog":
            severity = severities(body, states, time)
            weights = np.stack([1 - severity, severity])
        weights = gaussian_filter1d(weights, 0.15 * LATENT_RATE, mode="nearest")
        signals: dict[str, np.ndarray] = {}
        for modality, rng in zip(self.modalities, sensors, strict=True):
            rate, channels = self.rates[modality], self.shape.channels[modality]
            if modality == "ecg":
                unit = 1e3 if self.shape.units["ecg"] == "uV" else 1.0
                signals["ecg"] = unit * _ecg(rng, latent, breath, beats, rate, duration, self.noise, restless)
            elif modality == "ppg":
                signals["ppg"] = _ppg(rng, latent, breath, feet, rate, duration, self.noise)
            elif modality == "eeg":
                table = LEVELS["sleep" if self.like == "isruc" else "gait"]
                signals["eeg"] = eeg(
                    rng,
                    channels,
                    states,
                    weights,
                    table,
                    arousal,
                    LATENT_RATE,
                    beats,
                    rate,
                    duration,
                    self.effect,
                    self.noise,
                )
            else:
                signals["emg"] = emg(rng, weights[1], LATENT_RATE, beats, rate, duration, self.effect, self.noise)
        onset: dict[str, float] = {}
        for state, at in segments:
            onset.setdefault(state, at)
        return Session(signals, self.rates, beats, feet, onset, latent, duration, states)

    def _states(self, body: np.random.Generator) -> tuple[States, float, float]:
        """The body's states, the seconds of the recording, and how long before a state's onset the body changes."""
        if self.like == "isruc":
            epochs = int(self.condition_seconds / self.seconds + 1e-9)
            duration = 2 * MARGIN_SECONDS + epochs * self.seconds
            return night(body, epochs, self.seconds, MARGIN_SECONDS), duration, 0.0
        if self.like == "fog":
            duration = 2 * MARGIN_SECONDS + self.condition_seconds
            return walk(body, duration), duration, 0.0
        order = ["baseline", *body.permutation(["stress", "amusement"]).tolist()]
        onset, at = [], MARGIN_SECONDS
        for state in order:
            onset.append(at + PAUSE_SECONDS)
            at += PAUSE_SECONDS + self._condition_seconds(state)
        index = np.array([SESSION.index(state) for state in order])
        return States(SESSION, index, np.array(onset)), at + MARGIN_SECONDS, PAUSE_SECONDS / 2


def _or(value: Any, otherwise: Any) -> Any:
    return otherwise if value is None else value


def _published_stages(shape: Shape, modality: str) -> Stages:
    """The preparation of the data set that is imitated; without one, the modality's own."""
    return DEFAULTS[modality] if shape.source is None else registry.defaults(shape.source)[modality]


def _latent(
    rng: np.random.Generator, segments: Sequence[tuple[str, float]], duration: float, effect: float, lead: float
) -> Latent:
    """The session's latent state over time: the subject's level, the state's change, and slow fluctuation."""
    n = round(duration * LATENT_RATE)
    time = np.arange(n) / LATENT_RATE
    reactivity = effect * np.exp(0.3 * rng.standard_normal())
    # A state's level holds from ``lead`` seconds before it, the middle of a session's pause; the change-over is smooth.
    condition = np.searchsorted([onset - lead for _, onset in segments[1:]], time, side="right")
    values = {}
    for field in (f.name for f in fields(Latent)):
        level = getattr(BETWEEN_SUBJECTS, field) * rng.standard_normal()
        changes = [
            reactivity * getattr(CHANGE[state], field) + getattr(BETWEEN_CONDITIONS, field) * rng.standard_normal()
            for state, _ in segments
        ]
        steps = gaussian_filter1d(np.array(changes)[condition], TRANSITION_SECONDS * LATENT_RATE / 2, mode="nearest")
        offset = level + steps + getattr(WITHIN_CONDITION, field) * slow(rng, n, FLUCTUATION_SECONDS, LATENT_RATE)
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
    wandering = np.exp(latent.irregularity * slow(rng, n, 2.5, LATENT_RATE))
    breath = np.sin(_phase(rng, latent.breathing_rate / 60 * wandering))
    mayer = np.sin(_phase(rng, 0.1 * np.exp(0.15 * slow(rng, n, 10.0, LATENT_RATE))))
    rate = latent.heart_rate + latent.respiratory * breath + latent.mayer * mayer + 0.6 * slow(rng, n, 1.0, LATENT_RATE)
    count = np.cumsum(np.clip(rate, 35.0, 180.0) / 60 / LATENT_RATE) + rng.uniform()
    return breath, np.interp(np.arange(1, int(count[-1]) + 1), count, np.arange(n) / LATENT_RATE)


def _ecg(
    rng: np.random.Generator,
    latent: Latent,
    breath: np.ndarray,
    beats: np.ndarray,
    rate: float,
    duration: float,
    noise: float,
    restless: np.ndarray | None = None,
) -> np.ndarray:
    """One lead (1, T) in mV. ``restless`` scales the movement over time, at ``LATENT_RATE``."""
    time = np.arange(round(duration * rate)) / rate
    latent_time = np.arange(len(breath)) / LATENT_RATE
    height = WAVE_HEIGHT * np.exp([0.2, 0.2, 0.1, 0.2, 0.1] * rng.standard_normal(5))
    width = WAVE_WIDTH * np.exp(0.08 * rng.standard_normal(5))
    signal = _movement(rng, time, rate, per_minute=1.0, low=1.0, high=12.0)
    if restless is not None:
        signal *= np.interp(time, latent_time, restless)
    signal *= 0.25
    # In the order of the sum, so that numbers stay as they are: first what disturbs, then the heart.
    disturbance = 0.08 * slow(rng, len(time), 2.0, rate)
    white = 0.03 * rng.standard_normal(len(time))
    for begin in range(0, len(time), CHUNK_SAMPLES):  # a night would take half a gigabyte at once
        part = slice(begin, begin + CHUNK_SAMPLES)
        chest = np.interp(time[part], latent_time, breath)
        clean = _heart(time[part], latent_time, latent, beats, height, width)
        disturbed = 0.06 * chest + disturbance[part] + white[part]
        signal[part] = clean * (1 + 0.06 * chest) + noise * (disturbed + signal[part])
    return signal[None]


def _heart(
    time: np.ndarray,
    latent_time: np.ndarray,
    latent: Latent,
    beats: np.ndarray,
    height: np.ndarray,
    width: np.ndarray,
) -> np.ndarray:
    """The waves of all beats (T,) in mV at those times."""
    interval = np.interp(time, (beats[1:] + beats[:-1]) / 2, np.diff(beats))
    phase = 2 * np.pi * np.interp(time, beats, np.arange(len(beats)), left=-0.5, right=len(beats) - 0.5)
    # As in ECGSYN, waves grow and shift by the root of the rate in phase, i.e. less than the interval in time.
    stretch = np.sqrt(1.0 / interval)
    clean = np.zeros_like(time)
    for wave in range(len(WAVE_ANGLE)):
        angle = WAVE_ANGLE[wave] * np.sqrt(stretch)
        distance = np.remainder(phase - angle + np.pi, 2 * np.pi) - np.pi
        bump = height[wave] * np.exp(-0.5 * (distance / (width[wave] * stretch)) ** 2)
        clean += bump * (np.interp(time, latent_time, latent.t_wave) if wave == T_WAVE else 1.0)
    return clean


def _ppg(
    rng: np.random.Generator,
    latent: Latent,
    breath: np.ndarray,
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
    disturbance = 0.15 * chest + 0.2 * slow(rng, len(time), 1.5, rate) + 0.04 * rng.standard_normal(len(time))
    return (clean + noise * (disturbance + 0.5 * moving))[None]


def _movement(
    rng: np.random.Generator, time: np.ndarray, rate: float, per_minute: float, low: float, high: float
) -> np.ndarray:
    """Bursts of a few seconds of band-limited noise (T,), of about unit deviation at their height."""
    envelope = np.zeros_like(time)
    for _ in range(rng.poisson(per_minute * time[-1] / 60)):
        centre, length = rng.uniform(0, time[-1]), rng.uniform(0.8, 2.0)
        near = slice(*np.searchsorted(time, [centre - 39 * length, centre + 39 * length]))  # beyond, exp gives 0
        envelope[near] += rng.uniform(0.5, 1.5) * np.exp(-0.5 * ((time[near] - centre) / length) ** 2)
    sections = sps.butter(2, [low, high], btype="bandpass", fs=rate, output="sos")
    shaken = sps.sosfiltfilt(sections, rng.standard_normal(len(time)))
    envelope *= shaken
    envelope /= shaken.std()
    return envelope


def _phase(rng: np.random.Generator, frequency: np.ndarray) -> np.ndarray:
    return 2 * np.pi * (np.cumsum(frequency) / LATENT_RATE + rng.uniform())
