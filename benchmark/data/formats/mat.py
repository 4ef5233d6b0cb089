"""Arrays of MATLAB 5 files through SciPy, after a look at the file's elements: SciPy reads over a lost end."""

import struct
from pathlib import Path

import numpy as np
import scipy.io

from benchmark.data.formats import regular
from benchmark.errors import InputError

LARGEST = 1 << 30  # bytes: a night of 14 channels of doubles at 200 Hz takes two thirds of it
TOP_LEVEL = (14, 15)  # types of element that a file is made of: a matrix, or a compressed one


def variables(file: Path, largest: int = LARGEST) -> list[str]:
    """Names of what the file holds.

    Raises
    ------
    InputError
        For a file that is missing, of another format or version, of more than ``largest`` bytes, or not whole: its size
        is held against its elements'.
    """
    size = regular.size_of(file, largest)
    try:
        with file.open("rb") as stream:
            header = stream.read(128)
            order = {b"IM": "<", b"MI": ">"}.get(header[126:128])
            if order is None:
                raise ValueError("no header of MATLAB 5")
            if header[124:126] in (b"\x00\x02", b"\x02\x00"):
                raise NotImplementedError
            end = 128
            while end < size:
                stream.seek(end)
                tag = stream.read(8)
                if len(tag) < 8:
                    raise ValueError(f"it ends within an element, at byte {size}")
                kind, length = struct.unpack(f"{order}II", tag)
                if kind not in TOP_LEVEL:
                    raise ValueError(f"no element at byte {end}")
                end += 8 + length
            if end != size:
                raise ValueError(f"{size} bytes, its elements take {end}")
        return [name for name, _, _ in scipy.io.whosmat(file, appendmat=False)]
    except NotImplementedError:
        raise InputError(
            f"{file}: a MATLAB file of version 7.3, the published ones are older; download it again"
        ) from None
    except Exception as error:  # whatever SciPy stumbles over in a damaged file
        raise InputError(
            f"{file}: not a whole MATLAB file ({type(error).__name__}: {error}); download it again"
        ) from error


def read_numbers(file: Path, name: str) -> np.ndarray:
    """An array of real numbers, in its own type and shape; InputError where it cannot be read or is none."""
    try:
        values = scipy.io.loadmat(file, variable_names=[name], appendmat=False)[name]
    except Exception as error:  # whatever SciPy stumbles over in a damaged file
        raise InputError(
            f"{file}: variable {name} cannot be read ({type(error).__name__}: {error}); download it again"
        ) from error
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu":
        found = values.dtype if isinstance(values, np.ndarray) else type(values).__name__
        raise InputError(f"{file}: variable {name} holds {found}, not numbers; download it again")
    return values
