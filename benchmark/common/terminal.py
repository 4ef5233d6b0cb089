"""What all command lines share: how they end, and tables for a terminal."""

import errno
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from benchmark.common.progress import notices, say
from benchmark.errors import InputError, RunError

ENDINGS = (signal.SIGTERM, signal.SIGHUP)
FULL = (errno.ENOSPC, errno.EDQUOT)
REPEATED = 5.0  # seconds in which a second signal is the same wish, and does not interrupt what is put away


def exit_code(command: Callable[[], int | None], stopped: str = "Stopped.") -> int:
    """Run a command to its exit code: its own, or 0; 2 for input that cannot be used, 1 for a run that failed or had
    too little memory or disk, each with one line on standard error; 130 after Ctrl-C, 143 after SIGTERM and 129 after
    SIGHUP, with the interrupt's own words or ``stopped``. A ``Notice`` is a line ``warning: ...`` there."""
    with notices(lambda text: say(f"warning: {text}")), _endings() as came:
        try:
            return command() or 0
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        except RunError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        except MemoryError as error:
            print(f"error: out of memory: {error}; give it less to do, or more memory", file=sys.stderr)
            return 1
        except OSError as error:
            if error.errno not in FULL:
                raise
            where = f" ({error.filename})" if error.filename else ""
            print(f"error: the disk is full{where}; free some of it: a run goes on with resume=true", file=sys.stderr)
            return 1
        except KeyboardInterrupt as interrupt:
            with suppress(OSError):  # the terminal may be gone
                print(f"\n{str(interrupt) or stopped}", file=sys.stderr)
            return 128 + (came[0] if came else signal.SIGINT)


@contextmanager
def _endings() -> Iterator[list[int]]:
    """SIGTERM and SIGHUP end the block as Ctrl-C does; gives those that came. What was ignored before (by nohup, say)
    still is."""
    came: list[int] = []
    last = float("-inf")

    def interrupt(number: int, frame: Any) -> None:
        nonlocal last
        came.append(number)
        if time.monotonic() - last >= REPEATED:
            last = time.monotonic()
            raise KeyboardInterrupt

    heard = ENDINGS if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.getsignal(number) for number in heard if signal.getsignal(number) is not signal.SIG_IGN}
    for number in before:
        signal.signal(number, interrupt)
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """A line for each row of cells, columns below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def duration(seconds: float) -> str:
    """In the unit that suits it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
