"""The windows of a configuration, in whatever process of a run asks for them."""

from pathlib import Path

from benchmark.common import elsewhere
from benchmark.common.keys import digest
from benchmark.common.machine import use_threads
from benchmark.config.schema import Config
from benchmark.data import cache, registry
from benchmark.data.base import PairedWindows


def load_data(config: Config, progress: bool = False) -> PairedWindows:
    """The data set of a configuration, from its cache if it was read before, or as another process of the run has it.

    Whoever computes begins with it, so from here on this process has the threads that the configuration asks for.
    """
    use_threads(config.threads)
    if (shared := elsewhere.ask(_name(config))) is not None:
        return shared
    dataset = registry.build(config.data.name, config.data)
    return cache.load(dataset, config.old.modality, config.new.modality, Path(config.cache) / "data", progress)


def share_data(config: Config, data: PairedWindows) -> None:
    """Nodes without the recordings ask this process for their windows."""
    elsewhere.offer(_name(config), data)


def _name(config: Config) -> str:
    what = {"data": config.data.model_dump(), "modalities": [config.old.modality, config.new.modality]}
    return digest({**what, "cache": config.cache})
