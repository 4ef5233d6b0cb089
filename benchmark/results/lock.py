"""One driver a folder: a lock that dies with its owner, whatever ended it, on a local disk or over NFS."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmark.errors import InputError


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """The folder is this process's inside of the block; InputError where another one has it.

    The lock is a byte range of ``.<name>.lock`` beside the folder, which is replaced as a whole; the file stays, empty
    of meaning, since removing it would let two others lock two files of one name.
    """
    path = folder.parent / f".{folder.name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.read(descriptor, 200).decode(errors="replace").strip() or "another process"
            raise InputError(
                f"{folder} is being written by {owner}; wait until it has ended, or give name=<new name>"
            ) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} of {socket.gethostname()}".encode())
        yield
    finally:
        os.close(descriptor)
