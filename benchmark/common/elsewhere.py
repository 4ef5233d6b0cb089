"""What this process lacks and another machine may have. Whoever knows other machines says how they are asked."""

from pathlib import Path
from typing import Any, Protocol


class Source(Protocol):
    """Other machines."""

    def fetch(self, path: Path) -> bool:
        """Bring a file that is not here to where it would be; whether it is there now."""

    def keep(self, path: Path) -> None:
        """Have a copy of a file where it is safe, should this machine be lost."""

    def drop(self, path: Path) -> None:
        """Remove what was kept."""

    def ask(self, name: str) -> Any:
        """What another process offered under a name; None if none did."""

    def offer(self, name: str, value: Any) -> None:
        """Let others ask for a value."""


_source: Source | None = None


def use(source: Source | None) -> None:
    """Ask this one from now on; None: nobody."""
    global _source
    _source = source


def fetch(path: Path) -> bool:
    return _source is not None and _source.fetch(path)


def keep(path: Path) -> None:
    if _source is not None:
        _source.keep(path)


def drop(path: Path) -> None:
    if _source is not None:
        _source.drop(path)


def ask(name: str) -> Any:
    return None if _source is None else _source.ask(name)


def offer(name: str, value: Any) -> None:
    if _source is not None:
        _source.offer(name, value)
