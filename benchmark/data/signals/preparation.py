"""From raw recordings to what an encoder takes: resampling, filters, standardisation, windows.

Stages work on arrays (..., T), one signal per row, all rows at once. A preparation is a list of one-key mappings
as they stand in YAML, applied in order::

    [{resample_linear: 500}, {bandpass_fir: [0.05, 47]}, {resample_linear: 100}, {zscore: recording}]

A stage of scope ``window`` and all that follow it see each window by itself; ``{each: window}`` does nothing else.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from scipy import signal as sps

from benchmark.common.suggest import choose
from benchmark.errors import InputError

Stages = Sequence[Mapping[str, Any]]

FIR_ORDER = 150
CHEBYSHEV_ORDER = 4
CHEBYSHEV_RIPPLE_DB = 0.5


def resample_linear(signal: np.ndarray, rate: float, target: float) -> tuple[np.ndarray, float]:
    """Linear interpolation with the first and the last sample kept in place (HuBERT-ECG's resampling).

    No anti-aliasing: a band-pass belongs before a reduction of the rate.
    """
    n = _resampled_length(signal.shape[-1], rate, target)
    if n == signal.shape[-1]:
        return signal, target
    position = np.linspace(0.0, signal.shape[-1] - 1, n)
    left = np.minimum(position.astype(np.int64), max(signal.shape[-1] - 2, 0))
    right = np.minimum(left + 1, signal.shape[-1] - 1)
    fraction = position - left
    return signal[..., left] * (1 - fraction) + signal[..., right] * fraction, target


def resample_fft(signal: np.ndarray, rate: float, target: float) -> tuple[np.ndarray, float]:
    """Fourier resampling; takes the signal as periodic, so it rings where the two ends differ."""
    n = _resampled_length(signal.shape[-1], rate, target)
    return (signal if n == signal.shape[-1] else sps.resample(signal, n, axis=-1)), target


def resample_poly(signal: np.ndarray, rate: float, target: float) -> tuple[np.ndarray, float]:
    """Polyphase resampling with its zero-phase anti-aliasing FIR filter; edges are extended by a straight line."""
    n = _resampled_length(signal.shape[-1], rate, target)
    ratio = Fraction(target).limit_denominator(10_000) / Fraction(rate).limit_denominator(10_000)
    if ratio == 1:
        return signal, target
    resampled = sps.resample_poly(signal, ratio.numerator, ratio.denominator, axis=-1, padtype="line")
    return resampled[..., :n], target


def bandpass_fir(signal: np.ndarray, rate: float, band: Sequence[float]) -> tuple[np.ndarray, float]:
    """Zero-phase FIR band-pass of order 150 (Hamming window), run forward and backward."""
    _check_fit("bandpass_fir", signal, rate, band, 3 * (FIR_ORDER + 1))
    taps = sps.firwin(FIR_ORDER + 1, band, pass_zero="bandpass", fs=rate)
    return sps.filtfilt(taps, 1.0, signal, axis=-1), rate


def bandpass_chebyshev(signal: np.ndarray, rate: float, band: Sequence[float]) -> tuple[np.ndarray, float]:
    """Chebyshev type I band-pass of order 4 with 0.5 dB ripple, run forward and backward (zero phase)."""
    _check_fit("bandpass_chebyshev", signal, rate, band, 3 * (2 * CHEBYSHEV_ORDER + 1))
    sections = sps.cheby1(CHEBYSHEV_ORDER, CHEBYSHEV_RIPPLE_DB, band, btype="bandpass", fs=rate, output="sos")
    return sps.sosfiltfilt(sections, signal, axis=-1), rate


def zscore(signal: np.ndarray, rate: float, scope: str) -> tuple[np.ndarray, float]:
    """Zero mean and unit variance of each row; a constant row becomes zeros."""
    with np.errstate(over="ignore", invalid="ignore"):
        centred = signal - signal.mean(axis=-1, keepdims=True)
        deviation = centred.std(axis=-1, keepdims=True)
    if np.isinf(deviation).any():
        raise InputError("preparation stage zscore met values too large to be a signal; get the recording again")
    # Rounding leaves a constant row a deviation of about 1e-16 of its level: dividing by it would make noise.
    flat = deviation <= 1e-12 * np.maximum(1.0, np.abs(signal).max(axis=-1, keepdims=True, initial=0.0))
    return np.where(flat, 0.0, centred / np.where(flat, 1.0, deviation)), rate


def demean(signal: np.ndarray, rate: float, scope: str) -> tuple[np.ndarray, float]:
    """Zero mean of each row."""
    return signal - signal.mean(axis=-1, keepdims=True), rate


def scale(signal: np.ndarray, rate: float, factor: float) -> tuple[np.ndarray, float]:
    """Multiply, for a change of unit."""
    return signal * factor, rate


def each(signal: np.ndarray, rate: float, scope: str) -> tuple[np.ndarray, float]:
    """Nothing; with the scope ``window`` the stages after it see each window by itself."""
    return signal, rate


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_rate(value: Any) -> bool:
    return _is_number(value) and value > 0


def _is_band(value: Any) -> bool:
    return isinstance(value, Sequence) and len(value) == 2 and all(map(_is_number, value)) and 0 < value[0] < value[1]


class Stage(NamedTuple):
    """What is done to (signal, rate, argument), and which arguments that takes."""

    apply: Callable[[np.ndarray, float, Any], tuple[np.ndarray, float]]
    accepts: Callable[[Any], bool]
    accepted: str


SCOPES = ("recording", "window")
RESAMPLING = (resample_linear, resample_fft, resample_poly)
FILTERS = (bandpass_fir, bandpass_chebyshev)
SCOPED = (zscore, demean, each)
STAGES: Mapping[str, Stage] = {
    **{stage.__name__: Stage(stage, _is_rate, "a positive rate in Hz") for stage in RESAMPLING},
    **{stage.__name__: Stage(stage, _is_band, "[low, high] in Hz with 0 < low < high") for stage in FILTERS},
    **{stage.__name__: Stage(stage, SCOPES.__contains__, " or ".join(SCOPES)) for stage in SCOPED},
    "scale": Stage(scale, _is_number, "a number"),
}
CHUNK = 64  # windows that are prepared at once: bounds memory, whatever the length of a recording


def prepare(signal: np.ndarray, rate: float, stages: Stages) -> tuple[np.ndarray, float]:
    """Apply ``stages`` in order along the last axis.

    Parameters
    ----------
    signal : (..., T) array; one recording or a stack of windows. Computed in float64.
    rate : sampling rate in Hz.
    stages : one-key mappings ``{stage: argument}``; ``[]`` leaves the signal as it is.

    Returns
    -------
    (..., T') float64 array and its sampling rate in Hz.

    Raises
    ------
    InputError
        For an unknown stage, an argument the stage cannot take, or a signal too short for a filter.
    """
    signal = np.asarray(signal, dtype=np.float64)
    for name, argument in check_stages(stages):
        signal, rate = STAGES[name].apply(signal, rate, argument)
    return signal, rate


def prepare_windows(
    signal: np.ndarray, rate: float, stages: Stages, starts: np.ndarray, seconds: float
) -> tuple[np.ndarray, float]:
    """Prepare one recording and cut it into windows.

    The stages up to the first one with the scope ``window`` see the whole recording, the others each window.

    Parameters
    ----------
    signal : (C, T) recording, sampled at ``rate`` Hz.
    starts : (n,) seconds at which the windows begin.
    seconds : length of a window.

    Returns
    -------
    (n, C, T') float32 windows and their sampling rate in Hz.
    """
    first = next((k for k, (_, argument) in enumerate(check_stages(stages)) if argument == "window"), len(stages))
    if first:
        signal, rate = prepare(signal, rate, stages[:first])
    after = prepared_rate(rate, stages[first:])
    out = np.empty((len(starts), len(signal), round(seconds * after)), dtype=np.float32)
    for begin in range(0, len(starts), CHUNK):
        windows = cut(signal, rate, starts[begin : begin + CHUNK], seconds)
        if first < len(stages):
            windows, _ = prepare(windows, rate, stages[first:])
        out[begin : begin + len(windows)] = windows
    return out, after


def cut(signal: np.ndarray, rate: float, starts: np.ndarray, seconds: float) -> np.ndarray:
    """Windows (n, C, T) of a recording (C, T_recording) that begin at ``starts`` seconds, to the nearest sample."""
    n_samples = round(seconds * rate)
    first = _first_samples(starts, rate, n_samples, signal.shape[-1])
    if len(first) and (first.min() < 0 or first.max() + n_samples > signal.shape[-1]):
        raise ValueError(f"windows of {n_samples} samples at {first.tolist()} leave the signal of {signal.shape[-1]}")
    windows = np.lib.stride_tricks.sliding_window_view(signal, n_samples, axis=-1)
    return np.moveaxis(windows[..., first, :], -2, 0)


def _first_samples(starts: np.ndarray, rate: float, n_samples: int, length: int) -> np.ndarray:
    """The sample nearest to each start, int64 (n,), or the one before where rounding alone leaves the signal."""
    first = np.rint(np.asarray(starts, dtype=np.float64) * rate).astype(np.int64)
    return first - (first + n_samples == length + 1)


def starts_of(duration: float, seconds: float, stride: float) -> np.ndarray:
    """Seconds (n,) at which windows of ``seconds`` begin, every ``stride`` from 0 on, that lie within ``duration``."""
    return stride * np.arange(max(0, math.floor((duration - seconds) / stride + 1e-9) + 1))


def label_windows(
    label: np.ndarray, rate: float, starts: np.ndarray, seconds: float, share: float
) -> tuple[np.ndarray, np.ndarray]:
    """The most frequent label of each window, and whether it is that of at least ``share`` of the window's samples.

    Labels stay at their own rate: each sample of the signals has the label that is nearest in time.

    Parameters
    ----------
    label : (T,) integers sampled at ``rate`` Hz.
    starts : (n,) seconds at which the windows begin.
    share : in (0, 1]; 1 asks for one label throughout.

    Returns
    -------
    (n,) int64 labels and (n,) bool.
    """
    n_samples = round(seconds * rate)
    first = _first_samples(starts, rate, n_samples, len(label))
    values, index = np.unique(label, return_inverse=True)
    counts = np.zeros((len(values), len(first)), dtype=np.int64)
    for k in range(len(values)):
        passed = np.concatenate([[0], np.cumsum(index == k)])
        counts[k] = passed[first + n_samples] - passed[first]
    found = values[counts.argmax(axis=0)].astype(np.int64)
    return found, counts.max(axis=0, initial=0) >= share * n_samples - 1e-9


def prepared_rate(rate: float, stages: Stages) -> float:
    """Sampling rate in Hz after ``stages``."""
    for name, argument in check_stages(stages):
        rate = float(argument) if STAGES[name].apply in RESAMPLING else rate
    return rate


def prepared_unit(unit: str, stages: Stages) -> str:
    """Unit after ``stages``: "z" once standardised."""
    return "z" if any(name == "zscore" for name, _ in check_stages(stages)) else unit


def check_stages(stages: Stages) -> list[tuple[str, Any]]:
    """The stages as (name, argument) pairs; InputError for what ``prepare`` would not take."""
    if isinstance(stages, str | Mapping) or not isinstance(stages, Sequence):
        raise InputError(f"preparation is {stages!r}; give a list of stages such as [{{zscore: recording}}], or []")
    return [_check_stage(stage) for stage in stages]


def _check_stage(stage: Any) -> tuple[str, Any]:
    if isinstance(stage, str):
        raise InputError(f"preparation stage {stage!r} has no argument; write it as {{{stage}: ...}}")
    if not isinstance(stage, Mapping) or len(stage) != 1:
        raise InputError(f"preparation stage {stage!r} is not one {{stage: argument}}; accepted: {', '.join(STAGES)}")
    name, argument = next(iter(stage.items()))
    if name not in STAGES:
        raise InputError(f"unknown preparation stage {name!r}; {choose(str(name), STAGES)}")
    if not STAGES[name].accepts(argument):
        raise InputError(f"preparation stage {name} has {argument!r}; give {STAGES[name].accepted}")
    return name, argument


def _resampled_length(n: int, rate: float, target: float) -> int:
    return max(1, round(n * target / rate))


def _check_fit(name: str, signal: np.ndarray, rate: float, band: Sequence[float], padding: int) -> None:
    if band[1] >= rate / 2:
        raise InputError(
            f"preparation stage {name}: {band[1]:g} Hz is not below half the sampling rate ({rate:g} Hz) at that "
            "stage; lower it or resample before"
        )
    if signal.shape[-1] <= padding:
        raise InputError(
            f"preparation stage {name} needs more than {padding / rate:.3g} s of signal, found "
            f"{signal.shape[-1] / rate:.3g} s; prepare whole recordings or give longer ones"
        )
