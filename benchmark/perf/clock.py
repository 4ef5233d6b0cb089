"""Timing of several ways to do one thing, side by side."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from benchmark.common.machine import PeakMemory


@dataclass(frozen=True)
class Timing:
    """The median of ``seconds``, and the process's peak memory in the first call."""

    seconds: float
    peak_mib: float
    rounds: int


def side_by_side(
    ways: Mapping[str, Callable[[], object]], budget: float, most: int = 15, least: int = 3
) -> dict[str, Timing]:
    """Time every way in turn, round after round, for about ``budget`` seconds.

    The first call of each is not timed: it warms up, and its peak memory is taken. Give the way that takes least memory
    first, since what the allocator keeps counts for those that follow.
    """
    peaks, first = {}, 0.0
    for name, way in ways.items():
        memory = PeakMemory(torch.device("cpu"))
        begin = time.perf_counter()
        way()
        first += time.perf_counter() - begin
        peaks[name] = memory.bytes() / 2**20
    rounds = max(least, min(most, int((budget - first) / max(first, 1e-9))))
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            begin = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - begin)
    return {name: Timing(statistics.median(taken), peaks[name], rounds) for name, taken in seconds.items()}
