"""Features standardised within each wearer, from his own unlabelled windows: all of them, or those that lie before.

Shapes: N windows, D features. A wearer's time runs through his recordings in their order, without the gaps.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmark.config.schema import WearerOptions
from benchmark.data.base import PairedWindows

SMALLEST = 1e-6  # of a feature's variance within wearers, so that what never moves is not made large
CLOSE = 1e-6  # seconds, of rounding


class Population(NamedTuple):
    """What is known of a wearer of whom nothing is known, (D,) each."""

    mean: Tensor
    """Of the wearers' means."""
    variance: Tensor
    """Within wearers, the mean over them."""

    def __call__(self, x: Tensor) -> Tensor:
        """(N, D) in its units."""
        return (x - self.mean) / self.variance.sqrt()


def population_of(x: Tensor, subject: np.ndarray) -> Population:
    """Of the windows (N, D) of some subjects (N,)."""
    own = [x[torch.from_numpy(np.flatnonzero(subject == one))] for one in np.unique(subject)]
    variance = torch.stack([part.var(0, unbiased=False) for part in own]).mean(0)
    floor = SMALLEST * variance.max().clamp_min(SMALLEST)
    return Population(torch.stack([part.mean(0) for part in own]).mean(0), variance.clamp_min(floor))


def moments(
    x: Tensor, windows: np.ndarray, data: PairedWindows, kind: str, options: WearerOptions, population: Population
) -> tuple[Tensor, Tensor]:
    """For each window its wearer's mean and standard deviation, (N, D) each.

    Both are shrunk towards those of the population, which count as much as ``options.shrinkage`` windows.

    Parameters
    ----------
    x : (N, D), of ``windows``.
    windows : (N,) indices of the data set; of these alone anything is learnt.
    kind : ``wearer``: from all of his windows, or those of his ``options.first`` seconds; ``causal``: for each window
        from those that had ended when it began, as soon as they reach over ``options.warm_up`` seconds.
    """
    mean, deviation = torch.empty_like(x), torch.empty_like(x)
    subject = data.subject[windows]
    for one in np.unique(subject):
        rows = np.flatnonzero(subject == one)
        rows = rows[np.argsort(windows[rows])]
        at = torch.from_numpy(rows)
        begin, end = wearers_time(data, windows[rows])
        if kind == "causal":
            known = np.searchsorted(end, begin + CLOSE, side="right")  # of his windows, so many lie before each
            known[begin < options.warm_up - CLOSE] = 0
        else:
            last = len(rows) if options.first is None else np.searchsorted(end, options.first + CLOSE, side="right")
            known = np.full(len(rows), last)
        mean[at], deviation[at] = _shrunk(x[at], torch.from_numpy(known), options.shrinkage, population)
    return mean, deviation


def wearers_time(data: PairedWindows, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Seconds (n,) of a wearer's time at which his windows begin and end, both increasing."""
    recording, start, seconds = data.recording[windows], data.start[windows], data.old.spec.seconds
    begin, offset = np.empty(len(windows)), 0.0
    _, first = np.unique(recording, return_index=True)
    for at in np.sort(first):
        mine = np.flatnonzero(recording == recording[at])
        begin[mine] = offset + start[mine] - start[mine].min()
        offset = begin[mine].max() + seconds
    return begin, begin + seconds


def _shrunk(x: Tensor, known: Tensor, shrinkage: float, population: Population) -> tuple[Tensor, Tensor]:
    """For each row mean and deviation of the first ``known`` (n,) of them, shrunk."""
    centred = (x - population.mean).double()  # so that sums of squares keep their digits
    sums, squares = (
        torch.cat([part.new_zeros(1, part.shape[1]), part.cumsum(0)])[known] for part in (centred, centred.square())
    )
    n = known[:, None].to(sums)
    mean = sums / n.clamp_min(1)
    variance = (squares / n.clamp_min(1) - mean.square()).clamp_min(0)
    share = n / (n + shrinkage).clamp_min(1e-12)
    within = share * variance + (1 - share) * population.variance.double()
    within = within.clamp_min(SMALLEST * population.variance.double())
    return (share * mean).to(x) + population.mean, within.sqrt().to(x)
