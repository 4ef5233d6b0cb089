"""Seconds to predict one window, for every position (i, j): composed from seconds per block, and spot-checked."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark.bridge.layout import entered_block, entered_shape, to_block_input
from benchmark.bridge.network import PrototypeBridge
from benchmark.bridge.training import Bridge
from benchmark.encoders.base import Encoder
from benchmark.frozen.task import Task
from benchmark.perf.clock import settled
from benchmark.perf.directions import open_task, options
from search_spaces.bridge import Options


def _seconds(run: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    run()
    settled()
    return time.perf_counter() - begin


def timed_pass(encoder: Encoder, embed: Callable[[], Tensor]) -> list[float]:
    """Seconds until block 0 can start, and of every block after it, in one run of the whole encoder: a block that runs
    alone finds its weights in the cache, and one in its place does not."""
    taken = []
    begin = time.perf_counter()
    hidden = embed()
    for block in range(encoder.n_blocks):
        settled()
        taken.append(time.perf_counter() - begin)
        begin = time.perf_counter()
        hidden = encoder.run(hidden, block, block + 1)
    settled()
    return [*taken, time.perf_counter() - begin]


def _bridge(task: Task, j: int, point: Options) -> Callable[[], Any]:
    """A bridge into block j with pooled features, up to where the old model takes over."""
    assert point.rank is not None
    assert point.prototypes is not None
    d_new = task.new.shape_at(task.new.n_blocks)[1]
    bridge = PrototypeBridge(d_new, *entered_shape(task.old, j), point.rank, point.prototypes)
    bridge.to(task.device, task.new.dtype)
    x = torch.randn(1, d_new).to(task.device, task.new.dtype)
    return lambda: bridge(x) if j == task.old.n_blocks else to_block_input(task.old, bridge(x))


@torch.inference_mode()
def measure(direction: str, cache: Path, budget: float) -> Iterator[dict[str, Any]]:
    """A row for every (i, j), batch 1, from the raw window to logits; ``measured`` at three of them.

    Everything is timed in turn, round after round, so that what slows the machine for a while slows all of it.
    """
    task = open_task(direction, cache, pair=2, val=2)
    old, new, point = task.old, task.new, options(direction)
    raw = task.windows("new").take(task.indices("test")[:1])
    hidden = old.from_tokens(torch.randn(1, *old.shape_at(0)).to(old.device, old.dtype))
    last = torch.randn(1, *old.shape_at(old.n_blocks)).to(old.device, old.dtype)
    bridges = [_bridge(task, j, point) for j in range(old.n_blocks + 1)]
    assert point.input is not None
    assert point.output is not None
    places = [(0, 0), (point.input, entered_block(old, point.output)), (new.n_blocks - 1, old.n_blocks)]
    wholes = {}
    for i, j in places:
        chosen = options(direction, input=i, output="head" if j == old.n_blocks else j)
        method = Bridge(task, chosen, seed=0)
        wholes[i, j] = partial(method.predict, raw)

    def once() -> dict[Any, Any]:
        return {
            "new": timed_pass(new, lambda: new.embed(new.inputs(raw))),
            "old": timed_pass(old, lambda: hidden)[1:],
            "bridges": [_seconds(bridge) for bridge in bridges],
            "head": [_seconds(lambda: task.head(last.mean(1)))],
            **{place: [_seconds(whole)] for place, whole in wholes.items()},
        }

    warm_up = _seconds(once)
    rounds = [once() for _ in range(max(3, min(15, int(budget / warm_up))))]
    found = {part: np.median([taken[part] for taken in rounds], axis=0) for part in rounds[0]}
    for i in range(new.n_blocks):
        for j in range(old.n_blocks + 1):
            composed = found["new"][: i + 2].sum() + found["bridges"][j] + found["old"][j:].sum() + found["head"][0]
            yield {
                "direction": direction,
                "bridge_input": i,
                "bridge_output": j,
                "seconds": float(composed),
                "measured": float(found[i, j][0]) if (i, j) in wholes else None,
                "whole_student": float(found["new"].sum()),
            }
