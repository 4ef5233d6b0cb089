"""Files of the cache, from the node that has them to the one that lacks them, through Ray's object store.

Nodes need no disk that all share. A process that opens what is not on its node asks the porter of each other node; of
what one of them has, it takes the file, unless computing it again is estimated to be faster.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from benchmark.cluster.progress import beside_driver
from benchmark.common import elsewhere
from benchmark.common.files import write_bytes

NAME = "bridgebench-exchange"
PATIENCE = 30.0  # seconds within which a porter says what its node has
RATE = 100e6  # bytes a second, until a file was moved
SMALL = 1 << 20  # bytes below which moving takes as long as asking, whatever the rate
KNOWN = 2.0  # seconds for which the nodes of a cluster are taken to be the same


@dataclass(frozen=True)
class Offer:
    """A file that a node has: its size, and what computing it took (0: not known)."""

    bytes: int
    seconds: float


@ray.remote(num_cpus=0)
class Porter:
    """Hands out files of the node that it is on, by the paths that its processes know them by."""

    def offer(self, path: str) -> Offer | None:
        from benchmark.common.store import Damaged, Entry  # torch: not in every process that has a porter's name

        try:
            return Offer(Path(path).stat().st_size, Entry(Path(path)).seconds)
        except Damaged:  # or no file of the store: released weights
            return Offer(Path(path).stat().st_size, 0.0)
        except OSError:
            return None

    def send(self, path: str) -> np.ndarray:
        """The file's bytes (n,)."""
        return np.fromfile(path, np.uint8)

    def keep(self, path: str, content: np.ndarray) -> None:
        write_bytes(Path(path), content.tobytes())

    def drop(self, path: str) -> None:
        Path(path).unlink(missing_ok=True)


@ray.remote(num_cpus=0)
class Exchange:
    """Knows the porters, what the driver offers, and what was moved. It ends with the driver, and they with it."""

    def __init__(self) -> None:
        self.porters: dict[str, Any] = {}
        self.values: dict[str, list[Any]] = {}
        self.files, self.bytes, self.saved = 0, 0, 0.0
        self._nodes: list[str] = []
        self._asked = float("-inf")

    def others(self, node: str) -> list[Any]:
        """The porters of all living nodes but one."""
        if time.monotonic() - self._asked > KNOWN:
            self._nodes = [one["NodeID"] for one in ray.nodes() if one["Alive"]]
            self._asked = time.monotonic()
        for one in self._nodes:
            if one not in self.porters:
                placed = NodeAffinitySchedulingStrategy(one, soft=False)
                made = Porter.options(scheduling_strategy=placed, max_concurrency=4, max_restarts=-1)  # type: ignore[attr-defined]
                self.porters[one] = made.remote()
        return [self.porters[one] for one in self._nodes if one != node]

    def drivers(self, node: str) -> list[Any]:
        """The porter of the driver's node, which is this actor's; none if that is the node."""
        own = ray.get_runtime_context().get_node_id()
        self.others("")
        return [self.porters[own]] if own != node else []

    def offer(self, name: str, value: list[Any]) -> None:
        """``value`` is a reference in a list, so that it stays where it is."""
        self.values[name] = value

    def ask(self, name: str) -> list[Any]:
        return self.values.get(name, [])

    def moved(self, size: int, saved: float) -> None:
        self.files, self.bytes, self.saved = self.files + 1, self.bytes + size, self.saved + saved

    def said(self) -> tuple[int, int, float]:
        return self.files, self.bytes, self.saved


class Nodes:
    """The other nodes of a run's cluster, as ``elsewhere`` asks them. In the processes of another run's, or of none, it
    finds nothing."""

    def __init__(self) -> None:
        self._exchange: Any = None
        self._values: dict[str, Any] = {}
        self.rate = RATE

    @property
    def exchange(self) -> Any:
        if self._exchange is None and ray.is_initialized():
            with suppress(ValueError):  # there is none
                self._exchange = ray.get_actor(NAME)
        return self._exchange

    def ask(self, name: str) -> Any:
        if name not in self._values and self.exchange is not None:
            for reference in ray.get(self.exchange.ask.remote(name)):
                self._values[name] = ray.get(reference)
        return self._values.get(name)

    def offer(self, name: str, value: Any) -> None:
        self._values[name] = value
        if self.exchange is not None:
            ray.get(self.exchange.offer.remote(name, [ray.put(value)]))

    def keep(self, path: Path) -> None:
        with suppress(ray.exceptions.RayError):  # as the driver is lost, or ends
            for porter in self._drivers():
                ray.get(porter.keep.remote(str(path), np.fromfile(path, np.uint8)))

    def drop(self, path: Path) -> None:
        with suppress(ray.exceptions.RayError):
            for porter in self._drivers():
                ray.get(porter.drop.remote(str(path)))

    def _drivers(self) -> list[Any]:
        node = ray.get_runtime_context().get_node_id()
        return [] if self.exchange is None else ray.get(self.exchange.drivers.remote(node))

    def fetch(self, path: Path) -> bool:
        if self.exchange is None:
            return False
        try:
            others = ray.get(self.exchange.others.remote(ray.get_runtime_context().get_node_id()))
        except ray.exceptions.RayError:
            return False
        waiting = {porter.offer.remote(str(path)): porter for porter in others}
        until = time.monotonic() + PATIENCE
        while waiting:
            ready, _ = ray.wait(list(waiting), timeout=max(0.0, until - time.monotonic()))
            if not ready:
                return False
            porter = waiting.pop(ready[0])
            with suppress(ray.exceptions.RayError, OSError):  # its node is lost, or there is no room for the file
                offer = ray.get(ready[0])
                if offer is not None:
                    return self.worth_moving(offer) and self._move(path, porter, offer)
        return False

    def worth_moving(self, offer: Offer) -> bool:
        """Whether that is estimated to take no longer than computing it again."""
        return not 0 < offer.seconds < max(0, offer.bytes - SMALL) / self.rate

    def _move(self, path: Path, porter: Any, offer: Offer) -> bool:
        begin = time.perf_counter()
        content = ray.get(porter.send.remote(str(path)))
        write_bytes(path, content.tobytes())
        seconds = time.perf_counter() - begin
        if offer.bytes > SMALL:
            self.rate = (self.rate + offer.bytes / seconds) / 2
        self.exchange.moved.remote(len(content), max(0.0, offer.seconds - seconds))
        return True


@contextmanager
def exchanging() -> Iterator[None]:
    """The processes of the cluster that this one has joined give each other what they lack."""
    exchange = Exchange.options(name=NAME, scheduling_strategy=beside_driver()).remote()  # type: ignore[attr-defined]
    elsewhere.use(Nodes())
    try:
        yield
    finally:
        elsewhere.use(None)
        del exchange


def told() -> str:
    """What was moved so far, in a line; empty where nothing was."""
    files, size, saved = 0, 0, 0.0
    with suppress(ValueError, ray.exceptions.RayError):
        files, size, saved = ray.get(ray.get_actor(NAME).said.remote())
    said = f"Moved {files} files ({size / 1e6:.1f} MB) between nodes, which saved {saved:.0f} s of computing."
    return said if files else ""
