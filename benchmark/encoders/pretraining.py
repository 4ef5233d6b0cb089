"""Self-supervised training of an encoder on unlabelled windows: what ``weights=local`` are.

One pretext task for all encoders, a spectral regression: the encoder sees a part of a window, and through a linear
head that is thrown away afterwards, the pooled output of *every* block describes the whole window: its spectrum, the
rhythm of its envelope, its period (of a heart: the time between two beats), and the spread of its values. Pooled,
because pooled features are what probes, heads and bridges read; at every block, because a bridge can leave and enter
at any. Windows are stretched in time at random, and what is to be described with them: else, with few subjects, rate
is learnt from the shape of the beats that a subject happens to have.

Shapes: N windows, C channels, T samples, K descriptors, V views of a window, B windows of a batch.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count, pairwise
from typing import Any

import numpy as np
import torch
from scipy import signal as sps
from scipy.ndimage import gaussian_filter1d
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.data.signals import preparation
from benchmark.cache import Progress, silent
from benchmark.encoders.base import Encoder
from benchmark.errors import InputError
from benchmark.config.options import Check, positive, whole
from benchmark.common.suggest import choose

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
WARM_UP = 0.15  # fraction of all steps
LARGEST_GRADIENT = 1.0


def _fraction(value: Any, blocks: object) -> str | None:
    right = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1
    return None if right else "a number from 0 to below 1"


def _not_negative(value: Any, blocks: object) -> str | None:
    right = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < np.inf
    return None if right else "a number of at least 0"


def _stretch(value: Any, blocks: object) -> str | None:
    right = isinstance(value, int | float) and not isinstance(value, bool) and 1 <= value <= 2
    return None if right else "a factor from 1 (none) to 2"


OPTIONS: Mapping[str, Check] = {
    "steps": whole(1),
    "batch_size": whole(2),
    "learning_rate": positive,
    "weight_decay": _not_negative,
    "stretch": _stretch,
    "views": whole(1),
    "masked": _fraction,
    "span_seconds": positive,
    "tokens": whole(1),
}


def pretrain(
    encoder: Encoder, windows: np.ndarray, options: Mapping[str, Any], seed: int, progress: Progress = silent
) -> dict[str, Any]:
    """Train all weights of ``encoder`` in place and leave it in evaluation mode.

    Parameters
    ----------
    encoder : as built, on the device to train on.
    windows : (N, C, T) float32 in the unit of ``encoder.signal``; no labels.
    options : as in ``conf/pretraining/spectral.yaml``.
    seed : of the batches, of what is hidden, of the heads; the same seed gives the same weights on one machine.

    Returns
    -------
    ``windows``, ``steps``, ``seconds``, ``loss`` (the last block's at each step) and ``explained``: for each block,
    the fraction of the descriptors' variance that its head explained in the last tenth of the steps.

    Raises
    ------
    InputError
        For an option that is missing, unknown or out of range, and for fewer than 2 windows.
    """
    check(options)
    if len(windows) < 2:
        raise InputError(f"{len(windows)} windows are too few to pre-train {encoder.name} on; give at least 2")
    size = min(options["batch_size"], len(windows))
    begin = time.perf_counter()
    rng = np.random.default_rng(seed)
    steps, device = options["steps"], encoder.device
    n_views = min(options["views"], -(-steps * size // len(windows)))  # no more than the steps get to see
    views = View.draw(len(windows), n_views, options["stretch"], rng)
    target = torch.from_numpy(targets(windows, views, encoder.signal.rate))
    batches = _batches(len(windows), size, rng)
    losses = np.empty((steps, encoder.n_blocks))
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)  # of the heads, and of dropout
        widths = [encoder.shape_at(block)[1] for block in range(1, encoder.n_blocks + 1)]
        heads = nn.ModuleList(_head(width, target.shape[-1]) for width in widths).to(device)
        parameters = [*encoder.requires_grad_(True).train().parameters(), *heads.parameters()]
        parameters = [parameter for parameter in parameters if parameter.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=options["learning_rate"], weight_decay=options["weight_decay"])
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, options["learning_rate"], total_steps=steps + 1, pct_start=WARM_UP
        )
        for step in range(steps):
            epoch, batch = next(batches)
            view = epoch % n_views
            wanted = target[view, batch].to(device)
            outputs = _see(encoder, views.of(windows[batch], batch, view), options, rng)
            each = torch.stack(
                [F.mse_loss(head(encoder.pool(hidden)), wanted) for head, hidden in zip(heads, outputs, strict=True)]
            )
            loss = each[-1] + each[:-1].sum() / max(1, len(each) - 1)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, LARGEST_GRADIENT)
            optimizer.step()
            schedule.step()
            losses[step] = each.detach().cpu().numpy()
            progress(step + 1, steps, f"pre-training {encoder.name}")
    encoder.zero_grad(set_to_none=True)
    _settle_statistics(encoder, windows, size)
    last = losses[-max(1, steps // 10) :].mean(axis=0)
    return {
        "windows": len(windows),
        "steps": steps,
        "seconds": time.perf_counter() - begin,
        "loss": losses[:, -1].tolist(),
        "explained": (1 - last / float(target.square().mean())).tolist(),
    }


def _batches(n: int, size: int, rng: np.random.Generator) -> Iterator[tuple[int, np.ndarray]]:
    """(epoch, indices) without end; what is left over at the end of an epoch is dropped."""
    for epoch in count():
        for batch in rng.permutation(n)[: n // size * size].reshape(-1, size):
            yield epoch, batch


def check(options: Mapping[str, Any]) -> None:
    """InputError for the first option that is unknown, missing or out of range."""
    for name in options:
        if name not in OPTIONS:
            raise InputError(f"unknown option pretraining.{name}; {choose(str(name), OPTIONS)}")
    for name, accepts in OPTIONS.items():
        if name not in options:
            raise InputError(f"option pretraining.{name} is missing; give {accepts(None, None)}")
        if accepted := accepts(options[name], None):
            raise InputError(f"pretraining.{name}={options[name]} cannot be used; give {accepted}")


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


def _head(width: int, n_descriptors: int) -> nn.Module:
    return nn.Sequential(nn.BatchNorm1d(width, affine=False), nn.Linear(width, n_descriptors))


def _see(encoder: Encoder, windows: np.ndarray, options: Mapping[str, Any], rng: np.random.Generator) -> list[Tensor]:
    """Every block's output, for a part of each window."""
    n_tokens, most = encoder.shape_at(0)[0], options["tokens"]
    if not (n_tokens > most and takes_any_tokens(encoder)):
        hidden_spans = hide(windows, options["masked"], round(options["span_seconds"] * encoder.signal.rate), rng)
        return encoder.block_outputs(encoder.prepare(hidden_spans).to(encoder.device))[1:]
    # Attention grows with the square of the tokens: a part of them is both the pretext and what makes it quick.
    hidden = encoder.embed(encoder.prepare(windows).to(encoder.device))
    kept = torch.from_numpy(np.sort(rng.permutation(n_tokens)[:most])).to(encoder.device)
    hidden = encoder.from_tokens(encoder.to_tokens(hidden)[:, kept])
    outputs = []
    for block in range(encoder.n_blocks):
        hidden = encoder.run(hidden, block, block + 1)
        outputs.append(hidden)
    return outputs


def takes_any_tokens(encoder: Encoder) -> bool:
    """Whether blocks take any subset of the tokens: where all keep their number and the hidden is (B, T, D) itself."""
    if len({encoder.shape_at(block)[0] for block in range(encoder.n_blocks + 1)}) > 1:
        return False
    tokens, width = encoder.shape_at(0)
    with torch.no_grad():
        return encoder.from_tokens(torch.empty(1, tokens, width, device="meta")).shape == (1, tokens, width)


def hide(windows: np.ndarray, fraction: float, span: int, rng: np.random.Generator) -> np.ndarray:
    """A copy of ``windows`` (B, C, T) in which random spans of samples, in all channels, are at the channel's mean.

    Spans may overlap, so that at most ``fraction`` of a window is hidden, but for the rounding up to whole spans.
    """
    length = windows.shape[-1]
    span = min(max(1, span), length)
    if fraction <= 0:
        return windows.copy()
    starts = rng.integers(0, length - span + 1, size=(len(windows), int(np.ceil(fraction * length / span))))
    sample = np.arange(length)
    hidden = np.any((sample >= starts[..., None]) & (sample < starts[..., None] + span), axis=1, keepdims=True)
    return np.where(hidden, windows.mean(axis=-1, keepdims=True), windows)


@torch.no_grad()
def _settle_statistics(encoder: Encoder, windows: np.ndarray, size: int) -> None:
    """Evaluation mode; batch norms, if any, with the statistics of whole windows instead of those of parts."""
    encoder.eval()
    norms = [module for module in encoder.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over batches
        norm.train()
    for begin in range(0, len(windows) // size * size, size):
        encoder(encoder.prepare(windows[begin : begin + size]).to(encoder.device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    encoder.eval()
