"""What is opened as a recording: a regular file of a size that it can have. A FIFO would keep who opens it waiting for
ever, and a sparse file may claim any length without taking room."""

import stat
from pathlib import Path

from benchmark.errors import InputError


def size_of(file: Path, largest: int) -> int:
    """Bytes of a file, without opening it.

    Raises
    ------
    InputError
        Where there is none, it is not a regular file, or has more than ``largest`` bytes.
    """
    try:
        found = file.stat()
    except FileNotFoundError:
        raise InputError(f"{file}: missing; download it again") from None
    except OSError as error:
        raise InputError(f"{file}: cannot be reached ({error.strerror}); mend that or download it again") from None
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f"{file}: not a regular file; put the recording itself there")
    if found.st_size > largest:
        raise InputError(f"{file}: {found.st_size} bytes, such a file has at most {largest}; download it again")
    return found.st_size
