"""What the nodes of a cluster have, agree on and see: said before a night is lost.

A node sees a folder of the driver's if it finds in it what the driver finds: the files of a data set, or a mark that
the driver made for the purpose and removes again.
"""

import importlib.metadata
import platform
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from benchmark.cluster.resources import Node, at_once, check_room, trial_resources
from benchmark.cluster.session import joined
from benchmark.common.machine import built_for_gpus
from benchmark.common.terminal import aligned
from benchmark.config.cluster import ClusterOptions
from benchmark.errors import InputError

PACKAGES = ("torch", "ray", "optuna", "numpy", "polars")
NAMES = 100  # of files of the data set that nodes look for
PATIENCE = 60.0  # seconds within which a node says what it has
INSTALLING = 1200.0  # and one that installs what the project needs before
named_mark = partial(tempfile.NamedTemporaryFile, prefix=".cluster-check-")
LEAST_FREE = 1.0  # GiB for the cache
GIB = 2.0**30


@dataclass(frozen=True)
class Seen:
    """What a process on a node found."""

    versions: Mapping[str, str]
    sees: Mapping[str, bool]
    """Folders of the driver's, by option."""
    free: float
    """GiB of disk under the cache."""
    lacks_gpu_build: bool = False
    """Trials ask for GPUs, and torch is built for none."""


def cluster_check(
    options: ClusterOptions, workers: Mapping[str, int], folders: Mapping[str, str]
) -> tuple[list[str], list[str]]:
    """A table of the nodes, a line each, and what will not work of a run with these options, a line each.

    ``workers``: those of a trial, by the option that asks for them. ``folders``: ``cache``, ``results`` and, of a data
    set that is read from disk, ``data.root``. InputError as ``joined``.
    """
    with joined(options), ExitStack() as stack:
        marks = {name: _mark(name, Path(folder), stack) for name, folder in folders.items()}
        nodes = {
            f"{node['NodeManagerHostname']} {node['NodeID'][:6]}": (node["NodeID"], node["Resources"])
            for node in ray.nodes()
            if node["Alive"]
        }
        patience = INSTALLING if getattr(options, "install", False) else PATIENCE
        arguments = (marks, folders["cache"], bool(options.gpus_per_trial))
        found = _looked({name: number for name, (number, _) in nodes.items()}, arguments, patience)
        here = look(*arguments)
    has = {name: resources for name, (_, resources) in nodes.items()}
    return _table(options, has, found), list(problems(options, workers, folders, has, found, here))


def _mark(name: str, folder: Path, stack: ExitStack) -> tuple[str, list[str]]:
    """A folder, and names that are in it: of the data set, or of a file that is removed with ``stack``."""
    if name == "data.root":
        return str(folder), sorted(path.name for path in folder.iterdir())[:NAMES] if folder.is_dir() else []
    there = next((parent for parent in (folder, *folder.parents) if parent.is_dir()), folder)
    try:
        mark = stack.enter_context(named_mark(dir=there))
    except OSError as error:
        raise InputError(f"{name}={folder} cannot be written to ({error.strerror}); give another folder") from None
    return str(there), [Path(mark.name).name]


def look(marks: Mapping[str, tuple[str, Sequence[str]]], cache: str, gpus: bool) -> Seen:
    """What this process finds."""
    there = next((parent for parent in (Path(cache), *Path(cache).parents) if parent.is_dir()), Path("/"))
    return Seen(
        {"Python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        {
            option: Path(folder).is_dir() and all((Path(folder) / name).exists() for name in names)
            for option, (folder, names) in marks.items()
        },
        shutil.disk_usage(there).free / GIB,
        gpus and not built_for_gpus(),
    )


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def _plain(version: str) -> str:
    """Without the mark of a build, such as ``+cpu``."""
    return version.partition("+")[0]


def _looked(nodes: Mapping[str, str], arguments: Sequence[Any], patience: float) -> dict[str, Seen | str]:
    """What a process on each node found, or why there was none."""
    remote = ray.remote(num_cpus=0, max_retries=0)(look)
    asked = {
        name: remote.options(scheduling_strategy=NodeAffinitySchedulingStrategy(number, soft=False)).remote(*arguments)
        for name, number in nodes.items()
    }
    ready, _ = ray.wait(list(asked.values()), num_returns=len(asked), timeout=patience)
    found: dict[str, Seen | str] = {}
    for name, reference in asked.items():
        try:
            found[name] = ray.get(reference) if reference in ready else f"no answer within {patience:g} s"
        except ray.exceptions.RayError as error:
            found[name] = " ".join(str(error).split())[:300]
    return found


def _table(options: ClusterOptions, nodes: Mapping[str, Node], found: Mapping[str, Seen | str]) -> list[str]:
    folders = next((list(seen.sees) for seen in found.values() if isinstance(seen, Seen)), [])
    rows = [["node", "trials", "cores", "GPUs", "memory", "free disk", "Python", *PACKAGES, *folders]]
    for name, node in nodes.items():
        seen = found[name]
        row = [name, str(at_once(trial_resources(options), [node]))]
        row += [f"{node.get(kind, 0):g}" for kind in ("CPU", "GPU")] + [f"{node.get('memory', 0) / GIB:.0f} GiB"]
        if isinstance(seen, Seen):
            sees = ["yes" if seen.sees[folder] else "NO" for folder in folders]
            row += [f"{seen.free:.0f} GiB", *seen.versions.values(), *sees]
        rows.append(row + ["?"] * (len(rows[0]) - len(row)))
    return aligned(rows)


def problems(
    options: ClusterOptions,
    workers: Mapping[str, int],
    folders: Mapping[str, str],
    nodes: Mapping[str, Node],
    found: Mapping[str, Seen | str],
    here: Seen,
) -> Iterator[str]:
    """What will not work, a line each. Nodes need not see the driver's folders: they ask it for what they lack."""
    try:
        check_room(options, workers, list(nodes.values()))
    except InputError as error:
        yield str(error)
    yield from (f"{name} runs nothing: {seen}" for name, seen in found.items() if isinstance(seen, str))
    answered = {name: seen for name, seen in found.items() if isinstance(seen, Seen)}
    for package, version in here.versions.items():
        others = {name: seen.versions[package] for name, seen in answered.items()}
        if said := ", ".join(
            f"{other} on {name}" for name, other in others.items() if _plain(other) != _plain(version)
        ):
            yield f"{package} is {version} here, {said}; install the same, or give cluster.install=true"
    used = {name: seen for name, seen in answered.items() if at_once(trial_resources(options), [nodes[name]])}
    for name, seen in used.items():
        if seen.lacks_gpu_build:
            yield f"torch {seen.versions['torch']} on {name} is built for no GPU; install the build for its GPUs"
        if seen.free < LEAST_FREE:
            yield f"cache={folders['cache']} has {seen.free:.2f} GiB left on {name}; give another disk, or make room"
