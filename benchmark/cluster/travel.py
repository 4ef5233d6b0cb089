"""The project travels to the nodes of a cluster, which need no checkout of it."""

import os
import re
from contextlib import suppress
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmark.common import elsewhere

PACKAGES = ("benchmark", "baselines", "search_spaces", "analysis")
FOLDER, OWN = "BRIDGEBENCH_FOLDER", "BRIDGEBENCH_NODE_FOLDER"
"""The run's folder, and what a node sets where its processes are to work in another one."""


def runtime_env(install: bool) -> dict[str, Any]:
    """Ray's ``runtime_env``: the packages as they are here, and processes that work in a folder of this one's name, so
    that relative paths of the configuration mean the same in all of them. ``install``: what the project needs, too."""
    found: dict[str, Any] = {
        "py_modules": [_folder_of(package) for package in PACKAGES],
        "excludes": ["__pycache__"],
        "env_vars": {FOLDER: str(Path.cwd())},
        "worker_process_setup_hook": f"{__name__}.enter_folder",
    }
    return {**found, "pip": requirements()} if install else found


def _folder_of(package: str) -> str:
    spec = find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return next(iter(spec.submodule_search_locations))


def requirements() -> list[str]:
    """What the project needs, in the versions that are installed here, without marks of a build such as ``+cpu``."""
    needed = [word for word in metadata.requires("bridgebench") or () if "extra ==" not in word]
    found = []
    for word in needed:
        name = re.match(r"[\w.-]+(\[.*\])?", word)
        assert name is not None
        found.append(f"{name[0]}=={metadata.version(name[0].partition('[')[0]).partition('+')[0]}")
    return found


def enter_folder() -> None:
    """In every process of a node, as it starts: it works in its folder, and asks other nodes for what it lacks."""
    from benchmark.cluster.exchange import Nodes

    folder = os.environ.get(OWN) or os.environ[FOLDER]
    with suppress(OSError):  # one that cannot have the folder keeps relative paths in its own
        os.makedirs(folder, exist_ok=True)
        os.chdir(folder)
    elsewhere.use(Nodes())
