"""The command line's words -> one typed configuration. Hydra composes it; this says what is wrong in one line."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from benchmark.common.suggest import choose
from benchmark.config.cluster import CLUSTERS
from benchmark.config.options import MethodOptions, Options, defaults, parse
from benchmark.config.schema import Config, DataOptions, EncoderOptions
from benchmark.errors import InputError

GROUPS = ("data", "encoder", "cluster")
MODULE = "benchmark.config.conf"
SECTIONS = ("data", "old", "new", "cluster", "method_options")
"""What is composed of groups, and not of the schema's own defaults."""


@dataclass(frozen=True)
class Catalogue:
    """What there is to choose from: rooms above this one know it."""

    data: Mapping[str, type[DataOptions]]
    methods: Mapping[str, type[MethodOptions]]
    """Options of every method, also of those that have none."""
    searchable: tuple[str, ...]
    published: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    """Published options by method and experiment."""

    @property
    def named(self) -> dict[str, Mapping[str, type[Options]]]:
        """Groups whose options depend on what is chosen of them."""
        return {"data": self.data, "cluster": CLUSTERS}

    @property
    def sections(self) -> list[str]:
        """Methods that have options: sections of the configuration."""
        return [name for name, options in self.methods.items() if options.model_fields]


def choices(group: str) -> list[str]:
    """The files of a group of ``conf``."""
    folder = resources.files(MODULE).joinpath(group)
    return sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load(words: Sequence[str], catalogue: Catalogue) -> Config:
    """The configuration of ``experiment=<name> key=value ...``.

    Raises
    ------
    InputError
        For a word that cannot be read, a name or option that is not known, and a value that an option does not take.
    """
    experiment, groups, values = _sorted(_parsed(words), catalogue)
    _register(catalogue)
    first = [f"+method@{name}={name}" for name in catalogue.sections] + [f"+experiment={experiment}"]
    # Data that is given in place of an experiment's own may change the experiment's scale: conf/scale/<data>.yaml.
    given = [str(override.value()) for override in groups if override.key_or_group == "data"]
    scale = [name for name in given[-1:] if name in choices("scale") and name != _composed(first)["data"]["name"]]
    first += [line for override in groups if (line := override.input_line)]
    first += [f"+scale={name}" for name in scale]
    if any(override.key_or_group == "search.space" and override.value() == "paper" for override in values):
        # What was published comes before what the experiment or its scale says, and only the user's word after it.
        first += ["search.trials=1", "protocol=val", *_published(experiment, catalogue)]
    base = _composed(first)
    data = base["data"]["name"]
    if foreign := sorted(set(base["data"]) - set(catalogue.data[data].model_fields)):
        raise InputError(
            f"experiment={experiment} sets data.{foreign[0]}, which data={data} does not have; give an experiment that "
            f"is made for it: python -m benchmark --help lists them"
        )
    _check_keys(base, values, catalogue)
    config = _typed(_composed(first + [line for override in values if (line := override.input_line)]), catalogue)
    config = _with_gpus(config)
    check_methods(config, catalogue)
    return config


def _with_gpus(config: Config) -> Config:
    """What a trial asks for depends on the device that it runs on: Ray hides GPUs from who asked for none."""
    gpus = config.cluster.gpus_per_trial
    if config.device == "cuda" and gpus == 0:
        raise InputError("device=cuda needs a GPU a trial, or a part of one; leave cluster.gpus_per_trial=0 out")
    gpus = float(config.device == "cuda") if gpus is None else gpus
    return config.model_copy(update={"cluster": config.cluster.model_copy(update={"gpus_per_trial": gpus})})


def check_methods(config: Config, catalogue: Catalogue) -> None:
    """InputError for a method that is not known or has no search space, and for options that contradict each other."""
    for name in config.methods:
        if name not in catalogue.searchable:
            raise InputError(f"methods: {name!r} has no search space; {choose(name, catalogue.searchable)}")
    for name in config.references:
        if name not in catalogue.methods:
            raise InputError(f"references: unknown method {name!r}; {choose(name, catalogue.methods)}")
        if name in catalogue.searchable:
            raise InputError(f"references: {name!r} is searched; give it as one of methods")
    for name in config.methods:
        config.method_options[name].check(config, None)
    if config.search.sampler == "cmaes" and len(config.search.objectives) > 1:
        raise InputError(
            "search.sampler=cmaes goes by one objective; give search.objectives=[agreement], or another sampler"
        )


def _parsed(words: Sequence[str]) -> list[Override]:
    parsed = []
    for word in words:
        override = _override(word)
        if override is None or override.is_delete() or override.is_add() or override.is_sweep_override():
            raise InputError(
                f"cannot read {word!r}; write experiment=<name> or key=value, for example search.trials=20, and a "
                "value with signs that mean something to Hydra in quotes of its own: \"key='a (b)'\""
            )
        parsed.append(override)
    return parsed


def _override(word: str) -> Override | None:
    """A word as Hydra reads it; None for one that it does not. Letters that its grammar lacks are letters here."""
    if not word.isprintable():
        return None
    key, is_one, value = word.partition("=")
    for form in (word, *([f"{key}='{value}'"] if is_one and not value.isascii() and "'" not in value else [])):
        with suppress(HydraException, RecursionError, ValueError):  # of brackets and digits without end
            return OverridesParser.create().parse_override(form)
    return None


def _sorted(overrides: Sequence[Override], catalogue: Catalogue) -> tuple[str, list[Override], list[Override]]:
    """The experiment, choices of groups, and values."""
    experiment = "quickstart"
    groups: list[Override] = []
    values: list[Override] = []
    for override in overrides:
        name, package = override.key_or_group, override.package
        if package not in (("old", "new") if name == "encoder" else (None,)):
            accepted = "encoder@old=<name> or encoder@new=<name>" if name == "encoder" else f"{name}=..., without @"
            raise InputError(f"{override.input_line} cannot be used; give {accepted}")
        if override.key_or_group == "experiment":
            experiment = str(override.value())
        else:
            (groups if override.key_or_group in GROUPS else values).append(override)
    if experiment not in choices("experiment"):
        raise InputError(f"unknown experiment={experiment}; {choose(experiment, choices('experiment'))}")
    for override in groups:
        named = catalogue.named.get(override.key_or_group)
        known = sorted(named) if named else choices(override.key_or_group)
        if override.value() not in known:
            raise InputError(f"unknown {override.input_line}; {choose(str(override.value()), known)}")
    return experiment, groups, values


def _register(catalogue: Catalogue) -> None:
    """Give Hydra the defaults that the schema declares."""
    store = ConfigStore.instance()
    base = {name: value for name, value in defaults(Config).items() if name not in SECTIONS}
    encoder = {name: value for name, value in defaults(EncoderOptions).items() if value}
    store.store(name="schema", node={**base, "old": encoder, "new": encoder})
    for group, named in catalogue.named.items():
        for name, model in named.items():
            store.store(group=group, name=name, node=defaults(model))
    for method in catalogue.sections:
        store.store(group="method", name=method, node=defaults(catalogue.methods[method]))


def _published(experiment: str, catalogue: Catalogue) -> Iterator[str]:
    """Overrides that make a search space one point: the published one. A method without any keeps its own space."""
    for method, points in catalogue.published.items():
        if points and experiment not in points:
            raise InputError(
                f"search.space=paper, but the paper has no {experiment}; choose one of {', '.join(points)} or "
                "search.space=default"
            )
        yield from (f"{method}.{key}={value}" for key, value in points.get(experiment, {}).items())


def _composed(overrides: list[str]) -> dict[str, Any]:
    GlobalHydra.instance().clear()
    try:
        with initialize_config_module(MODULE, version_base=None):
            container = OmegaConf.to_container(compose("config", overrides=overrides), resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(f"{error}; see python -m benchmark --help") from None
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def _typed(values: dict[str, Any], catalogue: Catalogue) -> Config:
    if values["methods"] == "all":
        values["methods"] = list(catalogue.searchable)
    given = {name: values.pop(name) for name in catalogue.sections}
    methods = {name: parse(options, given.get(name, {}), f"{name}.") for name, options in catalogue.methods.items()}
    chosen = {
        group: parse(named[values[group]["name"]], values[group], f"{group}.")
        for group, named in catalogue.named.items()
    }
    return parse(Config, {**values, **chosen, "method_options": methods})


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key with its dotted name, inner nodes too."""
    for key, value in config.items():
        name = f"{prefix}{key}"
        yield name, value
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}.")


def _check_keys(config: Mapping[str, Any], overrides: Sequence[Override], catalogue: Catalogue) -> None:
    known = dict(_flat(config))
    for override in overrides:
        key = override.key_or_group
        parent, _, last = key.rpartition(".")
        named = catalogue.named.get(parent, {})
        if named and last == "name":
            raise InputError(f"{override.input_line} cannot be used; give {parent}=<name>: {', '.join(sorted(named))}")
        if key not in known:
            if others := sorted(name for name, options in named.items() if last in options.model_fields):
                raise InputError(
                    f"{key} is an option of {' and '.join(f'{parent}={name}' for name in others)}, and this is "
                    f"{parent}={config[parent]['name']}; give the one that it belongs to, or leave {key} out"
                )
            leaves = [name for name, value in known.items() if not isinstance(value, Mapping)]
            siblings = [name for name in leaves if parent and name.startswith(f"{parent}.")]
            raise InputError(f"unknown option {key}; {choose(key, siblings) if siblings else _close(key, leaves)}")
        if isinstance(known[key], Mapping):
            inner = ", ".join(f"{key}.{name}" for name in known[key])
            raise InputError(f"{override.input_line} cannot be used: {key} holds {inner}; give one of these")


def _close(key: str, leaves: Sequence[str]) -> str:
    last = key.rpartition(".")[2]
    same_end = [name for name in leaves if name.rpartition(".")[2] == last]
    if same_end:
        return f"did you mean {' or '.join(same_end[:3])}?"
    words = choose(key, leaves)
    return words if words.startswith("did you") else "python -m benchmark --help prints all options"
