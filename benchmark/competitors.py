"""Methods by name; nothing heavy is imported before a method is asked for.

A method is one file, ``baselines/<name>.py`` with a ``Method`` subclass called ``Competitor`` (the bridge's is
``benchmark/transfer.py``). What is searched for it is ``search_spaces/<name>.py``; references have none.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING

import baselines
import search_spaces
from benchmark.errors import InputError
from benchmark.config.options import Option
from benchmark.common.suggest import choose

if TYPE_CHECKING:
    from benchmark.method import Method


def searchable() -> tuple[str, ...]:
    """Names of the methods that have a search space."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(search_spaces.__path__)))


def names() -> tuple[str, ...]:
    """Names of all methods, references among them."""
    found = (module.name for module in pkgutil.iter_modules(baselines.__path__))
    return ("bridge", *sorted(name for name in found if not name.startswith("_")))


def check_name(name: str) -> None:
    if name not in names():
        raise InputError(f"unknown method {name!r}; {choose(name, names())}")


def get(name: str) -> "type[Method]":
    """The class of a method."""
    check_name(name)
    if name == "bridge":
        return importlib.import_module("benchmark.transfer").Bridge
    return importlib.import_module(f"baselines.{name}").Competitor


def search_space(name: str) -> ModuleType:
    """``search_spaces/<name>.py``: OPTIONS, PAPER and space(trial, blocks)."""
    return importlib.import_module(f"search_spaces.{name}")


def options(name: str) -> Mapping[str, Option]:
    """What a method's search space declares."""
    return search_space(name).OPTIONS
