"""The files of the store: Arrow IPC, one record batch, a row per window and a fixed-size list column per array.

A batch of an unfinished entry and a finished entry look the same, so the one is the other's pieces laid end to end.
The schema's metadata describes the file, with a CRC-32 of every column of every batch that went into it.
Shapes: N windows, (N, ...) an array of any trailing shape.
"""

import io
import json
import math
import mmap
import os
import time
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

FORMAT = 2
DTYPES = ("float32", "bfloat16")
"""How floating point is stored. ``float32``: as it was computed, which is float32 for every encoder that is not run in
another precision on purpose (float64 stays float64). ``bfloat16``: 2 bytes a value, relative error at most 2**-8."""

Arrays = dict[str, np.ndarray]


class Damaged(Exception):
    """A file is not what was written; the message says why, without the file's name."""


class Outdated(Damaged):
    """A file of another version of the store, which nothing reads."""


@dataclass(frozen=True)
class Deviation:
    """What storing x as s did to an array: max |x - s|, max |x|, sum (x - s)^2, sum x^2."""

    most: float
    scale: float
    squared: float
    power: float

    @property
    def largest(self) -> float:
        """max |x - s| / max |x|."""
        return self.most / self.scale if self.scale else 0.0

    @property
    def rms(self) -> float:
        """Root of sum (x - s)^2 / sum x^2."""
        return math.sqrt(self.squared / self.power) if self.power else 0.0

    def __add__(self, other: "Deviation") -> "Deviation":
        return Deviation(
            max(self.most, other.most),
            max(self.scale, other.scale),
            self.squared + other.squared,
            self.power + other.power,
        )


@dataclass(frozen=True)
class Description:
    """What a file says of itself."""

    key: Mapping[str, Any]
    windows: int
    """Of the finished entry."""
    shapes: Mapping[str, Sequence[int]]
    dtypes: Mapping[str, str]
    rows: Sequence[int]
    """Of each batch that went into the file."""
    checksums: Mapping[str, Sequence[int]]
    """CRC-32 by array and batch."""
    deviations: Mapping[str, Deviation]
    """Of the arrays that are stored with fewer digits than they were computed with."""
    seconds: float
    """What computing it took."""
    created: float
    """Seconds since the epoch."""
    format: int = FORMAT

    @property
    def layout(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Type and shape of a row, by array: what all batches of an entry share."""
        return {name: (self.dtypes[name], tuple(shape[1:])) for name, shape in self.shapes.items()}

    def storage(self, name: str) -> np.dtype:
        """The NumPy type on disk, which has no bfloat16."""
        return np.dtype("uint16" if self.dtypes[name] == "bfloat16" else self.dtypes[name])

    def to_json(self) -> str:
        return json.dumps(vars(self), default=lambda value: vars(value) if isinstance(value, Deviation) else str(value))

    @classmethod
    def from_json(cls, text: bytes) -> "Description":
        fields = json.loads(text)
        if fields.get("format") != FORMAT:
            raise Outdated("written by another version of the store")
        fields["deviations"] = {name: Deviation(**found) for name, found in fields["deviations"].items()}
        return cls(**fields)


class Features(Mapping[str, Tensor]):
    """The arrays of one finished entry, (N, ...), mapped from disk and read when used.

    An array has the encoder's precision, or torch.bfloat16 where it was stored so: convert the rows that are used.
    Raises Damaged for a file that is truncated, empty or garbled in its description; values are not read before they
    are asked for, so that only ``verify`` sees damage there.
    """

    def __init__(self, path: Path):
        self.path = path
        path.open("rb").close()  # what is absent or may not be read is no damage
        self.description, self._arrays = _decode(lambda: pa.memory_map(str(path)))

    @property
    def key(self) -> Mapping[str, Any]:
        return self.description.key

    @property
    def seconds(self) -> float:
        """What computing the entry took."""
        return self.description.seconds

    def __getitem__(self, name: str) -> Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a read-only map is what is wanted
            tensor = torch.from_numpy(self._arrays[name])
        return tensor.view(torch.bfloat16) if self.description.dtypes[name] == "bfloat16" else tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def verify(self) -> None:
        """Read every value; raises Damaged that names the first array and rows that are not what was written."""
        check(self.description, self._arrays)


def read_batch(path: Path) -> tuple[Description, Arrays]:
    """A batch of an unfinished entry, every value checked; raises Damaged.

    Read and not mapped: on a network file system another node may remove it, and a map of it would then end the
    process.
    """
    content = path.read_bytes()
    description, arrays = _decode(lambda: pa.BufferReader(content))
    check(description, arrays)
    return description, arrays


def write_batch(
    path: Path, key: Mapping[str, Any], windows: int, batch: Mapping[str, np.ndarray], dtype: str, seconds: float
) -> Description:
    """Write one batch, its floating point as ``dtype``. ``seconds``: what computing it took."""
    arrays: Arrays = {}
    deviations: dict[str, Deviation] = {}
    dtypes: dict[str, str] = {}
    for name, values in batch.items():
        if dtype == "bfloat16" and values.dtype.kind == "f":
            arrays[name], deviations[name] = _rounded(values)
            dtypes[name] = dtype
        else:
            arrays[name], dtypes[name] = np.ascontiguousarray(values), str(values.dtype)
    description = Description(
        key,
        windows,
        {name: values.shape for name, values in arrays.items()},
        dtypes,
        [len(next(iter(arrays.values())))],
        {name: [zlib.crc32(_bytes(values))] for name, values in arrays.items()},
        deviations,
        seconds,
        time.time(),
    )
    with pa.OSFile(str(path), "wb") as sink:
        _write(sink, description, {name: pa.py_buffer(values) for name, values in arrays.items()})
    return description


def lay_together(path: Path, parts: Sequence[tuple[Path, Description]]) -> None:
    """Write the finished entry of batches that follow each other. One batch is in memory at a time.

    Raises
    ------
    DamagedBatch
        For a batch that is not, or no longer, what was written.
    ChangedBatch
        For a batch that another process has written anew since: its values may differ in the last digit.
    """
    whole = _joined([description for _, description in parts])
    offsets = _skeleton(path, whole)
    with path.open("r+b") as file:
        row = 0
        for part, expected in parts:
            try:
                description, arrays = read_batch(part)
            except FileNotFoundError:
                raise DamagedBatch(part, "it is gone") from None
            except Damaged as error:
                raise DamagedBatch(part, str(error)) from None
            if (description.layout, description.checksums) != (expected.layout, expected.checksums):
                raise ChangedBatch
            for name, values in arrays.items():
                file.seek(offsets[name] + row * (values.nbytes // len(values)))
                file.write(_bytes(values))
            row += description.rows[0]
        # Opening does not read the values, so a power cut must not leave a whole-looking file without them.
        file.flush()
        os.fsync(file.fileno())


class ChangedBatch(Exception):
    """The entry must be described anew."""


class DamagedBatch(Damaged):
    def __init__(self, path: Path, message: str):
        super().__init__(message)
        self.path = path


def check(description: Description, arrays: Arrays) -> None:
    """Raises Damaged for values whose checksum is not the one written with them."""
    for name, values in arrays.items():
        row = 0
        for rows, expected in zip(description.rows, description.checksums[name], strict=True):
            if zlib.crc32(_bytes(values[row : row + rows])) != expected:
                raise Damaged(f"{name}, windows {row} to {row + rows - 1}: the checksum does not match")
            row += rows


def _rounded(values: np.ndarray) -> tuple[np.ndarray, Deviation]:
    """bfloat16 as uint16, rounded to nearest even, and what that did."""
    exact = torch.from_numpy(np.ascontiguousarray(values))
    stored = exact.to(torch.bfloat16)
    exact = exact.double()
    apart = stored.double() - exact
    deviation = Deviation(
        float(apart.abs().max()), float(exact.abs().max()), float(apart.square().sum()), float(exact.square().sum())
    )
    return stored.view(torch.uint16).numpy(), deviation


def _joined(parts: Sequence[Description]) -> Description:
    first = parts[0]
    return Description(
        first.key,
        first.windows,
        {name: (first.windows, *shape[1:]) for name, shape in first.shapes.items()},
        first.dtypes,
        [part.rows[0] for part in parts],
        {name: [part.checksums[name][0] for part in parts] for name in first.shapes},
        {name: reduce(Deviation.__add__, [part.deviations[name] for part in parts]) for name in first.deviations},
        sum(part.seconds for part in parts),
        time.time(),
    )


def _write(sink: Any, description: Description, buffers: Mapping[str, pa.Buffer]) -> None:
    columns = []
    for name, shape in description.shapes.items():
        kind = pa.from_numpy_dtype(description.storage(name))
        flat = pa.Array.from_buffers(kind, math.prod(shape), [None, buffers[name]])
        columns.append(pa.FixedSizeListArray.from_arrays(flat, math.prod(shape[1:])))
    schema = pa.schema(
        [pa.field(name, column.type) for name, column in zip(description.shapes, columns, strict=True)],
        metadata={"bridgebench": description.to_json()},
    )
    with pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(pa.record_batch(columns, schema=schema))


class _Holes(io.RawIOBase):
    """A sink that leaves holes for what lies in ``nothing``: values are written once and are never all in memory."""

    def __init__(self, file: BinaryIO, nothing: pa.Buffer):
        self.file = file
        self.nothing = range(nothing.address, nothing.address + nothing.size)

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.file.tell()

    def write(self, content: Any) -> int:
        size = memoryview(content).nbytes
        if isinstance(content, pa.Buffer) and content.address in self.nothing:
            self.file.seek(size, io.SEEK_CUR)
        else:
            self.file.write(content)
        return size


def _skeleton(path: Path, description: Description) -> dict[str, int]:
    """Write all of a file but its values; returns where those of each array begin, in bytes."""
    sizes = {name: math.prod(shape) * description.storage(name).itemsize for name, shape in description.shapes.items()}
    # Address space that no page stands behind: Arrow wants a buffer of the right size, whose content nobody reads.
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    nothing = pa.py_buffer(mmap.mmap(-1, max(*sizes.values(), 1), flags=flags, prot=mmap.PROT_READ))
    with path.open("wb") as file:
        sink = pa.PythonFile(_Holes(file, nothing), "w")
        _write(sink, description, {name: nothing[:size] for name, size in sizes.items()})
    with pa.memory_map(str(path)) as source:
        start = source.read_buffer(source.size()).address
        source.seek(0)
        batch = pa.ipc.open_file(source).get_batch(0)
        return {
            name: column.flatten().buffers()[1].address - start
            for name, column in zip(batch.schema.names, batch.columns, strict=True)
        }


def _decode(opened: Any) -> tuple[Description, Arrays]:
    try:
        batch = pa.ipc.open_file(opened()).get_batch(0)
        batch.validate()
        description = Description.from_json(batch.schema.metadata[b"bridgebench"])
        arrays = {}
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            values = column.flatten().to_numpy(zero_copy_only=True)
            if values.dtype != description.storage(name):
                raise Damaged(f"{name} is {values.dtype}, described as {description.dtypes[name]}")
            arrays[name] = values.reshape(description.shapes[name])
            if len(arrays[name]) != sum(description.rows) or len(description.checksums[name]) != len(description.rows):
                raise Damaged(f"{name} has {len(arrays[name])} windows, described as {sum(description.rows)}")
        if set(arrays) != set(description.shapes) or set(arrays) != set(description.checksums):
            raise Damaged("its arrays are not those described")
    except (pa.ArrowException, OSError, LookupError, ValueError, TypeError, AttributeError) as error:
        raise Damaged(f"not a whole file of the store: {' '.join(str(error).split())[:120]}") from None
    return description, arrays


def _bytes(values: np.ndarray) -> memoryview:
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
