"""Seconds that a trained method takes to predict."""

import statistics
import time

import torch

from benchmark.frozen.task import Task
from benchmark.method import Method


def inference_seconds(method: Method, task: Task, size: int = 16, repeats: int = 3) -> float | None:
    """From the raw window to logits, per window: the median over repeats of one batch; None where a method cannot."""
    windows = task.windows("new").take(task.indices("test")[:size])
    seconds = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        if method.predict(windows) is None:
            return None
        if task.device.type == "cuda":
            torch.cuda.synchronize(task.device)
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds[1:]) / len(windows)
