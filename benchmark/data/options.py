"""Checks of data set options: each returns the value in the type asked for or raises a one-line InputError."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.errors import InputError
from benchmark.data.signals.preparation import Stages, check_stages


def number(option: str, value: Any, least: float = -np.inf, most: float = np.inf, above: float | None = None) -> float:
    """A finite number in [least, most], and greater than ``above`` where given."""
    accepted = f"a number above {above:g}" if above is not None else f"a number of at least {least:g}"
    accepted += "" if most == np.inf else f" and at most {most:g}"
    right_type = isinstance(value, int | float) and not isinstance(value, bool) and np.isfinite(value)
    if not right_type or not least <= value <= most or (above is not None and value <= above):
        raise InputError(f"option data.{option} is {value!r}; give {accepted}")
    return float(value)


def whole(option: str, value: Any, least: int) -> int:
    """A whole number of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(f"option data.{option} is {value!r}; give a whole number of at least {least}")
    return value


def flag(option: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InputError(f"option data.{option} is {value!r}; give true or false")
    return value


def choice(option: str, value: Any, accepted: Sequence[Any]) -> Any:
    if value not in accepted:
        raise InputError(f"option data.{option} is {value!r}; choose one of {', '.join(map(str, accepted))}")
    return value


def band(option: str, value: Any) -> tuple[float, float] | None:
    """[low, high] in Hz, or None."""
    if value is None:
        return None
    pair = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else []
    right_type = len(pair) == 2 and all(isinstance(v, int | float) and not isinstance(v, bool) for v in pair)
    if not right_type or not 0 < pair[0] < pair[1]:
        raise InputError(f"option data.{option} is {value!r}; give [low, high] in Hz with 0 < low < high, or null")
    return float(pair[0]), float(pair[1])


def stages(option: str, value: Any) -> Stages:
    """Preparation stages."""
    try:
        check_stages(value)
    except InputError as error:
        raise InputError(f"option data.{option}: {error}") from None
    return value


def folder(option: str, value: Any, contents: str, how_to_get: str) -> Path:
    """An existing folder; the message says what should be in it and where it comes from."""
    if value is None:
        raise InputError(f"option data.{option} is not set; give the folder of {contents} ({how_to_get})")
    path = Path(str(value)).expanduser()
    if not path.is_dir():
        found = "a file" if path.exists() else "nothing"
        raise InputError(f"data.{option} {path}: found {found}; give the folder of {contents} ({how_to_get})")
    return path


def items(option: str, value: Any) -> list[Any]:
    """A list, also where YAML gave another sequence."""
    if isinstance(value, str | Mapping) or not isinstance(value, Sequence):
        raise InputError(f"option data.{option} is {value!r}; give a list such as [1, 2], or []")
    return list(value)
