"""Who computes an entry, so that others wait for it instead of computing it too.

A claim is advice: it saves work, and nothing goes wrong where two processes both believe that they hold it (see
``store``). So it needs no locks of the file system, only files that are created, touched and removed.
"""

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from pathlib import Path

BEAT = 5.0
"""Seconds between two touches of a claim by its owner."""
STALE = 60.0
"""Seconds without a touch after which an owner counts as dead; one on this machine counts as dead once it is gone."""
_UNWRITTEN = 2.0  # seconds that an owner may take from creating its claim to writing its name

_held: set[str] = set()


class Claim:
    """The claim of one folder: ``take`` it, then use it as a context, which keeps it fresh and gives it back."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.path = folder / "owner.json"
        self._token = ""
        self._end = threading.Event()

    def take(self) -> bool:
        """Whether this process holds the claim now: nobody did, or who did is dead."""
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            if self.path.exists():
                if self.taken():
                    return False
                self.path.unlink()
            file = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except (FileExistsError, FileNotFoundError):  # another was quicker, to claim or to finish
            return False
        self._token = secrets.token_hex(8)
        _held.add(self._token)
        with os.fdopen(file, "w") as opened:
            json.dump({"host": socket.gethostname(), "pid": os.getpid(), "token": self._token}, opened)
        return True

    def taken(self) -> bool:
        """Whether a process that lives holds the claim."""
        try:
            with self.path.open() as opened:
                # Opening makes a network file system ask its server, so that the time is not a cached one.
                touched = os.fstat(opened.fileno()).st_mtime
                content = opened.read()
        except OSError:
            return False
        age = self._now() - touched
        try:
            owner = json.loads(content)
            host, pid, token = str(owner["host"]), int(owner["pid"]), str(owner["token"])
        except (ValueError, LookupError, TypeError):
            return age < _UNWRITTEN
        if host == socket.gethostname() and (not _exists(pid) or (pid == os.getpid() and token not in _held)):
            return False
        return age < STALE

    def _now(self) -> float:
        """The file system's time, which on a network is not this machine's."""
        probe = self.folder / f".clock.{os.getpid()}.{secrets.token_hex(4)}.tmp"
        try:
            probe.touch()
            return probe.stat().st_mtime
        except OSError:
            return time.time()
        finally:
            with contextlib.suppress(OSError):
                probe.unlink()

    def __enter__(self) -> "Claim":
        if self._token:
            threading.Thread(target=self._beat, name="claim", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        _held.discard(self._token)
        with contextlib.suppress(OSError, ValueError, LookupError):
            if json.loads(self.path.read_text())["token"] == self._token:
                self.path.unlink()
        with contextlib.suppress(OSError):  # nothing was finished
            self.folder.rmdir()

    def _beat(self) -> None:
        while not self._end.wait(BEAT):
            with contextlib.suppress(OSError):
                os.utime(self.path)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True
