"""Columns of numbers in comma-separated text, through Arrow: streamed, and every value is checked."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from benchmark.data.formats import regular
from benchmark.errors import InputError

LARGEST = 1 << 30  # bytes: an hour of FOG's 61 columns at 500 Hz
BLOCK = 4 << 20  # bytes of text that are parsed at once


def read_columns(file: Path, columns: Sequence[int], n_columns: int, header: str = "") -> np.ndarray:
    """Columns, counted from 0, of a text of T lines, as float64 (len(columns), T); no more than a block is held.

    ``header`` is the line that comes before them, where there is one.

    Raises
    ------
    InputError
        For a file that is missing or has other than ``n_columns`` columns or another header, and for a chosen value
        that is not a finite number; the message names its line.
    """
    regular.size_of(file, LARGEST)
    names = [f"f{column}" for column in columns]
    try:
        with file.open("rb") as stream:
            first = stream.readline(1 << 16).rstrip()
        if header and first != header.encode():
            raise InputError(f"{file}: begins with {first[:60]!r}, not {header}; use the publisher's files")
        found = first.count(b",") + 1
        if found != n_columns:
            raise InputError(f"{file}: {found} columns, not {n_columns}; use the publisher's files")
        reader = pa.csv.open_csv(
            file,
            read_options=pa.csv.ReadOptions(
                autogenerate_column_names=True, block_size=BLOCK, use_threads=False, skip_rows=bool(header)
            ),
            parse_options=pa.csv.ParseOptions(ignore_empty_lines=n_columns > 1),  # of one column, it is a lost value
            convert_options=pa.csv.ConvertOptions(
                include_columns=names, column_types=dict.fromkeys(names, pa.float64()), null_values=[]
            ),
        )
        blocks = [np.stack([block.column(name).to_numpy() for name in names]) for block in reader]
    except (pa.ArrowException, OSError, UnicodeError) as error:
        raise InputError(f"{file}: not {n_columns} columns of numbers ({error}); download it again") from None
    values = np.concatenate(blocks, axis=1) if blocks else np.empty((len(names), 0))
    if not np.isfinite(values).all():
        row, sample = np.argwhere(~np.isfinite(values.T))[0][::-1]
        raise InputError(
            f"{file}: line {sample + 1 + bool(header)} holds {values[row, sample]:g} in column {columns[row]}, not a "
            "finite number; download it again"
        )
    return values
