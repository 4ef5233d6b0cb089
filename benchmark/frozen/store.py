"""The store: entries by key, completed by whoever asks, read by all.

``<digest>.arrow`` is a finished entry. ``<digest>.partial/`` is one that is being computed or was interrupted:
``<first row>-<row after the last>.arrow`` is a finished batch, other names are temporary.

Several processes and nodes may ask for one key at once, on a network file system too. What makes that right is that
every file is written under a name nobody else has and then renamed, which any file system does at once or not at all;
that a file carries its own checksums, which are held against it before it is used; and that it does not matter whose
file of two it is. No lock is needed for that, and a process may be killed at any moment. A claim (``claim``) only keeps
others from the same work: they wait while its owner lives.

An entry takes its size on disk twice while it is being finished, and the memory of one batch.
"""

import contextlib
import errno
import os
import re
import shutil
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.cache import digest, whole
from benchmark.errors import RunError
from benchmark.features import files
from benchmark.features.claim import Claim
from benchmark.features.files import ChangedBatch, Damaged, DamagedBatch, Description, Features

Compute = Callable[[int], Iterator[dict[str, np.ndarray]]]
"""``compute(begin)`` yields the batches from row ``begin`` on, in order: arrays by name, (B, ...)."""

POLL = 0.2  # seconds between two looks at what another process computes
_BATCH = re.compile(r"(\d+)-(\d+)\.arrow")


class Store:
    """The entries in one folder, whose floating point is stored as ``dtype``: see ``files.DTYPES``."""

    def __init__(self, root: Path, dtype: str = "float32"):
        self.root = root
        self.dtype = dtype

    def key(self, key: Mapping[str, Any]) -> dict[str, Any]:
        """The key with what the store itself adds to it."""
        return {**key, "dtype": self.dtype, "format": files.FORMAT}

    def path(self, key: Mapping[str, Any]) -> Path:
        return self.root / f"{digest(self.key(key))}.arrow"

    def get(self, key: Mapping[str, Any], n: int, compute: Compute) -> tuple[Features, bool]:
        """The entry of ``key``, and whether it was there or another process computed it.

        What is missing of its ``n`` rows is computed: an interrupted entry goes on from the first batch it lacks. A
        damaged file counts as missing, with a warning that names it.

        Raises
        ------
        RunError
            Where the disk is full. What was finished is kept.
        """
        path, partial, there = self.path(key), partial_of(self.path(key)), True
        entry = _open(path)
        if entry is None:
            claim = Claim(partial)
            while entry is None and not claim.take():
                time.sleep(POLL)
                entry = _open(path, warn=False)
            with claim:
                if entry is None:
                    entry = _open(path, warn=False)  # finished after the first look
                if entry is None:
                    entry, there = self._complete(path, key, n, compute), False
        if partial.exists():  # also of a process that was killed between finishing and tidying up
            _remove(partial)
        return entry, there

    def _complete(self, path: Path, key: Mapping[str, Any], n: int, compute: Compute) -> Features:
        partial = partial_of(path)
        for _ in range(3):
            try:
                parts = self._batches(partial, key, n, compute)
                with whole(path, partial) as temporary:
                    files.lay_together(temporary, parts)
                return Features(path)
            except ChangedBatch:
                continue
            except (DamagedBatch, FileNotFoundError) as error:
                entry = _open(path, warn=False)
                if entry is not None:  # another process finished it and removed what it was made of
                    return entry
                if not isinstance(error, DamagedBatch):
                    raise
                _discard(error.path, error)
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                raise RunError(
                    f"{self.root}: the disk is full; make room, for example with `python -m benchmark.features prune "
                    "--keep-gb GB`; what was computed is kept"
                ) from None
        raise RunError(f"{partial}: what is written there is not what is read back; check the disk, or move the cache")

    def _batches(
        self, partial: Path, key: Mapping[str, Any], n: int, compute: Compute
    ) -> list[tuple[Path, Description]]:
        """All batches of an entry in order, those that were there and those that had to be computed."""
        there: dict[int, list[tuple[int, Path]]] = {}
        for begin, end, path in batches_of(partial):
            there.setdefault(begin, []).append((end, path))
        parts: list[tuple[Path, Description]] = []

        def add(path: Path, description: Description) -> int:
            if parts and description.layout != parts[0][1].layout:
                raise RuntimeError(
                    f"{path}: arrays {description.layout} follow {parts[0][1].layout}; "
                    "`python -m benchmark.features prune --partial` starts the entry anew"
                )
            parts.append((path, description))
            return description.rows[0]

        row = 0
        while row < n:
            found = next(filter(None, (_read(path, row, end, n) for end, path in there.pop(row, []))), None)
            if found is not None:
                row += add(*found)
                continue
            started = time.perf_counter()
            # A generator may hold a model's memory: it is closed when it is left for batches that are there.
            with closing(_generator(compute(row))) as computed:
                for batch in computed:
                    end = row + len(next(iter(batch.values())))
                    path = partial / f"{row:09d}-{end:09d}.arrow"
                    seconds = time.perf_counter() - started
                    # Where two compute after all, the batch that is there stays, so that no finished one changes.
                    if (written := _read(path, row, end, n)) is None:
                        with whole(path) as temporary:
                            description = files.write_batch(temporary, self.key(key), n, batch, self.dtype, seconds)
                        written = path, description
                    row += add(*written)
                    if row in there:
                        break
                    started = time.perf_counter()
                else:
                    if row < n:
                        raise RuntimeError(f"features of {row} windows were computed where {n} were asked for")
        if row != n:
            raise RuntimeError(f"features of {row} windows were computed where {n} were asked for")
        return parts


def partial_of(path: Path) -> Path:
    """The folder of an entry that is not finished."""
    return path.with_suffix(".partial")


def batches_of(partial: Path) -> list[tuple[int, int, Path]]:
    """First row, row after the last and file of each finished batch, in order."""
    with contextlib.suppress(FileNotFoundError):
        named = [(match, path) for path in partial.iterdir() if (match := _BATCH.fullmatch(path.name))]
        return sorted((int(match[1]), int(match[2]), path) for match, path in named)
    return []


def _open(path: Path, warn: bool = True) -> Features | None:
    """A finished entry that can be read, marked as used now."""
    try:
        entry = Features(path)
        if digest(entry.key) != path.stem:
            raise Damaged("it holds the features of another key")
    except FileNotFoundError:
        return None
    except Damaged as error:
        if warn:
            warnings.warn(f"{path} is damaged ({error}); it is computed again", stacklevel=3)
        return None
    with contextlib.suppress(OSError):  # a read-only cache can be used, too
        os.utime(path)
    return entry


def _read(path: Path, begin: int, end: int, n: int) -> tuple[Path, Description] | None:
    """A batch that was there, if all of it is as it was written."""
    try:
        description, _ = files.read_batch(path)
        if list(description.rows) != [end - begin] or description.windows != n:
            raise Damaged("its windows are not those that its name says")
        return path, description
    except FileNotFoundError:
        return None
    except Damaged as error:
        _discard(path, error)
        return None


def _discard(path: Path, error: Damaged) -> None:
    warnings.warn(f"{path} is damaged ({error}); this batch is computed again", stacklevel=2)
    path.unlink(missing_ok=True)


def _remove(partial: Path) -> None:
    # What another process or the file system still holds goes with the next use, or with `prune`.
    shutil.rmtree(partial, ignore_errors=True)


def _generator(batches: Iterator[dict[str, np.ndarray]]) -> Generator[dict[str, np.ndarray], None, None]:
    yield from batches
