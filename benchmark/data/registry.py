"""Data sets by name. One data set is one module of this package and one file ``conf/data/<name>.yaml``."""

import inspect
import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module, resources
from typing import Any

from omegaconf import DictConfig, OmegaConf

import benchmark.data as package
from benchmark.data.base import Dataset
from benchmark.errors import InputError
from benchmark.common.suggest import choose

NOT_DATASETS = frozenset({"__main__", "base", "cache", "options", "registry"})
NOT_OPTIONS = frozenset({"name", "split"})
"""Keys of ``conf/data/<name>.yaml`` that the data set's class does not take."""


@cache
def names() -> tuple[str, ...]:
    """The data sets there are, sorted."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(package.__path__) if m.name not in NOT_DATASETS))


def dataset_class(name: str) -> type[Dataset]:
    if name not in names():
        raise InputError(f"unknown data set {name!r}; {choose(str(name), names())}")
    module = import_module(f"{package.__name__}.{name}")
    for candidate in vars(module).values():
        if inspect.isclass(candidate) and issubclass(candidate, Dataset) and candidate.__module__ == module.__name__:
            return candidate
    raise TypeError(f"{module.__file__} holds no Dataset")


def defaults(name: str) -> dict[str, Any]:
    """The options of ``conf/data/<name>.yaml``, the one place where they are declared."""
    text = resources.files("benchmark.config.conf").joinpath("data", f"{name}.yaml").read_text(encoding="utf-8")
    options = OmegaConf.to_container(OmegaConf.create(text), resolve=True)
    assert isinstance(options, dict)
    return {str(key): value for key, value in options.items() if key not in NOT_OPTIONS}


def build(name: str, options: Mapping[str, Any] | None = None) -> Dataset:
    """A reader of that data set.

    Parameters
    ----------
    name : one of ``names()``.
    options : replaces entries of ``defaults(name)``; the keys ``name`` and ``split`` of the same file are skipped.

    Raises
    ------
    InputError
        For an unknown name or option (with the close ones), and for a value that the option does not take.
    """
    kind = dataset_class(name)
    known = defaults(name)
    plain = OmegaConf.to_container(options, resolve=True) if isinstance(options, DictConfig) else dict(options or {})
    assert isinstance(plain, dict)
    given = {str(key): value for key, value in plain.items() if key not in NOT_OPTIONS}
    for key in given:
        if key not in known:
            raise InputError(f"unknown option data.{key} of data set {name}; {choose(key, sorted(known))}")
    return kind(**{**known, **given})
