"""A file's own checksum: the CRC-32 of all its other bytes, as 8 hexadecimal digits behind the last mark in it."""

import mmap
import zlib
from pathlib import Path

MARK = b"CRC-32 of all bytes of this file but these: "
OPEN = MARK + b"-" * 8
"""What a format that takes any text is given to hold, and ``seal`` fills in."""
CHUNK = 32 << 20  # bytes that are in memory at once


def seal(file: Path) -> None:
    """Write a finished file's checksum into it."""
    with file.open("rb+") as opened, mmap.mmap(opened.fileno(), 0) as mapped:
        at, checksum = _checksum(mapped)
        mapped[at : at + 8] = checksum


def is_whole(mapped: mmap.mmap) -> bool:
    """Read every byte: whether all are as they were sealed."""
    at, checksum = _checksum(mapped)
    return mapped[at : at + 8] == checksum


def _checksum(mapped: mmap.mmap) -> tuple[int, bytes]:
    """Where the checksum stands, and what it should be."""
    at, found = mapped.rfind(MARK) + len(MARK), 0
    with memoryview(mapped) as content:
        for begin, end in ((0, at), (at + 8, len(mapped))):
            for start in range(begin, end, CHUNK):
                found = zlib.crc32(content[start : min(start + CHUNK, end)], found)
                mapped.madvise(mmap.MADV_DONTNEED)  # what was read is the system's, and no memory of this process
    return at, b"%08x" % found
