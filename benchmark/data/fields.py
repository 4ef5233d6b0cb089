"""What the options of several data sets have in common: preparation, splits, and the folder of the recordings."""

import re
from pathlib import Path
from typing import Annotated, Any, NoReturn

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from benchmark.config.options import option
from benchmark.config.schema import SplitOptions
from benchmark.data.signals.preparation import check_stages
from benchmark.errors import InputError

PREPARATION = "preparation, stage by stage"
STRIDE = "s from one window's start to the next; below seconds, windows of a recording overlap"


def refuse() -> NoReturn:
    """End a validator: ``parse`` then says the value and what its option accepts."""
    raise PydanticCustomError("not_accepted", "not accepted")


def _check_preparation(value: Any) -> Any:
    if not isinstance(value, list):
        refuse()
    try:
        check_stages(value)
    except InputError as error:
        raise ValueError(str(error)) from None
    return value


Preparation = Annotated[list[dict[str, Any]], BeforeValidator(_check_preparation)]
"""Stages of ``benchmark.data.signals.preparation``, checked."""


def preparation(default: list[dict[str, Any]] | None, help: str = PREPARATION) -> Any:
    """A field of type ``Preparation``, or of that or None."""
    return option(default, help, accepts="a list of stages such as [{zscore: recording}], or []")


def split(default: SplitOptions, help: str) -> Any:
    """The field ``split`` of a data set."""
    return option(default, help, accepts="its options, such as data.split.kind=kfold")


def folder(root: str | None, contents: str, how_to_get: str) -> Path:
    """The existing folder of the recordings.

    Raises
    ------
    InputError
        Where it is not set or not there; the message says what should be in it and where that comes from.
    """
    if root is None:
        raise InputError(f"option data.root is not set; give the folder of {contents} ({how_to_get})")
    path = Path(root).expanduser()
    if not path.is_dir():
        found = "a file" if path.exists() else "nothing"
        raise InputError(f"data.root {path}: found {found}; give the folder of {contents} ({how_to_get})")
    return path


def matches(root: Path, where: str, pattern: str) -> list[str]:
    """The first group of ``pattern`` in the paths below ``root`` that ``where`` globs and it matches; sorted."""
    found = (re.fullmatch(pattern, path.relative_to(root).as_posix()) for path in root.glob(where))
    return sorted({match[1] for match in found if match})
