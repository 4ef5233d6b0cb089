"""One pass that keeps what every block gave, against one plain forward of both models, and against once per block.

All ways begin with the same raw windows, those of the first subjects, whom both models hear. The store's is
``Features.extract``: a subject after the other, pooled outputs of all blocks of both models and the old model's last
output token by token; it ends with files that were written, flushed and read back. It takes windows in batches of its
own, and so does a second row of the plain forward, which keeps nothing: what of the difference comes from the batches,
and what from the pass. The other plain ways take all windows as one batch.
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
from benchmark.perf.clock import side_by_side
from benchmark.perf.directions import settings
from benchmark.perf.plain import once_per_block
from benchmark.registry import configure

DIRECTIONS = ("wesad_ppg2ecg", "isruc_eeg2ecg")
MOST_OF_FORWARD = 1.1
LEAST = {"wesad_ppg2ecg": 12.0, "isruc_eeg2ecg": 9.0}
SUBJECTS = 2  # of 16 windows: together the batch that WESAD's teachers are trained with


def measure(direction: str, cache: Path, budget: float) -> Iterator[dict[str, Any]]:
    """Rows for one direction."""
    task = Task(configure(settings(direction, cache)), 0)
    size, offsets = task.batch_size, task.data.offsets
    indices = np.arange(offsets[SUBJECTS])

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
            for subject in range(SUBJECTS):
                own = np.arange(offsets[subject + 1] - offsets[subject])
                features.extract(subject, last=own if side == "old" else None)

    def per_block() -> None:
        for side in SIDES:
            once_per_block(task.encoder(side), inputs(side))

    batches = f"forward, batches of {size}"
    ways: dict[str, Callable[[], object]] = {
        batches: partial(forward, size),
        "store": extract,
        "forward": partial(forward, len(indices)),
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
            "batch": len(indices),
            "seconds": timing.seconds,
            "peak_mib": timing.peak_mib,
            "rounds": timing.rounds,
            "ratio": {**forwards, "once per block": timing.seconds / seconds}.get(way),
            "required": {**dict.fromkeys(forwards, MOST_OF_FORWARD), "once per block": LEAST[direction]}.get(way),
        }
