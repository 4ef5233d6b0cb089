"""What the driver of a run writes while it goes on: rows to the log, curves and rows to TensorBoard."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmark.config.options import MethodOptions
from benchmark.results import folder as folders
from benchmark.results import log
from benchmark.results.schema import MethodCard
from benchmark.results.tensorboard import TrialWriters

Row = Mapping[str, Any]


class Recorder:
    """Rows of a run by trial: those that were there when it was opened, and those that came since.

    ``methods`` and their ``options``, by name, are what the run compares.
    """

    def __init__(self, folder: Path, methods: Mapping[str, MethodCard], options: Mapping[str, MethodOptions]):
        self.rows: dict[str, Row] = {row["trial_id"]: row for row in log.rows(folder / log.NAME)}
        self._log = folders.open_log(folder)
        self._writers = TrialWriters(folder / "tensorboard", methods, options)
        self._compared: set[str] = set()
        for row in self.rows.values():
            self._compare(row)

    def curve(self, row: Row, loss: float) -> None:
        """A trial has come so far."""
        self._writers.curve(row, loss)

    def trial(self, row: Row, predictions: Mapping[str, Sequence[Any]] | None = None) -> None:
        """A trial has ended: it is on disk when this returns."""
        self._log.add_trial(row, predictions)
        self.rows[row["trial_id"]] = row
        self._writers.finish(row)
        self._compare(row)

    def _compare(self, row: Row) -> None:
        """Draw a trial of the search, once, as it was after its first fold, or as it is now where that is over."""
        if row["stage"] == "search" and row["trial_id"] not in self._compared:
            self._compared.add(row["trial_id"])
            self._writers.searched(row)

    def table(self, name: str, rows: Sequence[Row]) -> None:
        """Rows of a table that a method declares."""
        self._log.add_table(name, rows)

    def finish(self) -> None:
        """All of the plan has a row."""
        self._log.add_finished()

    def of(self, stage: str, method: str, fold: int) -> list[Row]:
        """Rows of one method in one fold, by trial."""
        mine = (
            row for row in self.rows.values() if (row["stage"], row["method"], row["fold"]) == (stage, method, fold)
        )
        return sorted(mine, key=lambda row: row["trial_id"])

    def close(self) -> None:
        self._writers.close()
        self._log.close()


@contextmanager
def recording(
    folder: Path, methods: Mapping[str, MethodCard], options: Mapping[str, MethodOptions]
) -> Iterator[Recorder]:
    """A run's recorder; however the run ends, tables are compacted from the log behind it."""
    recorder = Recorder(folder, methods, options)
    try:
        yield recorder
    finally:
        recorder.close()
        folders.compact(folder)
