"""Tables of a run's folder, read as far as they can be: what cannot is made again from the log, or else is null."""

import warnings
from collections.abc import Collection
from pathlib import Path

import polars as pl

from benchmark.errors import InputError, Notice
from benchmark.results import log
from benchmark.results.folder import compact
from benchmark.results.schema import Schema


class _Unfit(Exception):
    """What is wrong with a file, behind its path; ``whole`` if only some columns of it are."""

    def __init__(self, said: str, whole: bool = False):
        super().__init__(" ".join(said.split()))
        self.whole = whole


def opened(
    folder: Path, name: str, schema: Schema, needed: Collection[str] = (), large: Collection[str] = ()
) -> tuple[pl.LazyFrame, pl.DataFrame]:
    """``<folder>/<name>``, all columns of ``schema`` in their types: unread, and read but for those that are ``large``.

    A file that is missing, damaged, or of another version is made again from the run's log, with a notice. Where there
    is no log, columns that cannot be read are null, with a notice, and a file that cannot be is empty.

    Raises:
        InputError: there is no log, and one of the columns that are ``needed`` cannot be read; or the log is damaged,
            or its tables cannot be written.
    """
    path = folder / name
    try:
        return _read(path, schema, large)
    except _Unfit as unfit:
        said, whole = str(unfit), unfit.whole
    if (folder / log.NAME).exists():
        warnings.warn(f"{path} {said}; it is made again from {log.NAME}", Notice, stacklevel=2)
        try:
            compact(folder)
            return _read(path, schema, large)
        except _Unfit as unfit:
            said, whole = str(unfit), unfit.whole
        except OSError as error:
            raise InputError(f"{path} {said}, and cannot be made again ({error}); copy the folder elsewhere") from None
    empty = pl.DataFrame(schema=dict(schema))
    found = (empty.lazy(), empty.drop(*large))
    lost = _lost(path, schema) if whole else list(schema)
    try:
        found = _read(path, schema, large, lost) if whole else found
    except _Unfit as unfit:
        said, lost = str(unfit), list(schema)
    if set(lost) & set(needed):
        raise InputError(f"{path} {said}; restore it, or the {log.NAME} that the run wrote")
    warnings.warn(f"{path} {said}; what needs it is left out", Notice, stacklevel=2)
    return found


def _read(
    path: Path, schema: Schema, large: Collection[str], lost: Collection[str] | None = None
) -> tuple[pl.LazyFrame, pl.DataFrame]:
    """As ``opened``, with nulls in columns that are ``lost``; if it is None, _Unfit where there is one."""
    try:
        if lost is None and _lost(path, schema):
            raise _Unfit(_wrong(path, schema), whole=True)
        columns = [
            (pl.lit(None) if name in (lost or ()) else pl.col(name)).cast(dtype).alias(name)
            for name, dtype in schema.items()
        ]
        lazy = pl.scan_parquet(path).select(columns).with_columns(pl.col(pl.Float64).fill_nan(None))
        return lazy, lazy.drop(*large).collect()
    except FileNotFoundError:
        raise _Unfit("is missing") from None
    except (OSError, pl.exceptions.PolarsError) as error:
        raise _Unfit(f"is not a readable Parquet file ({error})") from None


def _lost(path: Path, schema: Schema) -> list[str]:
    """Columns that the file lacks, or has in a type from which there is no way to theirs."""
    found = pl.read_parquet_schema(path)
    return [name for name, wanted in schema.items() if name not in found or not _fits(found[name], wanted)]


def _fits(found: pl.DataType, wanted: pl.DataType | type[pl.DataType]) -> bool:
    # A column that was null throughout may come back under another type.
    return found in (wanted, pl.Null) or (found.is_numeric() and pl.Series(dtype=wanted).dtype.is_numeric())


def _wrong(path: Path, schema: Schema) -> str:
    found = pl.read_parquet_schema(path)
    absent = [name for name in schema if name not in found]
    others = [f"{name}: {found[name]} in place of {schema[name]}" for name in _lost(path, schema) if name in found]
    said = [f"lacks the columns {', '.join(absent)}"] if absent else []
    said += [f"has columns of other types ({', '.join(others)})"] if others else []
    return f"{' and '.join(said)}, since another version wrote it"
