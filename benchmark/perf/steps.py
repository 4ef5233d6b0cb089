"""Training and evaluating one batch: the bridge from the store, the plain loop, and the floor under both.

The floor of a training step is the bare forward and backward through blocks j.. of the old model; that of an
evaluation the bare forward.
"""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmark.bridge.training import Bridge
from benchmark.perf.clock import Timing, side_by_side
from benchmark.perf.directions import BATCH, open_task, options
from benchmark.perf.plain import PlainLoop

LEAST = {  # times faster than the plain loop, at the paper's positions: what is promised
    ("train", "wesad_ppg2ecg"): 10.0,
    ("train", "wesad_ecg2ppg"): 2.8,
    ("train", "isruc_eeg2ecg"): 1.8,
    ("train", "isruc_ecg2eeg"): 2.6,
    ("train", "fog_eeg2emg"): 500.0,
    ("train", "fog_emg2eeg"): 4.5,
    ("evaluate", "wesad_ppg2ecg"): 20.0,
    ("evaluate", "isruc_eeg2ecg"): 2.2,
}
MOST_OF_FLOOR = 1.15
SAME_LOSS = 1e-3  # relative: both loops must do the same thing


def measure(direction: str, cache: Path, budget: float) -> Iterator[dict[str, Any]]:
    """Rows for one direction; RuntimeError if the two loops do not train the same bridge."""
    size = BATCH[direction]
    task = open_task(direction, cache, pair=size, val=size)
    point = options(direction)
    method = Bridge(task, point, seed=0)
    plain = PlainLoop(task, point, method.state())
    pair = task.indices("pair")
    inputs = task.old.inputs(task.windows("old").take(pair)), task.new.inputs(task.windows("new").take(pair))
    old, j = task.old, method.j
    tokens, width = old.shape_at(j)
    entered = old.from_tokens(torch.randn(size, tokens, width)).detach().requires_grad_()
    with torch.no_grad():
        gradient = torch.randn_like(old.run(entered, j, old.n_blocks))

    def floor() -> None:
        entered.grad = None
        old.run(entered, j, old.n_blocks).backward(gradient)

    @torch.no_grad()
    def bare() -> None:
        old.run(entered, j, old.n_blocks)

    x = task.pooled("new", "pair", method.i + 1)
    bridge = copy.deepcopy(method.bridge)
    with torch.no_grad():
        pull = torch.randn_like(bridge(x))

    def bridge_alone() -> None:
        bridge.zero_grad()
        bridge(x).backward(pull)

    losses: dict[str, list[float]] = {"store": [], "plain": []}
    training = {
        "bridge alone": bridge_alone,
        "floor": floor,
        "store": lambda: losses["store"].append(method.train_epoch().loss),
        "plain": lambda: losses["plain"].append(plain.step(*inputs)),
    }

    @torch.no_grad()
    def evaluate() -> None:
        method._logits(x)

    evaluating = {"floor": bare, "store": evaluate, "plain": lambda: plain.evaluate(*inputs)}
    for what, ways in (("train", training), ("evaluate", evaluating)):
        found = side_by_side(ways, budget / 2, most=25 if what == "train" else 15)
        yield from _rows(what, direction, found)
    for ours, plainly in zip(losses["store"][:3], losses["plain"][:3], strict=True):
        if abs(ours / plainly - 1) > SAME_LOSS:
            raise RuntimeError(f"{direction}: training from the store is not the plain loop: losses {losses}")


def _rows(what: str, direction: str, found: dict[str, Timing]) -> Iterator[dict[str, Any]]:
    store = found["store"].seconds
    for way, timing in found.items():
        required = {"plain": LEAST.get((what, direction)), "floor": MOST_OF_FLOOR if what == "train" else None}
        yield {
            "part": f"{what} a batch",
            "direction": direction,
            "way": way,
            "batch": BATCH[direction],
            "seconds": timing.seconds,
            "peak_mib": timing.peak_mib,
            "rounds": timing.rounds,
            # How often the store's way is faster than the plain one; how much longer it takes than the floor.
            "ratio": {"plain": timing.seconds / store, "floor": store / timing.seconds}.get(way),
            "required": required.get(way),
        }
