"""What work says while it goes on: how far it is, without knowing who listens, and what a user should read."""

import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

from tqdm import tqdm

from benchmark.errors import Notice

Progress = Callable[[int, int, str], None]
"""Called with what is done, what there is to do, and a few words."""


def silent(done: int, total: int, text: str) -> None:
    """The progress that nobody watches."""


def say(line: str) -> None:
    """A line on standard error that breaks no bar."""
    tqdm.write(line, file=sys.stderr)


class Bar:
    """Progress on standard error: a live bar on a terminal, elsewhere (a log file) a line when the work ends, and one
    every ``EVERY`` seconds until then.

    ``at`` is what the work is at, in a few words; ``done`` what was done before, of ``total``.
    """

    EVERY = 30.0

    def __init__(self, total: int, text: str, done: int = 0, hidden: bool = False):
        self.total, self.text, self.done, self.at = total, text, done, ""
        self._begin, self._ended = time.monotonic(), threading.Event()
        self._live: tqdm | None = None
        self._talking: threading.Thread | None = None
        if hidden:
            return
        if sys.stderr.isatty():
            form = "{desc:<28.28} {bar:20} {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"
            self._live = tqdm(total=total, desc=text, initial=done, dynamic_ncols=True, bar_format=form)
        else:
            self._talking = threading.Thread(target=self._talk, name="progress", daemon=True)
            self._talking.start()

    def update(self, n: int = 1, at: str | None = None) -> None:
        """So many more are done; what the work is at now."""
        self.done += n
        self.at = self.at if at is None else at
        if self._live is not None:
            self._live.set_postfix_str(self.at, refresh=False)
            self._live.update(n)
            self._live.refresh()

    def _talk(self) -> None:
        while not self._ended.wait(self.EVERY):
            say(f"{self._line('after')}{self.at and f': {self.at[:100]}'}")

    def _line(self, when: str) -> str:
        return f"{self.text} {self.done}/{self.total} {when} {time.monotonic() - self._begin:.0f} s"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.close()
        if self._talking is not None:
            self._ended.set()
            self._talking.join()
            say(self._line("in" if self.done >= self.total else "after"))


@contextmanager
def notices(show: Callable[[str], None]) -> Iterator[None]:
    """Inside of the block each distinct ``Notice`` is handed to ``show``, once; other warnings go their way."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", Notice)
        other, shown = warnings.showwarning, set()

        def hear(message: Warning | str, category: type[Warning], *where: Any, **how: Any) -> None:
            if not issubclass(category, Notice):
                other(message, category, *where, **how)
            elif str(message) not in shown:
                shown.add(str(message))
                show(str(message))

        warnings.showwarning = hear
        yield
