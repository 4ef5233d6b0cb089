"""The command line's words -> one checked configuration. Hydra composes it; this says what is wrong in one line."""

from collections.abc import Iterator, Mapping, Sequence
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

from benchmark import competitors
from benchmark.config import options
from benchmark.errors import InputError
from benchmark.config.options import Blocks, one_of, or_null, positive, whole
from benchmark.common.suggest import choose

GROUPS = ("data", "encoder", "pretraining", "cluster")

CHECKS: dict[str, options.Check] = {
    "seed": whole(0),
    "protocol": one_of("agreement", "val_labels"),
    "teacher.training": one_of("probe", "finetune"),
    "teacher.solver": one_of("lbfgs", "adam"),
    "teacher.learning_rate": positive,
    "teacher.epochs": whole(1),
    "teacher.batch_size": whole(1),
    "oracle.learning_rate": positive,
    "oracle.epochs": whole(1),
    "oracle.batch_size": whole(1),
    "search.space": one_of("default", "paper"),
    "search.trials": whole(1),
    "search.folds": one_of("first", "each"),
    "search.batch": whole(1),
    "search.scheduler": one_of("none", "asha", "median"),
    "search.reports": whole(1),
    "search.max_failures": whole(0),
    "features.batch_size": or_null(whole(1)),
    "features.dtype": one_of("float32", "bfloat16"),
    "cluster.cpus_per_trial": positive,
    "cluster.object_store_mb": whole(80),
    "resume": one_of(True, False),
    "overwrite": one_of(True, False),
}


def choices(group: str) -> list[str]:
    """The files of a group of ``conf``."""
    folder = resources.files("benchmark.config.conf").joinpath(group)
    return sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load(words: Sequence[str]) -> dict[str, Any]:
    """The resolved configuration of ``experiment=<name> key=value ...``; InputError for anything it does not know."""
    overrides = _parse(words)
    experiment = "quickstart"
    groups, values = [], []
    for override in overrides:
        if override.key_or_group == "experiment":
            experiment = str(override.value())
        elif override.key_or_group in GROUPS:
            groups.append(override)
        else:
            values.append(override)
    if experiment not in choices("experiment"):
        raise InputError(f"unknown experiment={experiment}; {choose(experiment, choices('experiment'))}")
    for override in groups:
        if override.value() not in choices(override.key_or_group):
            known = choices(override.key_or_group)
            raise InputError(f"unknown {override.input_line}; {choose(str(override.value()), known)}")
    paper = any(o.key_or_group == "search.space" and o.value() == "paper" for o in values)
    store = ConfigStore.instance()
    for name in competitors.searchable():
        defaults = {key: option.default for key, option in competitors.options(name).items()}
        store.store(group="method", name=name, node=defaults)
    first = [f"+method@{name}={name}" for name in competitors.searchable()] + [f"+experiment={experiment}"]
    # Data that is given in place of an experiment's own may change the experiment's scale: conf/scale/<data>.yaml.
    given = [str(override.value()) for override in groups if override.key_or_group == "data"]
    data = [name for name in given[-1:] if name in choices("scale") and name != _compose(first)["data"]["name"]]
    first += [line for override in groups if (line := override.input_line)]
    first += [f"+scale={name}" for name in data]
    if paper:  # what was published comes before what the experiment or its scale says, and only the user's word after
        points = {name: _point(name, experiment) for name in competitors.searchable()}
        first += ["search.trials=1"]
        first += [f"{name}.{key}={value}" for name, point in points.items() for key, value in point.items()]
    _check_keys(_compose(first), values)
    config = _compose(first + [line for override in values if (line := override.input_line)])
    _check_values(config)
    return config


def _point(method: str, experiment: str) -> dict[str, Any]:
    """The published options of a method in an experiment: a search space of one point. InputError if the bridge has
    none; a method that the paper did not tune keeps its own space."""
    published = competitors.search_space(method).PAPER
    if method == "bridge" and experiment not in published:
        raise InputError(
            f"search.space=paper, but the paper has no {experiment}; choose one of {', '.join(published)} or "
            "search.space=default"
        )
    return dict(published.get(experiment, {}))


def _parse(words: Sequence[str]) -> list[Override]:
    parsed = []
    for word in words:
        try:
            override = OverridesParser.create().parse_override(word)
        except HydraException:
            override = None
        if override is None or override.is_delete() or override.is_add() or override.is_sweep_override():
            raise InputError(
                f"cannot read {word!r}; write experiment=<name> or key=value, for example search.trials=20"
            )
        parsed.append(override)
    return parsed


def _compose(overrides: list[str]) -> dict[str, Any]:
    GlobalHydra.instance().clear()
    try:
        with initialize_config_module("benchmark.config.conf", version_base=None):
            container = OmegaConf.to_container(compose("config", overrides=overrides), resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(f"{error}; see python -m benchmark --help") from None
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key with its dotted name, inner nodes too."""
    for key, value in config.items():
        name = f"{prefix}{key}"
        yield name, value
        if isinstance(value, Mapping):
            yield from flatten(value, f"{name}.")


def _check_keys(config: Mapping[str, Any], overrides: Sequence[Override]) -> None:
    known = dict(flatten(config))
    for override in overrides:
        key = override.key_or_group
        if key not in known:
            parent = key.rpartition(".")[0]
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


def _check_values(config: Mapping[str, Any]) -> None:
    known = dict(flatten(config))
    for name, check in CHECKS.items():
        accepted = check(known[name], None)
        if accepted:
            raise InputError(f"{name}={known[name]} cannot be used; give {accepted}")
    for name in ("methods", "references"):
        listed = config[name]
        if not isinstance(listed, list) or (name == "methods" and not listed):
            raise InputError(f"{name}={listed} cannot be used; give a list such as [bridge,kd_logits]")
    for name in config["methods"]:
        if name not in competitors.searchable():
            raise InputError(f"methods: {name!r} has no search space; {choose(str(name), competitors.searchable())}")
    for name in config["references"]:
        competitors.check_name(str(name))
    seeds = config["final"]["seeds"]
    if not isinstance(seeds, list) or not seeds or any(whole(0)(seed, None) for seed in seeds):
        raise InputError(f"final.seeds={seeds} cannot be used; give a list of whole numbers such as [0,1,2]")
    name = config["name"]
    if not isinstance(name, str) or not name or name.startswith(".") or "/" in name:
        raise InputError(f"name={name} cannot be used; give a folder name without slashes")
    check_methods(config)


def check_methods(config: Mapping[str, Any], blocks: Blocks | None = None) -> None:
    """Check the options of every method, alone and together; with ``blocks``, the positions too."""
    for name in competitors.searchable():
        options.check(name, competitors.options(name), config[name], blocks)
    for name in config["methods"]:
        contradiction = getattr(competitors.search_space(name), "contradiction", lambda *_: None)
        found = contradiction(config[name], config)
        if found:
            raise InputError(found)
