"""One pass that keeps what every block gave, against one plain forward of both models, and against once per block.

All ways begin with the same raw windows, those of the first subject, whom both models hear. The store's is
``Features.extract``: pooled outputs of all blocks of both models and the old model's last output token by token; it
ends with files that were written, flushed and read back. It takes windows in batches of its own, and so does a second
row of the plain forward, which keeps nothing: what of the difference comes from the batches, and what from the pass.
The other plain ways take all windows as one batch.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmark.common.store import Store
from benchmark.frozen.task import Task
from benchmark.frozen.weights import SIDES, Side
from benchmark.perf.clock import STORE, Comparison, side_by_side, warm_up
from benchmark.perf.directions import settings
from benchmark.perf.plain import once_per_block
from benchmark.registry import configure

DIRECTIONS = ("wesad_ppg2ecg", "isruc_eeg2ecg")
MOST_OF_FORWARD = 1.1
LEAST = {"wesad_ppg2ecg": 12.0, "isruc_eeg2ecg": 9.0}


def measure(direction: str, cache: Path, budget: float) -> Iterator[dict[str, Any]]:
    """Rows for one direction."""
    task = Task(configure(settings(direction, cache)), 0)
    size, indices = task.batch_size, np.arange(task.data.offsets[1])

    def inputs(side: Side) -> torch.Tensor:
        return task.encoder(side).inputs(task.windows(side).take(indices))

    @torch.inference_mode()
    def forward(batch: int) -> None:
        for side in SIDES:
            for part in inputs(side).split(batch):
                task.encoder(side)(part)

    asked = 0

    def extract() -> None:
        nonlocal asked
        asked += 1
        for side in SIDES:
            features = task.features(side)
            features.store = Store(cache / "extraction" / direction / str(asked))  # where nothing is there yet
            features.extract(0, last=indices if side == "old" else None)

    def per_block() -> None:
        for side in SIDES:
            once_per_block(task.encoder(side), inputs(side))

    batches = f"forward, batches of {size}"
    ways: dict[str, Callable[[], object]] = {
        batches: partial(forward, size),
        STORE: extract,
        "forward": partial(forward, len(indices)),
        "once per block": per_block,
    }
    forwards = dict.fromkeys((batches, "forward"), Comparison("x as long", MOST_OF_FORWARD))
    blocks = {"once per block": Comparison("x faster", LEAST[direction])}
    peaks, found = warm_up(ways), dict[str, dict[str, Any]]()
    for against, share in ((forwards, 0.3), (blocks, 0.7)):
        found |= side_by_side({way: ways[way] for way in (*against, STORE)}, against, share * budget)
    for way, peak in peaks.items():
        same = {"part": "extract all blocks", "direction": direction, "batch": len(indices), "peak_mib": peak}
        yield {**same, **found[way]}
