"""The paper's six directions at full size with untrained weights, on simulated windows of the true shapes.

What is measured is the project's own path: the data set, the split, the feature store and ``transfer.Bridge``.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.config import compose as config
from benchmark.frozen.task import Task
from search_spaces.bridge import PAPER

DIRECTIONS = tuple(PAPER)
BATCH = {name: 2 if name == "fog_emg2eeg" else 16 for name in DIRECTIONS}
"""Windows a step: the paper's 16, but 2 where the plain loop would need some 29 GiB at 16 (NormWear as old model)."""
LIKE = {  # enough windows for any batch that is measured, in as little time as possible
    "wesad": ("data.subjects=5", "data.condition_seconds=120"),
    "isruc": ("data.subjects=5", "data.condition_seconds=900"),
    "fog": ("data.subjects=5", "data.condition_seconds=60"),
}


def settings(direction: str, cache: Path) -> list[str]:
    """The command line's words for a direction at full size on simulated data."""
    paper = config.load([f"experiment={direction}"])
    words = [f"experiment={direction}", "data=simulated", f"cache={cache}", f"results={cache / 'results'}"]
    words += [f"{side}.preset={paper[side]['preset']}" for side in ("old", "new")]
    return [*words, "old.weights=random", "new.weights=random", *LIKE[direction.split("_")[0]]]


def open_task(direction: str, cache: Path, *, pair: int, val: int, test: int = 1, train: int = 8) -> Task:
    """The task of a direction with so many windows in each part of its split; the same again if there are too few."""
    task = Task(config.load(settings(direction, cache)), 0)
    wanted = {"train": train, "val": val, "pair": pair, "test": test}
    parts: dict[str, Any] = {}
    for part, indices in task.split.parts().items():
        # Evenly over the part, so that train has all classes.
        even = np.linspace(0, len(indices) - 1, min(wanted[part], len(indices))).astype(int)
        parts[part] = np.resize(indices[even], wanted[part])
    task.split = replace(task.split, **parts)
    return task


def options(direction: str, **changes: Any) -> dict[str, Any]:
    """The paper's point for the bridge, with the measured batch."""
    loaded = config.load([f"experiment={direction}", "search.space=paper"])["bridge"]
    return {**loaded, "batch_size": BATCH[direction], **changes}
