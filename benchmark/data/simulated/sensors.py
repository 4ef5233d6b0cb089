"""ECG and PPG of a body whose beats and latent state are known.

The ECG is a sum of Gaussians over the phase between R peaks (the shape parameters of McSharry et al. 2003, doi
10.1109/TBME.2003.808805), the PPG a systolic and a reflected wave that arrive one pulse transit time later. Both have
noise and movement of their own.

Shapes: T samples of a sensor, L samples of the latent state, K beats.
"""

import numpy as np
from scipy import signal as sps

from benchmark.data.simulated.body import LATENT_RATE, Latent, slow

# P, Q, R, S, T: angle within the beat (rad), amplitude and width (rad) in ECGSYN's dynamical model, whose bumps have
# the height amplitude * width^2. Here they are normalised to R = 1 mV.
WAVE_ANGLE = np.array([-np.pi / 3, -np.pi / 12, 0.0, np.pi / 12, np.pi / 2])
WAVE_WIDTH = np.array([0.25, 0.1, 0.1, 0.1, 0.4])
WAVE_HEIGHT = np.array([1.2, -5.0, 30.0, -7.5, 0.75]) * WAVE_WIDTH**2 / (30.0 * 0.1**2)
T_WAVE = 4
CHUNK_SAMPLES = 1 << 18  # of an ECG, computed at once


def ecg(
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


def ppg(
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
