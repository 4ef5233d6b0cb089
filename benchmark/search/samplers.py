"""Who suggests the next configuration, by name, and what a study tries first."""

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, CmaEsSampler, GridSampler, NSGAIISampler, RandomSampler, TPESampler

from benchmark.config.schema import Config
from benchmark.errors import InputError
from benchmark.results import log

Space = Mapping[str, Sequence[Any]]
"""The values of every option, as ``recorded_space`` gives them."""


def sampler_of(name: str, seed: int, trials: int, space: Space, points: Sequence[Mapping[str, Any]]) -> BaseSampler:
    """The sampler of a study.

    Parameters
    ----------
    name : an option of ``search.sampler``.
    space : of the options that are searched.
    points : published ones; ``grid`` is made of their values, and of the space's own where none of them is in it.
    """
    startup = max(4, trials // 3)
    if name == "random":
        return RandomSampler(seed)
    if name == "grid":
        return GridSampler({option: _grid(option, values, points) for option, values in space.items()}, seed)
    if name == "nsga2":
        return NSGAIISampler(population_size=startup, seed=seed)
    if name == "cmaes":  # words are drawn at random: it moves through numbers alone
        warnings.filterwarnings("ignore", "Constraints have been set")  # it learns of them by poor values
        return CmaEsSampler(
            n_startup_trials=startup,
            seed=seed,
            independent_sampler=RandomSampler(seed),
            warn_independent_sampling=False,
        )
    together = name == "multivariate_tpe"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return TPESampler(n_startup_trials=startup, multivariate=together, group=together, seed=seed)


def first_points(config: Config, method: str, space: Space, published: Mapping[str, Mapping[str, Any]]) -> list[dict]:
    """What ``search.warm_start`` asks to be tried first: those of its points that the space has."""
    start = config.search.warm_start
    if start is None:
        return []
    points = [published[config.experiment]] if config.experiment in published else []
    if start != "paper":
        points = best_points(Path(start), method, most=max(1, config.search.trials // 4))
    searched = [{option: point[option] for option in space if option in point} for point in points]
    return [point for point in searched if point and all(has(space[option], value) for option, value in point.items())]


def best_points(folder: Path, method: str, most: int) -> list[Mapping[str, Any]]:
    """The options of a method that agreed best with the teacher in another run, best first; none that it never ran.
    InputError for a folder without a run's log."""
    if not (folder / log.NAME).is_file():
        raise InputError(f"search.warm_start={folder} holds no {log.NAME}; give paper, or the folder of another run")
    rows = [row for row in log.rows(folder / log.NAME) if (row["method"], row["stage"]) == (method, "search")]
    done = [row for row in rows if row["status"] == "done"]
    done.sort(
        key=lambda row: (
            -(row.get("inner_folds") or 1),
            -row["val_balanced_agreement"],
            row["val_divergence"],
            row["trial_id"],
        )
    )
    return [json.loads(row["config"]) for row in done[:most]]


def has(values: Sequence[Any], value: Any) -> bool:
    """Whether a value is one of an option's, between its two ends where they are floats."""
    if all(isinstance(end, float) for end in values):
        return isinstance(value, int | float) and min(values) <= value <= max(values)
    return value in values


def _grid(option: str, values: Sequence[Any], points: Sequence[Mapping[str, Any]]) -> list[Any]:
    found = sorted({point[option] for point in points if option in point and has(values, point[option])}, key=str)
    return found or list(values)
