"""The paper's six directions at full size with untrained weights, on simulated windows of the true shapes.

What is measured is the project's own path: the data set, the split, the feature store and ``Bridge``.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.common.machine import cores
from benchmark.config.options import parse
from benchmark.frozen.task import Task
from benchmark.frozen.weights import SIDES, options_of
from benchmark.registry import configure
from search_spaces.bridge import PAPER, Options

DIRECTIONS = tuple(PAPER)
BATCH = {name: 2 if name == "fog_emg2eeg" else 16 for name in DIRECTIONS}
"""Windows a step: the paper's 16, but 2 where the plain loop would need some 29 GiB at 16 (NormWear as old model)."""
LIKE = {
    "wesad": ("data.subjects=5", "data.condition_seconds=170"),
    "isruc": ("data.subjects=5", "data.condition_seconds=480"),
    "fog": ("data.subjects=5", "data.condition_seconds=36"),
}
"""At least 16 windows a subject, and hardly more: features are computed for all windows of a subject."""


DEVICE = "BRIDGEBENCH_PERF_DEVICE"
"""What ``--device`` sets for all that is measured, whatever process does it."""


def device() -> str:
    return os.environ.get(DEVICE, "cpu")


def settings(direction: str, cache: Path) -> list[str]:
    """The command line's words for a direction at full size on simulated data, with all cores of the machine."""
    paper = configure([f"experiment={direction}"])
    words = [
        f"experiment={direction}",
        "data=simulated",
        f"threads={cores()}",
        f"device={device()}",
        f"cache={cache}",
        f"results={cache / 'results'}",
    ]
    words += [f"{side}.preset={options_of(paper, side).preset}" for side in SIDES]
    return [*words, "old.weights=random", "new.weights=random", *LIKE[direction.split("_")[0]]]


def open_task(direction: str, cache: Path, *, pair: int, val: int, test: int = 1, train: int = 8) -> Task:
    """The task of a direction with so many windows in each part of its split; the same again if there are too few."""
    task = Task(configure(settings(direction, cache)), 0)
    wanted = {"train": train, "val": val, "pair": pair, "test": test}
    parts: dict[str, Any] = {}
    for part, indices in task.split.parts().items():
        # Evenly over the part, so that train has all classes.
        even = np.linspace(0, len(indices) - 1, min(wanted[part], len(indices))).astype(int)
        parts[part] = np.resize(indices[even], wanted[part])
    task.split = replace(task.split, **parts)
    return task


def options(direction: str, **changes: Any) -> Options:
    """The paper's point for the bridge, with the measured batch."""
    paper = configure([f"experiment={direction}", "search.space=paper"]).method_options["bridge"]
    return parse(Options, {**paper.model_dump(), "batch_size": BATCH[direction], **changes}, "bridge.")
