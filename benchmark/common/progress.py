"""How long work says how far it is, without knowing who listens."""

from collections.abc import Callable

Progress = Callable[[int, int, str], None]
"""Called with what is done, what there is to do, and a few words."""


def silent(done: int, total: int, text: str) -> None:
    """The progress that nobody watches."""
