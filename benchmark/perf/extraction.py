"""One pass that keeps what every block gave, against one plain forward of both models, and against once per block.

The plain ways take all windows as one batch. The store's takes them in batches of its own, and so does a second row of
the plain forward: what of the difference comes from the batches, and what from the pass.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmark.features import Store, one_pass
from benchmark.perf.clock import side_by_side
from benchmark.perf.directions import open_task
from benchmark.perf.plain import once_per_block
from benchmark.frozen.task import Side

DIRECTIONS = ("wesad_ppg2ecg", "isruc_eeg2ecg")
MOST_OF_FORWARD = 1.1
LEAST = {"wesad_ppg2ecg": 12.0, "isruc_eeg2ecg": 9.0}
WINDOWS = 32  # the batch that WESAD's teachers are trained with


def measure(direction: str, cache: Path, budget: float) -> Iterator[dict[str, Any]]:
    """Rows for one direction. Every way starts from raw windows; the store's ends with a file on disk."""
    task = open_task(direction, cache, pair=WINDOWS, val=4)
    size = task.batch_size
    encoders: dict[Side, Any] = {"old": task.old, "new": task.new}
    store, indices = Store(cache / "extraction"), task.indices("pair")

    def inputs(side: Side) -> torch.Tensor:
        return encoders[side].inputs(task.windows(side).take(indices))

    @torch.inference_mode()
    def forward(batch: int) -> None:
        for side, encoder in encoders.items():
            for part in inputs(side).split(batch):
                encoder(part)

    asked = 0

    def extract() -> None:
        nonlocal asked
        asked += 1
        for side in encoders:
            store.get({"direction": direction, "side": side, "time": asked}, len(indices), partial(extracted, side))

    def extracted(side: Side, begin: int) -> Iterator[dict[str, Any]]:
        windows = task.windows(side)
        return one_pass(encoders[side], windows, indices, last=side == "old", batch_size=size, begin=begin)

    def per_block() -> None:
        for side, encoder in encoders.items():
            once_per_block(encoder, inputs(side))

    batches = f"forward, batches of {size}"
    ways: dict[str, Callable[[], object]] = {
        batches: partial(forward, size),
        "store": extract,
        "forward": partial(forward, WINDOWS),
        "once per block": per_block,
    }
    found = side_by_side(ways, budget)
    seconds = found["store"].seconds
    forwards = {way: seconds / found[way].seconds for way in ("forward", batches)}
    for way, timing in found.items():
        yield {
            "part": "extract all blocks",
            "direction": direction,
            "way": way,
            "batch": WINDOWS,
            "seconds": timing.seconds,
            "peak_mib": timing.peak_mib,
            "rounds": timing.rounds,
            "ratio": {**forwards, "once per block": timing.seconds / seconds}.get(way),
            "required": {**dict.fromkeys(forwards, MOST_OF_FORWARD), "once per block": LEAST[direction]}.get(way),
        }
