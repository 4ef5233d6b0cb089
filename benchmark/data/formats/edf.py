"""EDF recordings (Kemp et al. 1992) through MNE, after a look at the header: what is damaged is said in one line."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmark.data.formats import regular
from benchmark.errors import InputError

if TYPE_CHECKING:
    from mne.io import BaseRaw

LARGEST = 1 << 30  # bytes: a night of 20 channels at 200 Hz takes a quarter of it


@dataclass(frozen=True)
class EDFHeader:
    """What an EDF header says about the file's size and its channels."""

    n_records: int
    record_bytes: int
    header_bytes: int
    labels: tuple[str, ...]
    rates: tuple[float, ...]  # Hz, a channel
    ranged: tuple[bool, ...]  # whether a channel's physical and digital ranges are ones; MNE takes any

    @property
    def file_bytes(self) -> int:
        return self.header_bytes + self.n_records * self.record_bytes


def read_header(file: Path, largest: int = LARGEST) -> EDFHeader:
    """The header of an EDF file; InputError where it is none, or has more than ``largest`` bytes."""
    regular.size_of(file, largest)
    try:
        with file.open("rb") as stream:
            fixed = stream.read(256)
            n_signals = int(fixed[252:256]) if len(fixed) == 256 and fixed[:8] == b"0       " else -1
            if n_signals < 1:
                raise ValueError("no EDF header")
            # Behind each other, for all signals each: label 16, transducer 80, unit 8, physical minimum and maximum and
            # digital minimum and maximum 8 each, prefiltering 80, samples a record 8, reserved 32 bytes.
            labels = [stream.read(16).decode("latin1").strip() for _ in range(n_signals)]
            stream.seek(256 + 104 * n_signals)
            ends = np.array([_number(stream.read(8)) for _ in range(4 * n_signals)]).reshape(2, 2, n_signals)
            ranged = np.isfinite(ends).all(axis=(0, 1)) & (ends[:, 0] != ends[:, 1]).all(axis=0)
            stream.seek(256 + 216 * n_signals)
            samples = [int(stream.read(8)) for _ in range(n_signals)]
            seconds = float(fixed[244:252])
            if not 0 < seconds < np.inf or min(samples) < 1:
                raise ValueError("records without samples")
            rates = tuple(n / seconds for n in samples)
            sizes = int(fixed[236:244]), 2 * sum(samples), int(fixed[184:192])
            return EDFHeader(*sizes, tuple(labels), rates, tuple(ranged.tolist()))
    except (ValueError, OSError):
        raise InputError(f"{file}: not an EDF file; download it again") from None


def read_edf(file: Path, channels: Sequence[str] | None = None, largest: int = LARGEST) -> "BaseRaw":
    """The recording through MNE, in V; InputError where the file is missing, no EDF, too large, or not whole.

    MNE pads or drops what is missing from a truncated file with a warning at most, so its size is held against its
    header first. ``channels`` are labels as in the header; None reads all. Any extension is taken.
    """
    import mne  # takes seconds, and the windows of most runs are in the cache

    header, size = read_header(file, largest), file.stat().st_size
    if size != header.file_bytes:
        raise InputError(
            f"{file}: {size} bytes, its header says {header.file_bytes}; it was cut short or changed, download it again"
        )
    for label, ranged in zip(header.labels, header.ranged, strict=True):
        if not ranged and (channels is None or label in channels):
            raise InputError(f"{file}: its header gives no range of values for {label}; download it again")
    try:
        with warnings.catch_warnings(), file.open("rb") as stream:
            warnings.simplefilter("ignore")
            included = None if channels is None else list(channels)
            return mne.io.read_raw_edf(stream, preload=True, include=included, verbose="error")
    except Exception as error:  # whatever MNE meets in a damaged header
        raise InputError(f"{file}: MNE cannot read it ({type(error).__name__}: {error}); download it again") from error


def _number(field: bytes) -> float:
    try:
        return float(field)
    except ValueError:
        return float("nan")
