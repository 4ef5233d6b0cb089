"""What pre-training asks encoders to describe: spectrum, rhythm, period and values of unlabelled windows.

Shapes: N windows, C channels, T samples, K descriptors, V views of a window, B windows of a batch.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import signal as sps
from scipy.ndimage import gaussian_filter1d

from benchmark.data.signals import preparation

BANDS = 24  # of the spectrum, evenly spaced in log frequency
LOWEST, HIGHEST = 0.5, 45.0  # Hz, of the spectrum
ENVELOPE_RATE = 25.0  # Hz
RHYTHM_BANDS, RHYTHM_LOWEST, RHYTHM_HIGHEST = 16, 0.1, 4.0  # of the envelope's spectrum, in Hz
PERIOD_RATE = 50.0  # Hz, of the upstrokes
PERIOD_SHORTEST, PERIOD_LONGEST = 0.33, 1.7  # s
PERIOD_SMOOTHING = 0.08  # s
QUANTILES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)
PERIOD_WEIGHT = 4.0  # of the other groups' weights, for a perfectly periodic signal
CHUNK = 256  # windows that are described at once


@dataclass(frozen=True)
class View:
    """How each window is stretched in each view: ``factor`` (N, V), above 1 for slower; ``start`` (N, V) in [0, 1)."""

    factor: np.ndarray
    start: np.ndarray

    @classmethod
    def draw(cls, n_windows: int, n_views: int, largest: float, rng: np.random.Generator) -> "View":
        factor = np.exp(rng.uniform(-np.log(largest), np.log(largest), size=(n_windows, n_views)))
        return cls(factor, rng.random((n_windows, n_views)))

    def of(self, windows: np.ndarray, indices: np.ndarray, view: int) -> np.ndarray:
        """One view (B, C, T) of ``windows`` (B, C, T), which are those at ``indices``, by linear interpolation.

        A window that is made slower is cropped to a random part; one that is made faster goes on from its beginning.
        """
        factor, start = self.factor[indices, view, None], self.start[indices, view, None]
        last = windows.shape[-1] - 1
        position = np.maximum(0.0, 1 - 1 / factor) * last * start + np.arange(last + 1) / factor
        position = np.where(position > last, position - last, position)
        left = np.minimum(position.astype(np.int64), last - 1)
        fraction = (position - left).astype(np.float32)[:, None]
        before = np.take_along_axis(windows, left[:, None], axis=-1)
        after = np.take_along_axis(windows, left[:, None] + 1, axis=-1)
        return before + fraction * (after - before)


def targets(windows: np.ndarray, views: View, rate: float) -> np.ndarray:
    """What each view of each window is like as a whole: the descriptors, (V, N, K) float32, each standardised.

    A group's weight in the loss does not depend on how many descriptors it has. The groups weigh the same but for the
    period, which weighs more, in so far as the signals are periodic. The mean square of all is about 1.
    """
    n_windows, n_views = views.factor.shape
    rows = [
        describe(views.of(windows[chunk], chunk, view), rate)
        for view in range(n_views)
        for chunk in np.array_split(np.arange(n_windows), -(-n_windows // CHUNK))
    ]
    groups = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    weights = dict.fromkeys(groups, 1.0)
    weights["period"] = PERIOD_WEIGHT * float(np.clip(np.median(groups["period"][:, 1]), 0.0, 1.0))
    total, n = sum(weights.values()), sum(group.shape[1] for group in groups.values())
    scaled = [
        _standardise(group) * np.sqrt(weights[name] / total * n / group.shape[1]) for name, group in groups.items()
    ]
    return np.concatenate(scaled, axis=1).astype(np.float32).reshape(n_views, n_windows, n)


def describe(windows: np.ndarray, rate: float) -> dict[str, np.ndarray]:
    """Groups of descriptors of windows (N, C, T) sampled at ``rate`` Hz; each group is (N, number of descriptors).

    ``spectrum``: the mean over channels of the log spectrum; ``contrast``, with several channels: its deviation over
    them; ``rhythm``; ``period``; ``values``: quantiles.
    """
    windows = windows.astype(np.float64)
    spectrum = log_spectrum(windows, rate)
    groups = {
        "spectrum": spectrum.mean(axis=1),
        "rhythm": rhythm(windows, rate),
        "period": period(windows, rate),
        "values": np.quantile(windows, QUANTILES, axis=-1).mean(axis=-1).T,
    }
    return groups | {"contrast": spectrum.std(axis=1)} if windows.shape[1] > 1 else groups


def log_spectrum(windows: np.ndarray, rate: float) -> np.ndarray:
    """(N, C, T) -> (N, C, K): log mean power (Welch, 4 s segments) in bands of equal width in log frequency."""
    length = min(windows.shape[-1], round(4 * rate))
    frequency, power = sps.welch(windows, rate, nperseg=length, axis=-1)
    floor = 1e-8 * power.mean(axis=(-1, -2), keepdims=True) + np.finfo(np.float64).tiny
    edges = np.geomspace(LOWEST, min(HIGHEST, 0.45 * rate), BANDS + 1)
    return _log_bands(frequency, power, edges, floor)


def rhythm(windows: np.ndarray, rate: float) -> np.ndarray:
    """(N, C, T) -> (N, K): log spectrum of the envelope, the mean over channels of the steepness |x'|.

    The steepness is relative to the window's mean, and cut at 8 times it, so that one artefact does not decide.
    """
    steepness = np.abs(np.diff(windows, axis=-1, prepend=windows[..., :1]))
    steepness /= steepness.mean(axis=(-1, -2), keepdims=True) + np.finfo(np.float64).tiny
    envelope, rate = preparation.resample_poly(np.minimum(steepness, 8.0).mean(axis=1), rate, ENVELOPE_RATE)
    envelope = (envelope - envelope.mean(axis=-1, keepdims=True)) * np.hanning(envelope.shape[-1])
    n = max(512, envelope.shape[-1])  # padded, so that bands of low frequency are not empty
    power = np.abs(np.fft.rfft(envelope, n)) ** 2
    edges = np.geomspace(RHYTHM_LOWEST, RHYTHM_HIGHEST, RHYTHM_BANDS + 1)
    return _log_bands(np.fft.rfftfreq(n, 1 / rate), power, edges, 1e-3)


def period(windows: np.ndarray, rate: float) -> np.ndarray:
    """(N, C, T) -> (N, 2): log of the period in s (of a heart: between two beats), and the autocorrelation there.

    The period is the shortest lag at which the autocorrelation of the upstrokes, the positive part of x', has a local
    maximum of at least 0.8 of its largest.
    """
    upstrokes = np.maximum(np.diff(windows, axis=-1, prepend=windows[..., :1]), 0.0)
    upstrokes /= upstrokes.mean(axis=(-1, -2), keepdims=True) + np.finfo(np.float64).tiny
    train, rate = preparation.resample_poly(np.minimum(upstrokes, 8.0).mean(axis=1), rate, PERIOD_RATE)
    train = gaussian_filter1d(train - train.mean(axis=-1, keepdims=True), PERIOD_SMOOTHING * rate, axis=-1)
    n = train.shape[-1]
    power = np.abs(np.fft.rfft(train, 2 * n)) ** 2
    correlation = np.fft.irfft(power)[..., :n] / (n - np.arange(n))
    correlation /= correlation[..., :1] + np.finfo(np.float64).tiny
    first = round(PERIOD_SHORTEST * rate)
    lags = np.arange(first, min(round(PERIOD_LONGEST * rate), n - 2) + 1)
    before, here, after = (correlation[:, lags + shift] for shift in (-1, 0, 1))
    peak = np.where((here > before) & (here >= after), here, -np.inf)
    peak[~np.isfinite(peak).any(axis=-1)] = 0.0  # no maximum at all: the first lag
    best = (peak >= 0.8 * np.abs(peak.max(axis=-1, keepdims=True))).argmax(axis=-1)
    row = np.arange(len(windows))
    bend = before[row, best] - 2 * here[row, best] + after[row, best]
    shift = 0.5 * (before[row, best] - after[row, best]) / np.where(bend < 0, bend, -np.inf)  # of the parabola's top
    return np.stack([np.log((lags[best] + np.clip(shift, -0.5, 0.5)) / rate), here[row, best]], axis=-1)


def _log_bands(frequency: np.ndarray, power: np.ndarray, edges: np.ndarray, floor: np.ndarray | float) -> np.ndarray:
    inside = [(frequency >= low) & (frequency < high) for low, high in pairwise(edges)]
    return np.log(np.stack([power[..., band].mean(axis=-1) for band in inside if band.any()], axis=-1) + floor)


def _standardise(values: np.ndarray) -> np.ndarray:
    deviation = values.std(axis=0)
    # An artefact may be many deviations away; what it would pull the squared error by is bounded.
    return np.clip((values - values.mean(axis=0)) / np.where(deviation > 1e-9, deviation, 1.0), -5.0, 5.0)
