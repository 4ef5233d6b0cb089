"""Seconds to predict one window, for every position (i, j): composed from seconds per block, and spot-checked."""

import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmark.bridge import PrototypeBridge, land
from benchmark.encoders.base import Encoder
from benchmark.perf.directions import open_task, options
from benchmark.task import Task
from benchmark.transfer import Bridge


def _seconds(run: Callable[[], Any], repeats: int) -> float:
    run()
    taken = []
    for _ in range(repeats):
        begin = time.perf_counter()
        run()
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken)


def blocks(encoder: Encoder, embed: Callable[[], Tensor], repeats: int) -> tuple[float, list[float]]:
    """Seconds until block 0 can start, and of every block, for one window."""
    first = _seconds(embed, repeats)
    hidden, taken = embed(), []
    for block in range(encoder.n_blocks):
        taken.append(_seconds(partial(encoder.run, hidden, block, block + 1), repeats))
        hidden = encoder.run(hidden, block, block + 1)
    return first, taken


def _bridge(task: Task, j: int, point: dict[str, Any], repeats: int) -> float:
    """Seconds of a bridge into block j: pooling, the bridge itself, and laying its output out."""
    tokens, d_old = (1, task.old.shape_at(j)[1]) if j == task.old.n_blocks else task.old.shape_at(j)
    d_new = task.new.shape_at(task.new.n_blocks)[1]
    bridge, x = PrototypeBridge(d_new, tokens, d_old, point["rank"], point["prototypes"]), torch.randn(1, d_new)
    if j == task.old.n_blocks:
        return _seconds(lambda: bridge(x), repeats)
    return _seconds(lambda: land(task.old, bridge(x)), repeats)


@torch.inference_mode()
def measure(direction: str, cache: Path, budget: float) -> Iterator[dict[str, Any]]:
    """A row for every (i, j), batch 1, from the raw window to logits; ``measured`` at three of them."""
    task = open_task(direction, cache, pair=2, val=2)
    old, new, point = task.old, task.new, options(direction)
    raw = task.windows("new").take(task.indices("test")[:1])
    begin = time.perf_counter()
    new(new.inputs(raw))
    old(old.inputs(task.windows("old").take(task.indices("test")[:1])))
    repeats = max(3, min(15, int(budget / 4 / (time.perf_counter() - begin))))
    first, of_new = blocks(new, lambda: new.embed(new.inputs(raw)), repeats)
    hidden = old.from_tokens(torch.randn(1, *old.shape_at(0)))
    _, of_old = blocks(old, lambda: hidden, repeats)
    bridges = [_bridge(task, j, point, repeats) for j in range(old.n_blocks + 1)]
    last = torch.randn(1, *old.shape_at(old.n_blocks))
    out = _seconds(lambda: task.head(last.mean(1)), repeats)
    checked = {
        (0, 0),
        (new.n_blocks - 1, old.n_blocks),
        (min(point["input"], new.n_blocks - 1), point["output"]),
    }
    for i in range(new.n_blocks):
        for j in range(old.n_blocks + 1):
            composed = first + sum(of_new[: i + 1]) + bridges[j] + sum(of_old[j:]) + out
            measured = None
            if (i, j) in checked:
                place = "head" if j == old.n_blocks else j
                method = Bridge(task, {**point, "input": i, "output": place}, seed=0)
                measured = _seconds(partial(method.predict, raw), repeats)
            yield {
                "direction": direction,
                "bridge_input": i,
                "bridge_output": j,
                "seconds": composed,
                "measured": measured,
                "whole_student": first + sum(of_new),
            }
