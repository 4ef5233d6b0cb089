"""What all command lines share: how they end, and tables for a terminal."""

import sys
from collections.abc import Callable, Sequence

from benchmark.errors import InputError, RunError


def exit_code(command: Callable[[], int | None], stopped: str = "Stopped.") -> int:
    """Run a command to its exit code: its own, or 0; 2 for input that cannot be used and 1 for a run that failed, each
    with one line on standard error; 130 after Ctrl-C."""
    try:
        return command() or 0
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except RunError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\n{stopped}", file=sys.stderr)
        return 130


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """A line for each row of cells, columns below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
