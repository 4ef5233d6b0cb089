"""Progress of work that runs in other processes: an actor that hears of it, until the driver asks."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from benchmark.common.progress import Progress
from benchmark.errors import Notice


@ray.remote(num_cpus=0)
class StatusActor:
    """The last that each worker said, and the notices that nobody read yet."""

    def __init__(self) -> None:
        self.said: dict[str, str] = {}
        self.notices: list[str] = []

    def say(self, who: str, text: str) -> None:
        self.said[who] = text

    def notice(self, text: str) -> None:
        self.notices.append(text)

    def done(self, who: str) -> None:
        self.said.pop(who, None)

    def read(self) -> tuple[str, list[str]]:
        notices, self.notices = self.notices, []
        return "; ".join(f"{who}: {text}" if text else who for who, text in sorted(self.said.items())), notices


def beside_driver() -> NodeAffinitySchedulingStrategy:
    """For an actor that all of a run speak to: the driver's node is the one that is lost with the run alone."""
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


class Listener:
    """The driver's end of a ``StatusActor``."""

    def __init__(self) -> None:
        self.status: Any = StatusActor.options(  # type: ignore[attr-defined]
            scheduling_strategy=beside_driver()
        ).remote()

    def read(self) -> str:
        """What work is at; what it noticed is warned of."""
        said, heard = ray.get(self.status.read.remote())
        for notice in heard:
            warnings.warn(notice, Notice, stacklevel=2)
        return said


@contextmanager
def reporting(status: Any, who: str) -> Iterator[Progress]:
    """A ``Progress`` that reports to a ``StatusActor``, at most once a percent, and to nobody once the block has ended:
    what the work leaves open for others keeps it."""
    last, over = "", False

    def report(done: int, total: int, text: str) -> None:
        nonlocal last
        words = f"{text} {100 * done // max(1, total)} %"
        if words != last and not over:
            last = words
            status.say.remote(who, words)

    status.say.remote(who, "")
    try:
        yield report
    finally:
        over = True
        ray.get(status.done.remote(who))  # what was said has been heard, too
