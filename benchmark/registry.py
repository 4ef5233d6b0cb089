"""What there is, by name: methods, their options and published points; data sets. Nothing heavy is imported for that.

A method is one file, ``baselines/<name>.py``, or a room of its own, ``benchmark/<name>/``, with one ``Method`` of that
name. Its options and what is searched of them are ``search_spaces/<name>.py``: ``Options``, and where it is searched
``space(trial, blocks)`` and ``PAPER``, its published options by experiment. A method without that file has no options.
"""

import functools
import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

from benchmark.common.suggest import choose
from benchmark.config.compose import Catalogue, load
from benchmark.config.options import MethodOptions, parse
from benchmark.config.schema import Config
from benchmark.data import registry as data
from benchmark.errors import InputError

if TYPE_CHECKING:
    from benchmark.method import Method


def _files(package: str) -> list[str]:
    spec = find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    found = (module.name for module in pkgutil.iter_modules(spec.submodule_search_locations))
    return sorted(name for name in found if not name.startswith("_"))


def names() -> tuple[str, ...]:
    """Names of all methods."""
    return tuple(sorted({*_files("search_spaces"), *_files("baselines")}))


def get(name: str) -> "type[Method]":
    """The class of a method. InputError for an unknown name, TypeError for a file without a method of its name."""
    from benchmark.method import Method

    if name not in names():
        raise InputError(f"unknown method {name!r}; {choose(name, names())}")
    module = importlib.import_module(f"baselines.{name}" if find_spec(f"baselines.{name}") else f"benchmark.{name}")
    for value in vars(module).values():
        if isinstance(value, type) and issubclass(value, Method) and getattr(value, "name", None) == name:
            return value
    raise TypeError(f"{module.__file__} has no Method whose name is {name!r}")


def search_space(name: str) -> ModuleType | None:
    """``search_spaces/<name>.py``, if there is one."""
    return importlib.import_module(f"search_spaces.{name}") if find_spec(f"search_spaces.{name}") else None


def options_type(name: str) -> type[MethodOptions]:
    """The model of a method's options."""
    return getattr(search_space(name), "Options", MethodOptions)


def options_of(name: str, values: Mapping[str, Any]) -> MethodOptions:
    """A method's options from what its row keeps of them; what is left out has its default."""
    return parse(options_type(name), values, f"{name}.")


@functools.cache
def catalogue() -> Catalogue:
    """All that a configuration can name."""
    spaces = {name: space for name in names() if (space := search_space(name)) is not None}
    searchable = tuple(name for name, space in spaces.items() if hasattr(space, "space"))
    return Catalogue(
        data={name: data.options_class(name) for name in data.names()},
        methods={name: options_type(name) for name in names()},
        searchable=searchable,
        published={name: spaces[name].PAPER for name in searchable},
    )


def configure(words: Sequence[str]) -> Config:
    """The configuration that command-line words ask for; InputError as ``benchmark.config.compose.load``."""
    return load(words, catalogue())
