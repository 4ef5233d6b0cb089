"""One pass over a split keeps what trials need; the store holds it on disk, memory-mapped and never stale.

Shapes: N windows, T tokens, D features. An entry is one Arrow file with a row per window and a column per array.
"""

import json
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from benchmark.cache import Progress, digest, silent, whole
from benchmark.datasets.base import Windows
from benchmark.encoders.base import Encoder


class Features(Mapping[str, Tensor]):
    """The arrays of one entry, (N, ...) in the encoder's precision, mapped from disk and read when used."""

    def __init__(self, path: Path):
        self.path = path
        batch = pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)
        metadata = json.loads(batch.schema.metadata[b"bridgebench"])
        self.key: dict[str, Any] = metadata["key"]
        self.seconds: float = metadata["seconds"]
        self._arrays = {
            name: column.flatten().to_numpy(zero_copy_only=True).reshape(metadata["shapes"][name])
            for name, column in zip(batch.schema.names, batch.columns, strict=True)
        }

    def __getitem__(self, name: str) -> Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a read-only map is what is wanted
            return torch.from_numpy(self._arrays[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)


class Store:
    """Entries by key. Several processes may ask for the same one: each writes a whole file, the last rename stays."""

    def __init__(self, root: Path):
        self.root = root

    def path(self, key: Mapping[str, Any]) -> Path:
        return self.root / f"{digest(key)}.arrow"

    def get(
        self, key: Mapping[str, Any], n: int, compute: Callable[[], Iterator[dict[str, np.ndarray]]]
    ) -> tuple[Features, bool]:
        """The entry of ``key``, computed if absent, and whether it was there.

        ``compute`` yields batches in order; together they have ``n`` rows.
        """
        path = self.path(key)
        if path.exists():
            return Features(path), True
        begin = time.perf_counter()
        with whole(path) as temporary:
            self._write(temporary, key, n, compute(), begin)
        return Features(path), False

    @staticmethod
    def _write(
        path: Path, key: Mapping[str, Any], n: int, batches: Iterator[dict[str, np.ndarray]], begin: float
    ) -> None:
        # Columns are filled on disk and then laid into one record batch, so that reading is one contiguous map
        # and writing never holds a split in memory.
        columns: dict[str, np.memmap] = {}
        parts: dict[str, Path] = {}
        try:
            row = 0
            for batch in batches:
                for name, values in batch.items():
                    if name not in columns:
                        parts[name] = path.with_name(f"{path.name}.{len(parts)}")
                        columns[name] = np.memmap(parts[name], values.dtype, "w+", shape=(n, *values.shape[1:]))
                    columns[name][row : row + len(values)] = values
                row += len(next(iter(batch.values())))
            if row != n:
                raise RuntimeError(f"features of {row} windows were computed where {n} were asked for")
            metadata = {
                "key": key,
                "shapes": {name: column.shape for name, column in columns.items()},
                "seconds": time.perf_counter() - begin,
            }
            arrays = [_as_column(column, n) for column in columns.values()]
            schema = pa.schema(
                [pa.field(name, array.type) for name, array in zip(columns, arrays, strict=True)],
                metadata={"bridgebench": json.dumps(metadata, default=str)},
            )
            with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
                writer.write_batch(pa.record_batch(arrays, schema=schema))
        finally:
            for part in parts.values():
                part.unlink(missing_ok=True)


def _as_column(values: np.ndarray, n: int) -> pa.Array:
    """(n, ...) as n lists of one length, without a copy."""
    flat = pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), values.size, [None, pa.py_buffer(values)])
    return pa.FixedSizeListArray.from_arrays(flat, values.size // n)


@torch.inference_mode()
def one_pass(
    encoder: Encoder,
    windows: Windows,
    indices: np.ndarray,
    *,
    last: bool = False,
    batch_size: int = 32,
    progress: Progress = silent,
) -> Iterator[dict[str, np.ndarray]]:
    """Run the encoder once over ``windows[indices]``.

    Yields, per batch, ``pooled/k`` (B, D_k): the mean over tokens of what block k takes, ``pooled/n`` being the
    last block's output; and, with ``last``, ``last``: that output in the model's own layout.
    """
    for begin in range(0, len(indices), batch_size):
        part = indices[begin : begin + batch_size]
        hidden = encoder.embed(encoder.inputs(windows.take(part)))
        found = {"pooled/0": encoder.pool(hidden)}
        for block in range(encoder.n_blocks):
            hidden = encoder.run(hidden, block, block + 1)
            found[f"pooled/{block + 1}"] = encoder.pool(hidden)
        if last:
            found["last"] = hidden
        yield {name: values.cpu().numpy() for name, values in found.items()}
        progress(begin + len(part), len(indices), "features")


@torch.inference_mode()
def block_inputs(
    encoder: Encoder, windows: Windows, indices: np.ndarray, block: int, *, batch_size: int = 32
) -> Iterator[dict[str, np.ndarray]]:
    """Yields ``input`` per batch: what ``block`` takes, token by token, in the model's own layout."""
    for begin in range(0, len(indices), batch_size):
        part = indices[begin : begin + batch_size]
        hidden = encoder.embed(encoder.inputs(windows.take(part)))
        yield {"input": encoder.run(hidden, 0, block).cpu().numpy()}
