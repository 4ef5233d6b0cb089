"""One pass that keeps what every block gave, against one plain forward of both models, and against once per block."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmark.features import Store, one_pass
from benchmark.perf.clock import side_by_side
from benchmark.perf.directions import open_task
from benchmark.perf.plain import once_per_block
from benchmark.task import Side

DIRECTIONS = ("wesad_ppg2ecg", "isruc_eeg2ecg")
MOST_OF_FORWARD = 1.1
LEAST = {"wesad_ppg2ecg": 12.0, "isruc_eeg2ecg": 9.0}
WINDOWS = 32


def measure(direction: str, cache: Path, budget: float) -> Iterator[dict[str, Any]]:
    """Rows for one direction. Every way starts from raw windows; the store's ends with a file on disk."""
    task = open_task(direction, cache, pair=WINDOWS, val=4)
    size = task.config["features"]["batch_size"]
    encoders: dict[Side, Any] = {"old": task.old, "new": task.new}
    store, indices = Store(cache / "extraction"), task.indices("pair")

    def inputs(side: Side) -> torch.Tensor:
        return encoders[side].inputs(task.windows(side).take(indices))

    def forward() -> None:
        with torch.inference_mode():
            for side, encoder in encoders.items():
                encoder(inputs(side))

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

    found = side_by_side({"forward": forward, "store": extract, "once per block": per_block}, budget)
    seconds = found["store"].seconds
    for way, timing in found.items():
        yield {
            "part": "extract all blocks",
            "direction": direction,
            "way": way,
            "batch": WINDOWS,
            "seconds": timing.seconds,
            "peak_mib": timing.peak_mib,
            "rounds": timing.rounds,
            "ratio": {"forward": seconds / timing.seconds, "once per block": timing.seconds / seconds}.get(way),
            "required": {"forward": MOST_OF_FORWARD, "once per block": LEAST[direction]}.get(way),
        }
