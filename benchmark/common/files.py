"""Atomic writes: a file is there whole or not at all. No other module renames a temporary file into place."""

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmark.errors import InputError


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path`` to write to: flushed to disk and renamed at the end, removed after an error.

    It is unlike that of any other process or node, so that several may write one file at once: the last one stays.
    The folder is made if missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as file:  # a power cut must not leave a name without its content
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(folder: Path, option: str) -> None:
    """InputError that names the option for a folder that cannot be written to, or made. Nothing is left written."""
    try:
        with suppress(FileNotFoundError):
            folder.stat()  # of a name that no file system takes, parents say nothing
        made = next(parent for parent in (folder, *folder.parents) if os.path.lexists(parent))
        tempfile.TemporaryFile(dir=made).close()
    except OSError as error:
        found = "it is a file" if os.path.isfile(folder) else (error.strerror or str(error)).lower()
        raise InputError(f"{option}={folder} cannot be written to ({found}); give another folder") from None


def write_bytes(path: Path, content: bytes) -> Path:
    """Write a file whole; returns ``path``."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)
    return path


def write_text(path: Path, content: str) -> Path:
    """Write a text in UTF-8 whole; returns ``path``."""
    return write_bytes(path, content.encode())
