"""Options of a method: a default, and what is accepted. ``null`` on the command line means: search it."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from benchmark.errors import InputError


@dataclass(frozen=True)
class Blocks:
    """How many blocks the two encoders of a task have."""

    new: int
    old: int


Check = Callable[[Any, Blocks | None], str | None]
"""Given a value and, once they are known, the blocks: None, or what is accepted instead."""


@dataclass(frozen=True)
class Option:
    """``default`` None: searched unless the user gives a value."""

    default: Any
    check: Check


def whole(least: int) -> Check:
    def check(value: Any, blocks: Blocks | None) -> str | None:
        right = isinstance(value, int) and not isinstance(value, bool) and value >= least
        return None if right else f"a whole number of at least {least}"

    return check


def or_null(check: Check) -> Check:
    def check_or_null(value: Any, blocks: Blocks | None) -> str | None:
        accepted = None if value is None else check(value, blocks)
        return accepted and f"{accepted}, or null"

    return check_or_null


def positive(value: Any, blocks: Blocks | None) -> str | None:
    right = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0
    return None if right else "a number above 0"


def one_of(*accepted: Any) -> Check:
    def check(value: Any, blocks: Blocks | None) -> str | None:
        return None if value in accepted else f"one of {', '.join(map(str, accepted))}"

    return check


def new_block(value: Any, blocks: Blocks | None) -> str | None:
    """A block of the new encoder."""
    most = blocks.new - 1 if blocks else math.inf
    right = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most
    return None if right else f"a block of the new encoder, {f'0 to {most}' if blocks else '0 or more'}"


def old_block_or_head(value: Any, blocks: Blocks | None) -> str | None:
    """A block of the old encoder, or ``head``."""
    most = blocks.old - 1 if blocks else math.inf
    right = value == "head" or (isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most)
    return None if right else f"a block of the old encoder, {f'0 to {most}' if blocks else '0 or more'}, or head"


def check(method: str, declared: Mapping[str, Option], given: Mapping[str, Any], blocks: Blocks | None = None) -> None:
    """Raises InputError for the first value that its option does not take; None (searched) always passes."""
    for name, option in declared.items():
        value = given.get(name)
        if value is None:
            if option.default is None:
                continue
            raise InputError(f"{method}.{name} is null, but it is not searched; give a value such as {option.default}")
        accepted = option.check(value, blocks)
        if accepted:
            searched = ", or null to search it" if option.default is None else ""
            raise InputError(f"{method}.{name}={value} cannot be used; give {accepted}{searched}")
