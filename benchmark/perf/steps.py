"""Training and evaluating one batch: the bridge from the store, the plain loop, and the floor under training.

The floor of a training step is what no training of this bridge can do without: the bridge's own forward and backward,
those of blocks j.. of the old model, and a step of fused Adam. It leaves out the loss, the watch over gradients and
the fetching of batches. The ``tail``, blocks j.. alone, is no floor where it is one small block: the bridge of FOG EEG
to EMG has 1.2 million parameters, more than twice those of the block that it enters.
"""

import copy
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmark.bridge.layout import to_block_input
from benchmark.bridge.training import Bridge
from benchmark.perf.clock import STORE, Comparison, side_by_side, warm_up
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

Ways = dict[str, Callable[[], object]]


def measure(direction: str, cache: Path, budget: float) -> Iterator[dict[str, Any]]:
    """Rows for one direction; RuntimeError if the two loops do not train the same bridge."""
    size = BATCH[direction]
    task = open_task(direction, cache, pair=size, val=size)
    method = Bridge(task, options(direction), seed=0)
    plain = PlainLoop(task, method.options, method.state())
    pair = task.indices("pair")
    inputs = task.old.inputs(task.windows("old").take(pair)), task.new.inputs(task.windows("new").take(pair))
    losses: dict[str, list[float]] = {STORE: [], "plain": []}
    training = {
        **floors(method),
        STORE: lambda: losses[STORE].append(method.train_epoch().loss),
        "plain": lambda: losses["plain"].append(plain.step(*inputs)),
    }
    hidden = method.old.from_tokens(torch.randn(size, *method.old.shape_at(method.j)).to(method.x))
    evaluating = {
        "tail": torch.no_grad()(partial(method.tail, hidden)),
        STORE: torch.no_grad()(partial(method._logits, method.bridge, method.x)),
        "plain": partial(plain.evaluate, *inputs),
    }
    as_long = {"tail": Comparison("x as long"), "floor": Comparison("x as long", MOST_OF_FLOOR)}
    for what, ways in (("train", training), ("evaluate", evaluating)):
        peaks, found = warm_up(ways), dict[str, dict[str, Any]]()
        against = {**as_long, "plain": Comparison("x faster", LEAST.get((what, direction)))}
        # A plain step of half a minute would leave few rounds for steps of milliseconds, and cold caches.
        fast = [way for way in ways if way != "plain"]
        for names in ([STORE, "plain"], fast) if what == "train" else (list(ways),):
            compared = {way: against[way] for way in names if way in against}
            found |= side_by_side({way: ways[way] for way in names}, compared, budget / 3)
        for way, peak in peaks.items():
            same = {"part": f"{what} a batch", "direction": direction, "batch": size, "peak_mib": peak}
            yield {**same, **found[way]}
    for ours, plainly in zip(losses[STORE][:3], losses["plain"][:3], strict=True):
        if abs(ours / plainly - 1) > SAME_LOSS:
            raise RuntimeError(f"{direction}: training from the store is not the plain loop: losses {losses}")


def floors(method: Bridge) -> Ways:
    """The bridge alone, the tail alone, and both with Adam's step: on a copy of the bridge whose output is not zero."""
    old, x, bridge = method.old, method.x, copy.deepcopy(method.bridge)
    torch.nn.init.normal_(bridge.B, std=0.02)
    adam = torch.optim.Adam(bridge.parameters(), lr=method.learning_rate, fused=True)
    with torch.no_grad():
        entered = to_block_input(old, bridge(x), method.options.layout)
        gradient = torch.randn_like(method.tail(entered))
    pull = torch.randn_like(entered)
    entered.requires_grad_()

    def bridge_alone() -> None:
        adam.zero_grad()
        to_block_input(old, bridge(x), method.options.layout).backward(pull)

    def tail() -> None:
        entered.grad = None
        method.tail(entered).backward(gradient)

    def floor() -> None:
        adam.zero_grad()
        method.tail(to_block_input(old, bridge(x), method.options.layout)).backward(gradient)
        adam.step()

    return {"bridge alone": bridge_alone, "tail": tail, "floor": floor}
