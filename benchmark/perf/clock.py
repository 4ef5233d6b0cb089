"""Timing of several ways to do one thing, side by side, until it is clear whether a promise is kept.

Absolute times tell how busy the host is. So ways are compared within each round, in which all of them take their turns,
and it is the comparisons of all rounds whose median and quartiles are reported.
"""

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchmark.common.machine import PeakMemory
from benchmark.perf.directions import device

STORE = "store"
ENOUGH = 7
"""Rounds whose quartiles say something; of fewer the extremes are taken."""
FEWEST = 3
"""Rounds that a promise needs, whatever time they take."""
SHORTEST = 0.05
"""Seconds of a turn: a way that is shorter is done several times, so that a single interruption is little of it."""

Seconds = Mapping[str, Sequence[float]]
"""What each way took in each round."""


@dataclass(frozen=True)
class Comparison:
    """Of another way with the store's: ``unit`` is ``x faster``, or ``x as long`` where the other is a floor; or of a
    way with nothing, in ``s``. The first is promised to be at least ``promise``, the others at most."""

    unit: str
    promise: float | None = None

    @property
    def at_least(self) -> bool:
        return self.unit == "x faster"

    def of(self, way: str, seconds: Seconds) -> np.ndarray:
        """One value a round."""
        other = np.asarray(seconds[way])
        if self.unit == "s":
            return other
        store = np.asarray(seconds[STORE])
        return other / store if self.at_least else store / other

    def judged(self, values: np.ndarray) -> dict[str, Any]:
        """Columns of a row: what the rounds gave, from ``low`` to ``high``, and whether the promise is kept.

        It is ``met`` or ``MISSED`` where both ends of that range are on one side of it, else ``not decided``.
        """
        ends = (0.25, 0.75) if len(values) >= ENOUGH else (0.0, 1.0)
        low, value, high = (float(np.quantile(values, q)) for q in (ends[0], 0.5, ends[1]))
        row = {"unit": self.unit, "low": low, "value": value, "high": high, "promise": self.promise, "verdict": None}
        if self.promise is not None:
            kept = [end >= self.promise if self.at_least else end <= self.promise for end in (low, high)]
            undecided = len(values) < FEWEST or kept[0] != kept[1]
            row["verdict"] = "not decided" if undecided else "met" if kept[0] else "MISSED"
        return row


def rows(seconds: Seconds, comparisons: Mapping[str, Comparison]) -> dict[str, dict[str, Any]]:
    """By way, columns of a row: the median of its seconds, how many rounds there were, and its comparison."""
    return {
        way: {
            "way": way,
            "seconds": statistics.median(taken),
            "rounds": len(taken),
            **(comparisons[way].judged(comparisons[way].of(way, seconds)) if way in comparisons else {}),
        }
        for way, taken in seconds.items()
    }


def warm_up(ways: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Call each way once, untimed; the process's peak memory in MiB meanwhile, by way.

    Give the way that takes least memory first, since what the allocator keeps counts for those that follow.
    """
    peaks = {}
    for name, way in ways.items():
        memory = PeakMemory(torch.device(device()))
        way()
        settled()
        peaks[name] = memory.bytes() / 2**20
    return peaks


def until_decided(
    one_round: Callable[[int], Mapping[str, float]],
    comparisons: Mapping[str, Comparison],
    budget: float,
    now: Callable[[], float] = time.perf_counter,
) -> dict[str, dict[str, Any]]:
    """``rows`` of what rounds gave, the seconds by way of each; they are numbered from 0.

    It goes on until every promise is decided, for a quarter of ``budget`` (seconds) at least, so that no single busy
    moment decides; or until another round would not fit into the budget.
    """
    fewest = FEWEST if any(comparison.promise is not None for comparison in comparisons.values()) else 1
    seconds: dict[str, list[float]] = {}
    begin, done = now(), 0
    while True:
        started = now()
        for way, taken in one_round(done).items():
            seconds.setdefault(way, []).append(taken)
        done, spent, last = done + 1, now() - begin, now() - started
        found = rows(seconds, comparisons)
        decided = done >= ENOUGH and all(row.get("verdict") != "not decided" for row in found.values())
        if (decided and spent >= budget / 4) or (done >= fewest and spent + last > budget):
            return found


def side_by_side(
    ways: Mapping[str, Callable[[], object]],
    comparisons: Mapping[str, Comparison],
    budget: float,
    now: Callable[[], float] = time.perf_counter,
) -> dict[str, dict[str, Any]]:
    """``until_decided`` with ways that are warm; they take their turns in another order in each round."""

    def one_round(number: int) -> dict[str, float]:
        return {way: _turn(ways[way], now) for way in random.Random(number).sample(list(ways), len(ways))}

    return until_decided(one_round, comparisons, budget, now)


def settled() -> None:
    """A GPU has done all that it was asked to: until then a call is not over, though it has returned."""
    if device() == "cuda":
        torch.cuda.synchronize()


def _turn(way: Callable[[], object], now: Callable[[], float]) -> float:
    """Seconds of a call."""
    begin, calls = now(), 0
    while not calls or now() - begin < SHORTEST:
        way()
        settled()
        calls += 1
    return (now() - begin) / calls
