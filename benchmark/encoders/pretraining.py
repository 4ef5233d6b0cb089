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
from collections.abc import Iterator
from itertools import count
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.common.progress import Progress, silent
from benchmark.config.schema import PretrainingOptions
from benchmark.encoders.base import Encoder
from benchmark.encoders.descriptors import View, targets
from benchmark.errors import InputError

WARM_UP = 0.15  # fraction of all steps
LARGEST_GRADIENT = 1.0


def pretrain(
    encoder: Encoder, windows: np.ndarray, options: PretrainingOptions, seed: int, progress: Progress = silent
) -> dict[str, Any]:
    """Train all weights of ``encoder`` in place and leave it in evaluation mode.

    Parameters
    ----------
    encoder : as built, on the device to train on.
    windows : (N, C, T) float32 in the unit of ``encoder.signal``; no labels.
    seed : of the batches, of what is hidden, of the heads; the same seed gives the same weights on one machine.

    Returns
    -------
    ``windows``, ``steps``, ``seconds``, ``loss`` (the last block's at each step) and ``explained``: for each block,
    the fraction of the descriptors' variance that its head explained in the last tenth of the steps.

    Raises
    ------
    InputError
        For fewer than 2 windows.
    """
    if len(windows) < 2:
        raise InputError(f"{len(windows)} windows are too few to pre-train {encoder.name} on; give at least 2")
    size = min(options.batch_size, len(windows))
    begin = time.perf_counter()
    rng = np.random.default_rng(seed)
    steps, device = options.steps, encoder.device
    n_views = min(options.views, -(-steps * size // len(windows)))  # no more than the steps get to see
    views = View.draw(len(windows), n_views, options.stretch, rng)
    target = torch.from_numpy(targets(windows, views, encoder.rate))
    batches = _batches(len(windows), size, rng)
    losses = np.empty((steps, encoder.n_blocks))
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)  # of the heads, and of dropout
        widths = [encoder.shape_at(block)[1] for block in range(1, encoder.n_blocks + 1)]
        heads = nn.ModuleList(_head(width, target.shape[-1]) for width in widths).to(device)
        parameters = [*encoder.requires_grad_(True).train().parameters(), *heads.parameters()]
        parameters = [parameter for parameter in parameters if parameter.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=options.learning_rate, weight_decay=options.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, options.learning_rate, total_steps=steps + 1, pct_start=WARM_UP
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


def _head(width: int, n_descriptors: int) -> nn.Module:
    return nn.Sequential(nn.BatchNorm1d(width, affine=False), nn.Linear(width, n_descriptors))


def _see(encoder: Encoder, windows: np.ndarray, options: PretrainingOptions, rng: np.random.Generator) -> list[Tensor]:
    """Every block's output, for a part of each window."""
    n_tokens, most = encoder.shape_at(0)[0], options.tokens
    if not (n_tokens > most and takes_any_tokens(encoder)):
        hidden_spans = hide(windows, options.masked, round(options.span_seconds * encoder.rate), rng)
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
