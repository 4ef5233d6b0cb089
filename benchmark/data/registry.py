"""Data sets by name. A data set is a module or package of this package that holds a ``Dataset``."""

import inspect
import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Any

import benchmark.data as package
from benchmark.common.suggest import choose
from benchmark.config.options import defaults, parse
from benchmark.config.schema import DataOptions
from benchmark.data.base import Dataset
from benchmark.errors import InputError

NOT_DATASETS = frozenset(
    {"__main__", "base", "cache", "fields", "formats", "inspection", "leakage", "registry", "signals", "splits"}
)


@cache
def names() -> tuple[str, ...]:
    """The data sets there are, sorted."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(package.__path__) if m.name not in NOT_DATASETS))


def dataset_class(name: str) -> type[Dataset]:
    """The reader of a data set; InputError for an unknown name, with the close ones."""
    if name not in names():
        raise InputError(f"unknown data set {name!r}; {choose(str(name), names())}")
    module = import_module(f"{package.__name__}.{name}")
    for candidate in vars(module).values():
        if inspect.isclass(candidate) and issubclass(candidate, Dataset) and candidate is not Dataset:
            assert f"{candidate.__module__}.".startswith(f"{module.__name__}."), f"{name} must define its own Dataset"
            return candidate
    raise TypeError(f"{module.__file__} holds no Dataset")


def options_class(name: str) -> type[DataOptions]:
    """The options that a data set declares beside its reader; InputError for an unknown name."""
    return dataset_class(name).Options


def options_of(name: str, values: Mapping[str, Any] | None = None) -> DataOptions:
    """A data set's options: ``values`` and its own defaults for the rest, within ``split`` too.

    Raises
    ------
    InputError
        For an unknown data set or option (with the close ones), and for a value that an option does not take.
    """
    model, given = options_class(name), dict(values or {})
    if isinstance(given.get("split"), Mapping):
        given["split"] = {**defaults(model)["split"], **given["split"]}
    return parse(model, given, "data.")


def build(name: str, options: DataOptions | Mapping[str, Any] | None = None) -> Dataset:
    """A reader of that data set.

    Parameters
    ----------
    name : one of ``names()``.
    options : the data set's own, or values for ``options_of``.

    Raises
    ------
    InputError
        As ``options_of``, and for a folder of recordings that is not there.
    """
    return dataset_class(name)(options if isinstance(options, DataOptions) else options_of(name, options))
