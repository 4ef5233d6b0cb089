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


@dataclass
class Standing:
    """How far a method is: trainings of trials, counted."""

    total: int
    done: int = 0
    running: int = 0
    failed: int = 0
    best: float | None = None


class Board:
    """Where every method of a search stands, how many of the slots are in use, and how long it goes on.

    Args:
        totals: trainings of each method, by what a reader calls it.
        known: those that were done before.
        slots: trials that the cluster has room for now.
    """

    def __init__(self, totals: Mapping[str, int], known: Mapping[str, int], slots: Callable[[], int]):
        self.methods = {name: Standing(total, known.get(name, 0)) for name, total in totals.items()}
        self.slots, self._begin, self._before = slots, time.monotonic(), sum(known.values())
        self._bar: Bar | None = None
        self._live: Live | None = None

    @property
    def done(self) -> int:
        return sum(one.done for one in self.methods.values())

    @property
    def total(self) -> int:
        return sum(one.total for one in self.methods.values())

    def started(self, name: str) -> None:
        """A training of a method has got a slot."""
        self.methods[name].running += 1
        self._show()

    def ended(self, name: str, failed: bool = False, score: float | None = None, trials: int = 1) -> None:
        """A slot is free again: so many trials that were trained together have ended."""
        one = self.methods[name]
        one.running = max(0, one.running - 1)
        one.done += trials
        one.failed += trials if failed else 0
        if score is not None:
            one.best = score if one.best is None else max(one.best, score)
        self._show()

    def lost(self, name: str) -> None:
        """A slot is free again without a word of what ran there."""
        one = self.methods[name]
        one.running = max(0, one.running - 1)
        self._show()

    def settle(self) -> None:
        """There is nothing more to do: what failed was sent to no further fold."""
        for one in self.methods.values():
            one.total = one.done
        self._show()

    def pace(self) -> str:
        """``2 of 2 slots, 31 a minute, 9 min left``."""
        busy = sum(one.running for one in self.methods.values())
        since, seconds = self.done - self._before, time.monotonic() - self._begin
        said = f"{busy} of {self.slots()} slots"
        if since:
            left = (self.total - self.done) * seconds / since
            said += f", {60 * since / seconds:.0f} a minute, {duration(left)} left"
        return said

    def table(self) -> Table:
        """For a terminal."""
        found = Table(caption=f"{self.done} of {self.total} trainings; {self.pace()}", caption_justify="left")
        found.add_column("search")
        for name in ("running", "done", "failed", "best so far"):
            found.add_column(name, justify="right")
        for name, one in self.methods.items():
            best = "" if one.best is None else f"{one.best:.3f}"
            found.add_row(name, str(one.running), f"{one.done}/{one.total}", str(one.failed), best)
        return found

    def _show(self) -> None:
        if self._bar is not None:
            self._bar.total = self.total
            best = ", ".join(f"{name} {one.best:.3f}" for name, one in self.methods.items() if one.best is not None)
            self._bar.update(self.done - self._bar.done, self.pace() + (best and f"; best {best}"))

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._live = Live(get_renderable=self.table, console=Console(file=sys.stderr), refresh_per_second=2)
            self._live.__enter__()
        else:
            self._bar = Bar(self.total, "trials", self.done)
            self._bar.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.__exit__(None, None, None)
        if self._bar is not None:
            self._bar.__exit__(*error)
