"""Progress of work that runs in other processes: an actor that hears of it, a bar that shows it."""

import sys
from typing import Any

import ray
from tqdm import tqdm

from benchmark.common.progress import Progress


@ray.remote(num_cpus=0)
class StatusActor:
    """The last that each worker said."""

    def __init__(self) -> None:
        self.said: dict[str, str] = {}

    def say(self, who: str, text: str) -> None:
        self.said[who] = text

    def done(self, who: str) -> None:
        self.said.pop(who, None)

    def read(self) -> str:
        return "; ".join(f"{who}: {text}" for who, text in sorted(self.said.items()))


def reporter(status: Any, who: str) -> Progress:
    """A ``Progress`` that reports to a ``StatusActor``, at most once a percent."""
    last = ""

    def report(done: int, total: int, text: str) -> None:
        nonlocal last
        words = f"{text} {100 * done // max(1, total)} %"
        if words != last:
            last = words
            status.say.remote(who, words)

    return report


class Bar(tqdm):
    """A bar on a terminal; elsewhere a line now and then, so that a log file can be read."""

    def __init__(self, total: int, text: str, **options: Any):
        interactive = sys.stderr.isatty()
        super().__init__(
            total=total,
            desc=text,
            mininterval=0.2 if interactive else 10,
            maxinterval=10 if interactive else 60,
            dynamic_ncols=interactive,
            ncols=None if interactive else 110,
            bar_format="{desc:<28.28} {bar:20} {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]",
            **options,
        )
