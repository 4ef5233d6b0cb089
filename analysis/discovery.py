"""Find the modules of a package, so that adding one is adding a file."""

import pkgutil
from collections.abc import Iterable, Sequence
from importlib import import_module
from types import ModuleType


def modules(path: Iterable[str], package: str, required: Sequence[str]) -> list[ModuleType]:
    """Modules of ``package`` in order of their ``NAME``; TypeError for one that lacks a name of ``required``."""
    found = []
    for info in pkgutil.iter_modules(path):
        module = import_module(f"{package}.{info.name}")
        missing = [name for name in required if not hasattr(module, name)]
        if missing:
            raise TypeError(f"{module.__name__} lacks {', '.join(missing)}")
        found.append(module)
    return sorted(found, key=lambda module: module.NAME)
