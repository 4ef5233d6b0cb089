"""What a searcher hands to a trial."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Item:
    """What a trial is to do, and whom to tell what became of it."""

    name: str
    config: dict[str, Any]
    tell: Callable[[Sequence[Mapping[str, Any]]], None]
    fail: Callable[[], None]
    again: Callable[[], None]

    @property
    def workers(self) -> int:
        """Slots that it takes."""
        return int(self.config["workers"])
