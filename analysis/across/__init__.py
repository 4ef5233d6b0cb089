"""Several runs beside each other: one table of all with ranks over directions, and what two of them differ in."""

from typing import Any

from analysis.run import Run


def people(run: Run) -> tuple[Any, ...]:
    """Whose recordings a run is of: its data set, and of simulated people what they are drawn by."""
    return tuple(run.setting(f"data.{key}") for key in ("name", "like", "seed"))
