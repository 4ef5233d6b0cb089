"""The body behind all simulated sensors: a latent state over time, and the one series of beats that it drives.

The state is heart rate, its variability with the breath and with the 0.1 Hz rhythm, breathing, and vascular tone.
Subjects differ in level and in how strongly they react.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from scipy import signal as sps
from scipy.ndimage import gaussian_filter1d

LATENT_RATE = 50.0  # Hz, of the latent state


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


def latent_state(
    rng: np.random.Generator, segments: Sequence[tuple[str, float]], duration: float, effect: float, lead: float
) -> Latent:
    """The latent state over time: the subject's level, the state's change, and slow fluctuation.

    Parameters
    ----------
    segments : states and the seconds at which they begin, in order.
    duration : of the recording, s.
    effect : how strongly states act on the body; 0 leaves nothing to find.
    lead : seconds before a state's onset at which the body changes.
    """
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


def heart_beats(rng: np.random.Generator, latent: Latent) -> tuple[np.ndarray, np.ndarray]:
    """The breath (T,) in [-1, 1] and the seconds of the beats (K,): a beat whenever the heart rate's integral passes
    a whole number."""
    n = len(latent.heart_rate)
    wandering = np.exp(latent.irregularity * slow(rng, n, 2.5, LATENT_RATE))
    breath = np.sin(_phase(rng, latent.breathing_rate / 60 * wandering))
    mayer = np.sin(_phase(rng, 0.1 * np.exp(0.15 * slow(rng, n, 10.0, LATENT_RATE))))
    rate = latent.heart_rate + latent.respiratory * breath + latent.mayer * mayer + 0.6 * slow(rng, n, 1.0, LATENT_RATE)
    count = np.cumsum(np.clip(rate, 35.0, 180.0) / 60 / LATENT_RATE) + rng.uniform()
    return breath, np.interp(np.arange(1, int(count[-1]) + 1), count, np.arange(n) / LATENT_RATE)


def slow(rng: np.random.Generator, n: int, seconds: float, rate: float) -> np.ndarray:
    """A first-order autoregressive process (n,) of unit variance with that time constant, from its stationary state."""
    keep = np.exp(-1 / (seconds * rate))
    steps = rng.standard_normal(n) * np.sqrt(1 - keep**2)
    steps[0] = rng.standard_normal()
    return sps.lfilter([1.0], [1.0, -keep], steps)


def _phase(rng: np.random.Generator, frequency: np.ndarray) -> np.ndarray:
    return 2 * np.pi * (np.cumsum(frequency) / LATENT_RATE + rng.uniform())
