"""A search as it goes on: a live table on a terminal, elsewhere a line now and then."""

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from benchmark.common.progress import Bar
from benchmark.common.terminal import duration

PREPARED = "preparation"
"""What the board calls all that is done before trials of a fold."""


@dataclass
class Standing:
    """How far a method is: trainings of trials, counted; or the preparation: pieces."""

    total: int
    done: int = 0
    running: int = 0
    slots: int = 0
    failed: int = 0
    best: float | None = None


class Board:
    """Where every method of a search stands, how many of the slots are in use, and how long it goes on.

    Args:
        totals: trainings of each method, by what a reader calls it.
        known: those that were done before.
        slots: trials that the cluster has room for now.
        pieces: of the preparation, which take slots, too, and are no trainings.
    """

    def __init__(self, totals: Mapping[str, int], known: Mapping[str, int], slots: Callable[[], int], pieces: int = 0):
        self.methods = {name: Standing(total, known.get(name, 0)) for name, total in totals.items()}
        self.preparation = Standing(pieces)
        self.slots, self._before = slots, sum(known.values())
        self._begin: float | None = None
        self._bars: dict[str, Bar] = {}
        self._live: Live | None = None
        self._at = ""

    @property
    def done(self) -> int:
        return sum(one.done for one in self.methods.values())

    @property
    def total(self) -> int:
        return sum(one.total for one in self.methods.values())

    def _of(self, name: str) -> Standing:
        return self.preparation if name == PREPARED else self.methods[name]

    def preparing(self, at: str) -> None:
        """What the preparation is at, in a few words."""
        self._at = at
        self._show()

    def started(self, name: str, workers: int = 1) -> None:
        """A training of a method, or a piece of the preparation, has got a slot for each of its workers."""
        if name != PREPARED and self._begin is None:
            self._begin = time.monotonic()
            self._open("trials", self.total, self.done)
        self._of(name).running += 1
        self._of(name).slots += workers
        self._show()

    def ended(
        self, name: str, failed: bool = False, score: float | None = None, trials: int = 1, workers: int = 1
    ) -> None:
        """Slots are free again: so many trials that were trained together have ended."""
        one = self._free(name, workers)
        one.done += trials
        one.failed += trials if failed else 0
        if score is not None:
            one.best = score if one.best is None else max(one.best, score)
        self._show()

    def lost(self, name: str, workers: int = 1) -> None:
        """Slots are free again without a word of what ran there."""
        self._free(name, workers)
        self._show()

    def _free(self, name: str, workers: int) -> Standing:
        one = self._of(name)
        one.running, one.slots = max(0, one.running - 1), max(0, one.slots - workers)
        return one

    def settle(self) -> None:
        """There is nothing more to do: what failed was sent to no further fold."""
        for one in self.methods.values():
            one.total = one.done
        self._show()

    def pace(self) -> str:
        """``2 of 2 slots, 31 a minute, 9 min left``."""
        busy = sum(one.slots for one in [self.preparation, *self.methods.values()])
        since, seconds = self.done - self._before, time.monotonic() - (self._begin or 0.0)
        said = f"{busy} of {self.slots()} slots"
        if since:
            left = (self.total - self.done) * seconds / since
            said += f", {60 * since / seconds:.0f} a minute, {duration(left)} left"
        return said

    def table(self) -> Table:
        """For a terminal."""
        at = f"\n{self._at}" if self._at else ""
        found = Table(caption=f"{self.done} of {self.total} trainings; {self.pace()}{at}", caption_justify="left")
        found.add_column("search")
        for name in ("running", "done", "failed", "best so far"):
            found.add_column(name, justify="right")
        prepared = {PREPARED: self.preparation} if self.preparation.total else {}
        for name, one in {**prepared, **self.methods}.items():
            best = "" if one.best is None else f"{one.best:.3f}"
            found.add_row(name, str(one.running), f"{one.done}/{one.total}", str(one.failed), best)
        return found

    def _show(self) -> None:
        if (bar := self._bars.get("trials")) is not None:
            bar.total = self.total
            best = ", ".join(f"{name} {one.best:.3f}" for name, one in self.methods.items() if one.best is not None)
            bar.update(self.done - bar.done, self.pace() + (best and f"; best {best}"))
        if (bar := self._bars.get(PREPARED)) is not None:
            bar.update(self.preparation.done - bar.done, self._at)
            if bar.done == bar.total:
                self._bars.pop(PREPARED).__exit__()

    def _open(self, name: str, total: int, done: int) -> None:
        if self._live is None:
            self._bars[name] = Bar(total, name, done)

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._live = Live(get_renderable=self.table, console=Console(file=sys.stderr), refresh_per_second=2)
            self._live.__enter__()
        elif self.preparation.total:
            self._open(PREPARED, self.preparation.total, 0)
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.__exit__(None, None, None)
        for bar in self._bars.values():
            bar.__exit__(*error)
