"""EEG and EMG of a body whose state is known over time, and the sequences of states of a night and of a walk.

The EEG is a sum of band-limited rhythms of two hemispheres whose amplitude follows the state, as they are described
for sleep (alpha when awake, theta and spindles, slow waves: Iber et al., AASM manual, 2007) and for freezing (more
theta and beta over the motor areas: Shine et al. 2014, doi 10.1016/j.clinph.2013.09.006). The EMG is noise of motor
units under an envelope: bursts that follow the stride, and a tremor of 3-8 Hz in both legs while the gait is frozen
(Nutt et al. 2011, doi 10.1016/S1474-4422(11)70143-0). The heart shows in both, as a small artefact of each beat.

Shapes: C channels, T samples, S states, L samples of the latent state.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import signal as sps

from benchmark.data.simulated.body import LATENT_RATE, slow

BANDS = {
    "delta": (0.5, 4.0),
    "theta": (4.0, 8.0),
    "alpha": (8.0, 12.0),
    "sigma": (12.0, 15.0),
    "beta": (15.0, 30.0),
    "muscle": (30.0, 70.0),
}
# How strongly a band is seen over the frontal, central and occipital scalp.
SCALP = {
    "delta": {"F": 1.2, "C": 1.0, "O": 0.7},
    "theta": {"F": 1.0, "C": 1.0, "O": 0.8},
    "alpha": {"F": 0.6, "C": 0.7, "O": 1.5},
    "sigma": {"F": 1.0, "C": 1.2, "O": 0.6},
    "beta": {"F": 1.0, "C": 1.0, "O": 0.7},
    "muscle": {"F": 1.2, "C": 0.7, "O": 0.9},
}
# Root mean square of each band in uV, by state; and how often a minute the eyes blink.
LEVELS: Mapping[str, Mapping[str, float]] = {
    "W": {"delta": 9, "theta": 6.0, "alpha": 8.5, "sigma": 2.6, "beta": 4.4, "muscle": 2.6, "blinks": 6},
    "N1": {"delta": 10, "theta": 8, "alpha": 5.8, "sigma": 2.8, "beta": 3.7, "muscle": 1.8, "blinks": 1},
    "N2": {"delta": 13, "theta": 8.5, "alpha": 4.9, "sigma": 4.5, "beta": 3.0, "muscle": 1.5, "blinks": 0},
    "N3": {"delta": 24, "theta": 9, "alpha": 4.4, "sigma": 3.8, "beta": 2.6, "muscle": 1.3, "blinks": 0},
    "REM": {"delta": 9.5, "theta": 8, "alpha": 5.4, "sigma": 2.5, "beta": 3.8, "muscle": 1.3, "blinks": 4},
    "walking": {"delta": 14, "theta": 5.8, "alpha": 6.0, "sigma": 3.2, "beta": 5.2, "muscle": 7, "blinks": 12},
    "freezing": {"delta": 11, "theta": 14, "alpha": 3.8, "sigma": 4.0, "beta": 12, "muscle": 8, "blinks": 12},
}
BETWEEN_SUBJECTS = 0.20  # standard deviation of the log amplitude of a band
SLOW_CHANGE = 0.25  # the same, within a subject, over some ten seconds
AROUSAL = {"delta": -0.15, "theta": -0.05, "alpha": 0.05, "sigma": -0.05, "beta": 0.12, "muscle": 0.15}

STAGES = ("W", "N1", "N2", "N3", "REM")
# From epoch to epoch; about a quarter of a night is spent awake, as in ISRUC's patients.
STAGE_CHANGES = np.array(
    [
        [0.84, 0.16, 0.00, 0.00, 0.00],
        [0.08, 0.45, 0.42, 0.00, 0.05],
        [0.03, 0.04, 0.82, 0.07, 0.04],
        [0.02, 0.00, 0.08, 0.90, 0.00],
        [0.05, 0.03, 0.05, 0.00, 0.87],
    ]
)
WALKING_SECONDS, FREEZING_SECONDS = (4.0, 14.0), (3.0, 9.0)  # 40 % of the time frozen, as published
SHUFFLING, FROZEN = (0.0, 0.30), (0.50, 1.0)  # severity of a bout of walking and of an episode of freezing
TRANSITION_JITTER = 12.0  # seconds by which the body is ahead of the scored epoch or behind it

STRIDE_RATE = 0.95  # strides a second
TREMOR_RATE = 5.0  # Hz
# Gastrocnemius of the right leg and tibialis anterior of both: centre of each burst within the stride of the right
# leg (0 is its heel strike), and its width.
MUSCLES = (((0.40, 0.09),), ((0.58, 0.07), (0.93, 0.06)), ((0.08, 0.07), (0.43, 0.06)))
EMG_BAND = (20.0, 200.0)
FREEZES = 0.7  # share of the gait's pattern that trembling takes over where severity is 1


@dataclass(frozen=True)
class States:
    """A sequence of states: ``names[index[k]]`` holds from ``onset[k]`` seconds on."""

    names: tuple[str, ...]
    index: np.ndarray  # (K,) int64
    onset: np.ndarray  # (K,) seconds, rising

    def at(self, time: np.ndarray) -> np.ndarray:
        """Index of the state at each time, int64; before the first onset it is the first one."""
        return self.index[np.maximum(np.searchsorted(self.onset, time, side="right") - 1, 0)]

    def segments(self) -> list[tuple[str, float]]:
        return [(self.names[k], float(t)) for k, t in zip(self.index, self.onset, strict=True)]


def night(rng: np.random.Generator, n_epochs: int, seconds: float, begin: float) -> States:
    """A stage for each epoch: awake at first, then as ``STAGE_CHANGES`` says. The middle of an epoch has its stage."""
    stages = np.zeros(n_epochs, dtype=np.int64)
    asleep = int(rng.integers(2, 6))
    for epoch in range(1, n_epochs):
        if epoch == asleep:
            stages[epoch] = 1
        elif epoch > asleep:
            stages[epoch] = rng.choice(len(STAGES), p=STAGE_CHANGES[stages[epoch - 1]])
    changes = np.flatnonzero(np.diff(stages, prepend=-1))
    jitter = rng.uniform(-1, 1, len(changes)) * min(TRANSITION_JITTER, 0.4 * seconds)
    jitter[0] = 0.0
    return States(STAGES, stages[changes], begin + seconds * changes + jitter)


def walk(rng: np.random.Generator, duration: float) -> States:
    """Walking and freezing in turns, from 0 on."""
    onset, index = [0.0], [0]
    while True:
        low, high = FREEZING_SECONDS if index[-1] else WALKING_SECONDS
        after = onset[-1] + rng.uniform(low, high)
        if after >= duration:
            return States(("walking", "freezing"), np.array(index), np.array(onset))
        onset.append(after)
        index.append(1 - index[-1])


def severities(rng: np.random.Generator, states: States, time: np.ndarray) -> np.ndarray:
    """How frozen a walk is at each time, in [0, 1]: each bout and each episode has a severity of its own."""
    level = np.array([rng.uniform(*(FROZEN if index else SHUFFLING)) for index in states.index])
    return level[np.maximum(np.searchsorted(states.onset, time, side="right") - 1, 0)]


def eeg(
    rng: np.random.Generator,
    channels: Sequence[str],
    states: States,
    weights: np.ndarray,
    arousal: np.ndarray,
    beats: np.ndarray,
    rate: float,
    duration: float,
    effect: float,
    noise: float,
) -> np.ndarray:
    """EEG (C, T), float32 in uV.

    Parameters
    ----------
    channels : names whose first letter is the place (F, C, O) and whose digit is odd on the left.
    weights : (S, L) at ``LATENT_RATE``, how much of each state the body is in; columns add up to 1.
    arousal : (L,) at ``LATENT_RATE``, of about unit variance; the heart follows it too.
    beats : (K,) seconds of the heart's beats.
    effect : how far the states' levels lie apart; 0 gives all the same.
    noise : scales blinks, drift and the noise of the electrodes.
    """
    n = round(duration * rate)
    out = np.zeros((len(channels), n), dtype=np.float32)
    latent_time = np.arange(len(arousal)) / LATENT_RATE
    time = np.arange(n) / rate
    place = [channel[0] for channel in channels]
    side = [0 if int(channel[1:]) % 2 else 1 for channel in channels]
    for band, (low, high) in BANDS.items():
        logs = np.log([LEVELS[name][band] for name in states.names])
        logs = logs.mean() + effect * (logs - logs.mean())
        wandering = BETWEEN_SUBJECTS * rng.standard_normal() + SLOW_CHANGE * slow(rng, len(arousal), 10.0, LATENT_RATE)
        amplitude = np.interp(time, latent_time, np.exp(logs @ weights + wandering + AROUSAL[band] * arousal))
        sections = sps.butter(2, (low, min(high, 0.45 * rate)), btype="bandpass", fs=rate, output="sos")
        for hemisphere in (0, 1):
            source = sps.sosfilt(sections, rng.standard_normal(n))
            source *= amplitude / source.std()
            source = source.astype(np.float32)
            for row, (where, here) in enumerate(zip(place, side, strict=True)):
                out[row] += np.float32(SCALP[band][where] * (0.85 if here == hemisphere else 0.53)) * source
    blinks = np.array([LEVELS[name]["blinks"] for name in states.names])
    blinks = np.exp(np.log(blinks + 0.5).mean() * (1 - effect) + effect * np.log(blinks + 0.5)) - 0.5
    _add_blinks(rng, out, place, states, np.maximum(blinks, 0.0), rate, noise)
    for k in np.rint(beats * rate).astype(np.int64):  # the field of the heart, the same at all electrodes
        if 4 <= k < n - 4:
            out[:, k - 4 : k + 5] += 2.5 * np.hanning(9)
    for row in range(len(channels)):
        out[row] += noise * 3.0 * slow(rng, n, 2.0, rate)
        out[row] += noise * 1.5 * rng.standard_normal(n, dtype=np.float32)
    return out


def emg(
    rng: np.random.Generator,
    severity: np.ndarray,
    beats: np.ndarray,
    rate: float,
    duration: float,
    effect: float,
    noise: float,
) -> np.ndarray:
    """EMG of ``MUSCLES`` (3, T), float32 in uV.

    Parameters
    ----------
    severity : (L,) at ``LATENT_RATE``, in [0, 1]: 0 walks, 1 is frozen.
    beats : (K,) seconds of the heart's beats, which the electrodes of the leg pick up a little.
    effect : 0 leaves the gait as it is; 1 freezes it as described.
    """
    n = round(duration * rate)
    time, latent_time = np.arange(n) / rate, np.arange(len(severity)) / LATENT_RATE
    frozen = np.clip(FREEZES * effect * np.interp(time, latent_time, severity), 0.0, 1.0)
    own_stride = STRIDE_RATE * np.exp(0.10 * rng.standard_normal())
    stride = np.cumsum(own_stride * np.exp(0.06 * slow(rng, n, 3.0, rate))) / rate + rng.uniform()
    tremor = np.cumsum(TREMOR_RATE * np.exp(0.12 * rng.standard_normal() + 0.10 * slow(rng, n, 1.0, rate))) / rate
    sections = sps.butter(2, (EMG_BAND[0], min(EMG_BAND[1], 0.45 * rate)), btype="bandpass", fs=rate, output="sos")
    out = np.zeros((len(MUSCLES), n), dtype=np.float32)
    for row, bursts in enumerate(MUSCLES):
        walking = np.full(n, 0.12)
        for centre, width in bursts:
            away = np.remainder(stride - centre + 0.5, 1.0) - 0.5
            walking += np.exp(-0.5 * (away / width) ** 2)
        # Both legs tremble in turn, as in steps too short to move.
        trembling = 0.30 + 0.45 * np.clip(np.sin(2 * np.pi * (tremor + 0.5 * (row == 2))), 0.0, None)
        wandering = 0.15 * rng.standard_normal() + 0.15 * slow(rng, n, 5.0, rate)
        envelope = ((1 - frozen) * walking + frozen * trembling) * np.exp(wandering)
        carrier = sps.sosfilt(sections, rng.standard_normal(n))
        out[row] = 80.0 * envelope * carrier / carrier.std()
        out[row] += noise * 6.0 * rng.standard_normal(n)
    for k in np.rint(beats * rate).astype(np.int64):
        if 5 <= k < n - 5:
            out[:, k - 5 : k + 6] += 8.0 * np.hanning(11)
    return out


def _add_blinks(
    rng: np.random.Generator,
    out: np.ndarray,
    place: Sequence[str],
    states: States,
    per_minute: np.ndarray,
    rate: float,
    noise: float,
) -> None:
    """Blinks of some 70 uV over the front, at the state's rate."""
    n = out.shape[1]
    reach = np.array([{"F": 1.0, "C": 0.35, "O": 0.05}[where] for where in place], dtype=np.float32)
    width = round(0.4 * rate)
    shape = np.hanning(width)
    for begin, seconds, index in zip(states.onset, np.diff(states.onset, append=n / rate), states.index, strict=True):
        for at in rng.uniform(begin, begin + seconds, rng.poisson(per_minute[index] * seconds / 60)):
            k = round(at * rate)
            if k + width < n:
                out[:, k : k + width] += noise * rng.uniform(50, 90) * reach[:, None] * shape.astype(np.float32)
