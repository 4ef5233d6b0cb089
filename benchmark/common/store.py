"""A store of arrays: a file for each key, written once, mapped by all who read it, checked before it is believed.

``<digest of the key>.arrow`` is Arrow IPC: a row per window (of weights, one row), a fixed-size list column per array,
record batches of some 32 MiB. The schema's metadata says what the file is and holds its checksum, each batch's own says
what it cost. A file is written under a temporary name and renamed, so that none is half there: a process that is killed
loses the file it was at, and of two that compute the same one the last stays. Shapes: (n, ...) is n windows and any
trailing shape.
"""

import contextlib
import errno
import json
import math
import mmap
import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from benchmark.common import elsewhere
from benchmark.common.files import atomic_write
from benchmark.common.keys import digest, libraries
from benchmark.common.seal import OPEN, is_whole, seal
from benchmark.errors import Notice, RunError

FORMAT = 4
CHUNK = 32 << 20  # bytes of rows before a record batch is written
IN_MEMORY = 64 << 20  # bytes of rows that are worth gathering at once
MARKED = 3600.0  # seconds between two marks of use: a mark makes other processes check the file again
_GARBLED = (pa.ArrowException, OSError, LookupError, ValueError, TypeError, AttributeError, MemoryError)

_checked: dict[Path, tuple[int, ...]] = {}  # files whose every value this process has held against its checksum


def state(file: Path | int) -> tuple[int, ...]:
    """What differs once a file was replaced or written to."""
    found = os.stat(file)
    return found.st_ino, found.st_mtime_ns, found.st_size


class Damaged(Exception):
    """A file is not what was written; the message says why, without the file's name."""


class Outdated(Damaged):
    """A file of another version of the store, which nothing reads."""


class Deviation(NamedTuple):
    """What storing x as s did to an array: ``largest`` max |x - s| / max |x|, ``rms`` relative to that of x."""

    most: float  # max |x - s|
    scale: float  # max |x|
    squared: float  # sum (x - s)^2
    power: float  # sum x^2

    @property
    def largest(self) -> float:
        return self.most / (self.scale or 1.0)

    @property
    def rms(self) -> float:
        return math.sqrt(self.squared / (self.power or 1.0))


class Entry(dict[str, list[Tensor]]):
    """A finished file: by array, its chunks (n, ...) in order, mapped and not read.

    ``created``: seconds since the epoch; ``seconds``: what computing it took; ``rows``: windows; ``layout``: type and
    shape of a row, by array; ``deviations``: of arrays that are stored as bfloat16, as their chunks then are.
    Raises FileNotFoundError, and Damaged for what is no whole file of the store; only ``verify`` reads the values.
    """

    def __init__(self, path: Path):
        super().__init__()
        self.path = path
        with path.open("rb") as file:
            self.state = state(file.fileno())
            try:
                self._mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                self._parse(pa.ipc.open_file(pa.BufferReader(pa.py_buffer(self._mapped))))
            except _GARBLED as error:
                raise Damaged(f"not a whole file of the store: {' '.join(str(error).split())[:120]}") from None

    @torch.inference_mode(False)  # whatever the caller's mode: a chunk may be a target in training
    def _parse(self, file: Any) -> None:
        about = json.loads(file.schema.metadata[b"bridgebench"])
        if about.get("format") != FORMAT:
            raise Outdated("written by another version of the store")
        self.key: Mapping[str, Any] = about["key"]
        self.created: float = about["created"]
        self.layout = {name: (str(dtype), tuple(shape)) for name, (dtype, shape) in about["layout"].items()}
        self.rows, self.seconds = 0, 0.0
        self.deviations: dict[str, Deviation] = {}
        for number in range(file.num_record_batches):
            batch, metadata = file.get_batch_with_custom_metadata(number)
            batch.validate()
            for (name, (dtype, shape)), column in zip(self.layout.items(), batch.columns, strict=True):
                values = column.flatten().to_numpy(zero_copy_only=True)
                if values.dtype != ("uint16" if dtype == "bfloat16" else dtype):
                    raise ValueError(f"{name} is {values.dtype}, described as {dtype}")
                with warnings.catch_warnings(action="ignore", category=UserWarning):  # it is read-only, and shall be
                    chunk = torch.from_numpy(values.reshape(batch.num_rows, *shape))
                self.setdefault(name, []).append(chunk.view(torch.bfloat16) if dtype == "bfloat16" else chunk)
            cost = json.loads(metadata[b"bridgebench"])
            self.rows += batch.num_rows
            self.seconds += cost["seconds"]
            for name, found in cost["deviations"].items():
                _join(self.deviations, name, found)

    def verify(self) -> None:
        """Read every byte; raises Damaged where one is not what was written."""
        if not is_whole(self._mapped):
            raise Damaged("the checksum does not match")


class Rows:
    """Rows ``index`` (LongTensor, n) of chunks of several entries laid end to end, as one array ``shape`` (n, ...).

    ``rows[i]`` takes what indexes a tensor's first dimension: a number, a slice, a LongTensor of any shape, a mask. It
    reads what is asked for, in the precision that is stored, on the CPU; do not change it in place.
    """

    def __init__(self, parts: Sequence[Tensor], index: Tensor):
        self.parts, self.index = parts, index
        self.shape, self.dtype = (len(index), *parts[0].shape[1:]), parts[0].dtype
        self._starts = torch.tensor([0, *map(len, parts)]).cumsum(0)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, which: Any) -> Tensor:
        which = which.cpu() if isinstance(which, Tensor) else which
        small = math.prod(self.shape) * self.dtype.itemsize <= IN_MEMORY
        return self._gathered[which] if small else self._gather(self.index[which])

    def all(self) -> Tensor:
        return self[:]

    @cached_property
    def _gathered(self) -> Tensor:
        return self._gather(self.index)

    @torch.inference_mode(False)
    def _gather(self, rows: Tensor) -> Tensor:
        flat = rows.reshape(-1)
        found = torch.empty((len(flat), *self.shape[1:]), dtype=self.dtype)
        part = torch.searchsorted(self._starts, flat, right=True) - 1
        for number in part.unique().tolist():
            here = torch.nonzero(part == number).squeeze(1)
            found.index_copy_(0, here, self.parts[number].index_select(0, flat[here] - self._starts[number]))
        return found.reshape(*rows.shape, *self.shape[1:])


class Writer:
    """Takes batches of rows and writes them a record batch at a time."""

    def __init__(self, sink: Any, key: Mapping[str, Any], dtype: str):
        self._sink, self._key, self._dtype = sink, key, dtype
        self._file: Any = None
        self._start()

    def _start(self) -> None:
        self._batches, self._size, self._seconds = list[dict[str, np.ndarray]](), 0, 0.0
        self._deviations: dict[str, Deviation] = {}

    def add(self, batch: Mapping[str, np.ndarray], seconds: float = 0.0) -> None:
        """Arrays (B, ...) of the next B windows, the same ones each time. ``seconds``: what computing them took."""
        self._batches.append({})
        for name, values in batch.items():
            values = np.ascontiguousarray(values)
            if self._dtype == "bfloat16" and values.dtype.kind == "f":
                values, found = _rounded(values)
                _join(self._deviations, name, found)
            self._batches[-1][name] = values
            self._size += values.nbytes
        self._seconds += seconds
        if self._size >= CHUNK:
            self._write()

    def finish(self) -> None:
        if self._batches:
            self._write()
        self._file.close()

    def _write(self) -> None:
        # An array at a time leaves the list, so that one chunk is in memory and not two.
        arrays = {name: np.concatenate([batch.pop(name) for batch in self._batches]) for name in [*self._batches[0]]}
        columns, layout = [], {}
        for name, values in arrays.items():
            flat = pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), values.size, [None, pa.py_buffer(values)])
            columns.append(pa.FixedSizeListArray.from_arrays(flat, math.prod(values.shape[1:])))
            layout[name] = "bfloat16" if name in self._deviations else str(values.dtype), values.shape[1:]
        batch = pa.record_batch(columns, names=list(arrays))
        if self._file is None:
            about = {"key": self._key, "layout": layout, "created": time.time(), "format": FORMAT}
            metadata = {"bridgebench": json.dumps(about, default=str), "seal": OPEN}
            self._file = pa.ipc.new_file(self._sink, batch.schema.with_metadata(metadata))
        cost = {"seconds": self._seconds, "deviations": self._deviations}
        self._file.write_batch(batch, custom_metadata={"bridgebench": json.dumps(cost)})
        self._start()


class Store:
    """The files in one folder. ``dtype`` says how floating point is stored: ``float32`` as it was computed (float64
    stays float64), ``bfloat16`` in 2 bytes a value, within 2**-8 of itself. Integers stay."""

    def __init__(self, root: Path, dtype: str = "float32"):
        self.root, self.dtype = root, dtype

    def key(self, key: Mapping[str, Any]) -> dict[str, Any]:
        """The key with what the store itself adds to it."""
        return {**key, "dtype": self.dtype, "format": FORMAT, "libraries": libraries()}

    def path(self, key: Mapping[str, Any]) -> Path:
        return self.root / f"{digest(self.key(key))}.arrow"

    def open(self, key: Mapping[str, Any]) -> Entry | None:
        """The entry of ``key``, marked as used; None where there is none, here or elsewhere, or a damaged one, which is
        warned of.

        All of it is read and checked when this process opens it for the first time, or finds it replaced.
        """
        path = self.path(key)
        if not path.exists():
            elsewhere.fetch(path)
        try:
            entry = Entry(path)
            if digest(entry.key) != path.stem:
                raise Damaged("it holds what belongs to another key")
            if _checked.get(path) != entry.state:
                entry.verify()
        except (FileNotFoundError, Damaged) as error:
            if isinstance(error, Damaged):
                warnings.warn(f"{path} is damaged ({error}); it is computed again", Notice, stacklevel=2)
            return None
        _checked[path] = entry.state
        with contextlib.suppress(OSError):  # a read-only cache can be used, too
            if time.time() - path.stat().st_mtime > MARKED:
                os.utime(path)
                _checked[path] = state(path)
        return entry

    @contextlib.contextmanager
    def writer(self, key: Mapping[str, Any]) -> Iterator[Writer]:
        """Write an entry batch by batch; it is there once the context ends without an error.

        Raises RunError where the disk is full. Nothing of this entry is left then.
        """
        try:
            with atomic_write(self.path(key)) as temporary:
                with pa.OSFile(str(temporary), "wb") as sink:
                    yield (writer := Writer(sink, self.key(key), self.dtype))
                    writer.finish()
                seal(temporary)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            room = "make room, for example with `python -m benchmark.frozen prune --keep-gb GB`"
            raise RunError(f"{self.root}: the disk is full; {room}; what was finished is kept") from None

    def written(self, key: Mapping[str, Any]) -> Entry:
        """The entry of ``key``, which was written before; RunError where that is not what is read."""
        if (entry := self.open(key)) is None:
            raise RunError(f"{self.path(key)}: what was written is not what is read; check the disk or move the cache")
        return entry


def _rounded(values: np.ndarray) -> tuple[np.ndarray, list[float]]:
    """bfloat16 as uint16, rounded to nearest even, and what that did."""
    exact = torch.from_numpy(values).double()
    stored = torch.from_numpy(values).to(torch.bfloat16)
    both = stored.double() - exact, exact
    deviation = [float(x.abs().max()) for x in both] + [float(x.square().sum()) for x in both]
    return stored.view(torch.uint16).numpy(), deviation


def _join(deviations: dict[str, Deviation], name: str, found: Sequence[float]) -> None:
    before = deviations.get(name, Deviation(0.0, 0.0, 0.0, 0.0))
    deviations[name] = Deviation(*map(max, before[:2], found[:2]), *map(sum, zip(before[2:], found[2:], strict=True)))
