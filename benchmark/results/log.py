"""The log of a run: ``rows.jsonl``, a line for every finished trial, on disk before the next one is waited for.

Everything else that a run leaves behind is made from it. A line is an object with one of: ``row``, and the
``predictions`` of a final trial column by column; ``table`` and ``rows`` of what a method leaves behind besides;
``finished``, the moment at which all of the plan was done.
"""

import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmark.errors import InputError, Notice

NAME = "rows.jsonl"


class RowLog:
    """Appends to a run's log; the driver alone writes it. A torn last line is dropped, with a warning."""

    def __init__(self, path: Path):
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        size = _whole_size(path)
        self._file = path.open("ab")
        if size < self._file.tell():
            warnings.warn(f"{path}: the last line was not written to its end; it is dropped", Notice, stacklevel=2)
            self._file.truncate(size)

    def add_trial(self, row: Mapping[str, Any], predictions: Mapping[str, Sequence[Any]] | None = None) -> None:
        """A trial has ended; ``predictions`` hold a column each for a final trial's test windows."""
        self._append({"row": dict(row), **({"predictions": dict(predictions)} if predictions else {})})

    def add_table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        self._append({"table": name, "rows": [dict(row) for row in rows]})

    def add_finished(self) -> None:
        self._append({"finished": datetime.now(UTC).isoformat(timespec="seconds")})

    def _append(self, entry: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(entry).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def read(path: Path, strict: bool = True) -> Iterator[dict[str, Any]]:
    """The lines of a log; none if there is no log. A torn last line is skipped.

    Args:
        strict: raise InputError for a line in the middle that is damaged; if not, it is skipped as well, and a notice
            says what was.
    """
    if not path.exists():
        return
    size = _whole_size(path)
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if file.tell() > size:
                if not strict:
                    _left_out(path, f"the last line, {number}, was not written to its end")
                return
            try:
                entry = json.loads(line)
                if not isinstance(entry, dict):
                    raise ValueError
            except ValueError:
                if strict:
                    raise InputError(
                        f"{path}, line {number} is damaged; restore the file, or run the benchmark again"
                    ) from None
                _left_out(path, f"line {number} is damaged")
                continue
            yield entry


def _left_out(path: Path, said: str) -> None:
    warnings.warn(f"{path}: {said}; it is left out", Notice, stacklevel=3)


def rows(path: Path) -> list[dict[str, Any]]:
    """A row per trial, in the order in which they first ended; where a trial was repeated, its later row."""
    found: dict[str, dict[str, Any]] = {}
    for entry in read(path):
        if "row" in entry:
            found[entry["row"]["trial_id"]] = entry["row"]
    return list(found.values())


def _whole_size(path: Path) -> int:
    """Bytes up to the end of the last line that was written to its end."""
    if not path.exists():
        return 0
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            begin = max(0, end - (1 << 16))
            file.seek(begin)
            last = file.read(end - begin).rfind(b"\n")
            if last >= 0:
                return begin + last + 1
            end = begin
    return 0
