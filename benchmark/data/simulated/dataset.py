"""Simulated recordings of two sensors on the same bodies: what runs where no recordings are.

A subject is one session: baseline, then stress and amusement in either order, with pauses in which the body changes
over. A latent state (heart rate, its variability with the breath and with the 0.1 Hz rhythm, breathing, vascular tone)
drives one series of beats (``body``). Both sensors see those beats, the ECG and, one pulse transit time later, the PPG
(``sensors``). Subjects differ in level and in how strongly they react, and both sensors have noise and movement of
their own, so that the states overlap.

``like`` gives the shape of a published data set instead (``shapes``): its channels, rates, windows, preparation,
classes and their shares. ``wesad`` is the session above with WESAD's sensors; ``isruc`` a night of sleep stages, with
EEG and ECG; ``fog`` a walk that freezes, with EEG and EMG (``electrophysiology``). One latent state drives both
sensors, and one heart shows in both.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np
from pydantic import model_validator
from scipy.ndimage import gaussian_filter1d

from benchmark.config.options import option
from benchmark.config.schema import DataOptions, SplitOptions
from benchmark.data import fields
from benchmark.data.base import Dataset, Recording
from benchmark.data.signals.preparation import label_windows, starts_of
from benchmark.data.simulated import body, electrophysiology, sensors, shapes
from benchmark.data.simulated.body import FLUCTUATION_SECONDS, LATENT_RATE, Latent, slow
from benchmark.data.simulated.electrophysiology import States
from benchmark.data.simulated.shapes import SESSION, SHAPES, Shape, published_stages

PAUSE_SECONDS = 12.0  # before each condition
MARGIN_SECONDS = 4.0  # simulated before and after, so that filters have their edges outside of the windows

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


class SimulatedOptions(DataOptions):
    """Simulated subjects. What is null has the shape's own value, in brackets: like null | wesad | isruc | fog."""

    name: Literal["simulated"] = option("simulated", "data set")
    like: Literal["wesad", "isruc", "fog"] | None = option(
        None, "null: ECG and PPG in three states, in short windows | wesad | isruc | fog: their shapes"
    )
    subjects: int | None = option(None, "[24 | 15 | 16 | 12] subject k is the same among any number of subjects", ge=1)
    condition_seconds: float | None = option(
        None, "[100 | 300 | 900 | 120] of each condition; WESAD's baseline; ISRUC's night; FOG's walk", gt=0
    )
    seconds: float | None = option(None, "[10 | 60 | 30 | 3] window length", ge=1)
    stride: float | None = option(None, "[10 | 15 | 30 | 1.5] s from one window's start to the next", gt=0)
    effect: float = option(1.0, "how strongly the states act on the body; 0 leaves nothing to find", ge=0, le=3)
    noise: float = option(1.0, "scales noise and movement of both sensors", ge=0)
    seed: int = option(0, "of the subjects, apart from the run's seeds", ge=0)
    ecg_rate: float | None = option(None, "[250 | 700 | 200 | -] Hz, of the simulated sensor", ge=100)
    ppg_rate: float | None = option(None, "[64 | 64 | - | -] Hz", ge=32)
    ecg: fields.Preparation | None = fields.preparation(
        None, f"{fields.PREPARATION}; null: that of the data set that is imitated"
    )
    ppg: fields.Preparation | None = fields.preparation(None, f"{fields.PREPARATION}; null: the same")
    eeg: fields.Preparation | None = fields.preparation(None, f"{fields.PREPARATION}; null: the same")
    emg: fields.Preparation | None = fields.preparation(None, f"{fields.PREPARATION}; null: the same")
    split: SplitOptions = fields.split(
        SplitOptions(
            kind="subjects", train=0.33, val=0.12, pair=0.33, test=0.22, folds=5, units="windows", block_seconds=30
        ),
        "fractions of the subjects",
    )

    @property
    def shape(self) -> Shape:
        """The shape, with the options that replace its values."""
        shape = SHAPES[self.like]
        rates = {"ecg": self.ecg_rate, "ppg": self.ppg_rate}
        sensors = {
            modality: replace(sensor, rate=rates.get(modality) or sensor.rate)
            for modality, sensor in shape.sensors.items()
        }
        given = {name: getattr(self, name) for name in ("subjects", "condition_seconds", "seconds", "stride")}
        return replace(shape, sensors=sensors, **{name: value for name, value in given.items() if value is not None})

    @model_validator(mode="after")
    def _check_shape(self) -> Self:
        if self.like == "isruc" and self.stride is not None:
            raise ValueError(
                f"data.stride={self.stride:g} cannot be used with data.like=isruc, whose epochs do not overlap; leave "
                "it out"
            )
        least = (8 if self.like == "isruc" else 1) * self.shape.seconds
        if self.shape.condition_seconds < least:
            raise ValueError(
                f"data.condition_seconds={self.shape.condition_seconds:g} cannot be used; give a number of at least "
                f"{least:g}"
            )
        return self


class Simulated(Dataset):
    """Recordings of simulated subjects, two modalities at once; nothing to download, the same in every run."""

    Options = SimulatedOptions
    options: SimulatedOptions
    name = "simulated"
    modalities: tuple[str, ...] = ("ecg", "ppg")
    licence = "none needed: made by this program"
    citation = "McSharry et al., IEEE Trans. Biomed. Eng. 50(3):289-294, 2003, for the shape of the ECG"
    how_to_get = "nothing to get: it is computed"
    code = (shapes, body, sensors, electrophysiology)

    def __init__(self, options: SimulatedOptions):
        self.shape = shape = options.shape
        self.sensors, self.classes, self.seconds = shape.sensors, shape.classes, shape.seconds
        self.modalities = tuple(shape.sensors)
        super().__init__(options)
        self.like = options.like
        if options.like:
            self.name = f"simulated-{options.like}"
        for modality, stages in self.stages.items():
            self.stages[modality] = published_stages(shape, modality) if stages is None else stages

    def found(self) -> Sequence[str]:
        return [f"S{number:03d}" for number in range(self.shape.subjects)]

    def recordings(self, subject: str) -> Iterator[Recording]:
        session = self.simulate(subject)
        starts, label = self._windows(session)
        yield Recording(subject, session.signals, label, starts)

    def _windows(self, session: Session) -> tuple[np.ndarray, np.ndarray]:
        """Seconds at which the windows begin, and their classes."""
        if self.like == "isruc":
            starts = MARGIN_SECONDS + self.seconds * np.arange(int(self.shape.condition_seconds / self.seconds + 1e-9))
            return starts, (session.states.at(starts + self.seconds / 2) > 0).astype(np.int64)
        if self.like == "fog":
            starts = MARGIN_SECONDS + starts_of(self.shape.condition_seconds, self.seconds, self.shape.stride)
            frozen = session.states.at(np.arange(round(session.duration * LABEL_RATE)) / LABEL_RATE)
            label, clear = label_windows(frozen, LABEL_RATE, starts, self.seconds, LABEL_SHARE)
            return starts[clear], label[clear]
        order = sorted(session.onset, key=lambda state: session.onset[state])
        steps = [starts_of(self._condition_seconds(state), self.seconds, self.shape.stride) for state in order]
        starts = np.concatenate([session.onset[state] + step for state, step in zip(order, steps, strict=True)])
        label = np.repeat([self.classes.index(state) for state in order], [len(step) for step in steps])
        return starts, label.astype(np.int64)

    def _condition_seconds(self, state: str) -> float:
        """How long a condition of the session lasts."""
        share = WESAD_SHARES[state] if self.like == "wesad" else 1.0
        return self.seconds + share * (self.shape.condition_seconds - self.seconds)

    def simulate(self, subject: str) -> Session:
        """The subject's whole session: its beats and both sensors' signals."""
        number = int(subject[1:])
        # A stream for the body and one per sensor: another sensor changes neither the beats nor the other signals.
        rng, *streams = (
            np.random.default_rng(np.random.SeedSequence([self.options.seed, number, stream]))
            for stream in range(1 + len(self.modalities))
        )
        states, duration, lead = self._states(rng)
        segments = states.segments()
        effect = self.options.effect
        latent = body.latent_state(rng, segments, duration, effect, lead)
        arousal = np.zeros(len(latent.heart_rate))
        if self.like in ("isruc", "fog"):
            arousal = slow(rng, len(arousal), FLUCTUATION_SECONDS, LATENT_RATE)
            latent = replace(latent, heart_rate=latent.heart_rate + AROUSAL_BEATS * arousal)
        breath, beats = body.heart_beats(rng, latent)
        time = np.arange(len(breath)) / LATENT_RATE
        feet = beats + np.interp(beats, time, latent.transit)
        weights = self._weights(rng, states, time)
        signals: dict[str, np.ndarray] = {}
        for modality, stream in zip(self.modalities, streams, strict=True):
            sensor, rate, noise = self.sensors[modality], self.sensors[modality].rate, self.options.noise
            if modality == "ecg":
                restless = self._restlessness(states, time)
                millivolts = sensors.ecg(stream, latent, breath, beats, rate, duration, noise, restless)
                signals["ecg"] = (1e3 if sensor.unit == "uV" else 1.0) * millivolts
            elif modality == "ppg":
                signals["ppg"] = sensors.ppg(stream, latent, breath, feet, rate, duration, noise)
            elif modality == "eeg":
                signals["eeg"] = electrophysiology.eeg(
                    stream, sensor.channels, states, weights, arousal, beats, rate, duration, effect, noise
                )
            else:
                signals["emg"] = electrophysiology.emg(stream, weights[1], beats, rate, duration, effect, noise)
        onset: dict[str, float] = {}
        for state, at in segments:
            onset.setdefault(state, at)
        rates = {modality: sensor.rate for modality, sensor in self.sensors.items()}
        return Session(signals, rates, beats, feet, onset, latent, duration, states)

    def _weights(self, rng: np.random.Generator, states: States, time: np.ndarray) -> np.ndarray:
        """(states, len(time)), how much of each state the brain and the muscles are in; no rows for a session."""
        weights = np.zeros((0, len(time)))
        if self.like == "isruc":
            weights = (states.at(time) == np.arange(len(states.names))[:, None]).astype(np.float64)
        elif self.like == "fog":
            severity = electrophysiology.severities(rng, states, time)
            weights = np.stack([1 - severity, severity])
        return gaussian_filter1d(weights, 0.15 * LATENT_RATE, mode="nearest")

    def _restlessness(self, states: States, time: np.ndarray) -> np.ndarray | None:
        """How much a sleeper moves at each time (len(time),), times what people do in a session."""
        if self.like != "isruc":
            return None
        levels = np.log([RESTLESS[name] for name in states.names])
        return np.exp(levels.mean() + self.options.effect * (levels - levels.mean()))[states.at(time)]

    def _states(self, rng: np.random.Generator) -> tuple[States, float, float]:
        """The body's states, the seconds of the recording, and how long before a state's onset the body changes."""
        if self.like == "isruc":
            epochs = int(self.shape.condition_seconds / self.seconds + 1e-9)
            duration = 2 * MARGIN_SECONDS + epochs * self.seconds
            return electrophysiology.night(rng, epochs, self.seconds, MARGIN_SECONDS), duration, 0.0
        if self.like == "fog":
            duration = 2 * MARGIN_SECONDS + self.shape.condition_seconds
            return electrophysiology.walk(rng, duration), duration, 0.0
        order = ["baseline", *rng.permutation(["stress", "amusement"]).tolist()]
        onset, at = [], MARGIN_SECONDS
        for state in order:
            onset.append(at + PAUSE_SECONDS)
            at += PAUSE_SECONDS + self._condition_seconds(state)
        index = np.array([SESSION.index(state) for state in order])
        return States(SESSION, index, np.array(onset)), at + MARGIN_SECONDS, PAUSE_SECONDS / 2
