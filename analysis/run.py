"""A run's folder, read back: finished, or as far as it got."""

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
from omegaconf import OmegaConf

from benchmark.errors import InputError
from benchmark.results.folder import PLAN, TRIALS, compact_if_newer, read_classes, read_methods, read_student
from benchmark.results.reading import opened
from benchmark.results.schema import PREDICTIONS, Column, Kind, MethodCard, Schema, row_schema, types_of

CHANCE = MethodCard("chance", "Chance", "floor")
"""Guessing among the classes: tables add it, no run has to measure it."""
KINDS: tuple[Kind, ...] = ("floor", "transfer", "ceiling")
"""In the order of every table: what a method should beat, what is compared, what labels would have given."""


STAGES = ("search", "final")
UNWELL = ("failed", "diverged")
"""What a trial's status says that has no numbers to show."""
NEEDED = ("method", "stage", "trial_id", "status", "seed", "fold")
"""Columns without which nothing can be said of a trial."""
LARGE = ("error", "folds", "extraction", "versions", "config")
"""Texts of a row: most of a file, and read where they are asked for."""


class Run:
    """What ``<folder>`` = {config.yaml, plan.json, rows.jsonl} holds, and the Parquet files made of it.

    A run that was interrupted or still goes on is a run: whatever rows there are can be read, and a log that has
    grown is compacted first. ``predictions.parquet`` may be absent only as long as no final trial is done.

    Attributes:
        path: the folder.
        config: the resolved configuration.
        methods: what the run's methods declare of themselves, by name, in the order of its plan.
        classes, n_classes: names of the task's classes, and how many there are.
        rows: one row per trial, columns as in ``benchmark.results.schema.row_schema(methods)``, not read yet.
        trials: the same without ``LARGE``.
        predictions: one row per window and final trial, columns as in ``benchmark.results.schema.PREDICTIONS``.

    Raises:
        InputError: a file is missing or damaged that cannot be made again from the log, holds more than one direction
            or protocol, or has rows of a method that ``plan.json`` does not declare.
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)
        if not self.path.is_dir():
            found = "a file" if self.path.exists() else "nothing there"
            raise InputError(f"results folder {self.path}: found {found}; give the folder that a run wrote")
        self.config = _read_config(self.path / "config.yaml")
        self.methods = read_methods(self.path)
        self.classes, self.student_parameters = read_classes(self.path), read_student(self.path)
        self.n_classes = len(self.classes)
        schema = self._row_schema()
        compact_if_newer(self.path)
        self.rows, self.trials = opened(self.path, TRIALS, schema, NEEDED, LARGE)
        undeclared = sorted(set(self.trials["method"].drop_nulls()) - set(self.methods))
        if undeclared:
            raise InputError(
                f"{self.path / TRIALS} has rows of {', '.join(undeclared)}, which {PLAN} does not declare; restore the "
                f"{PLAN} that the run wrote"
            )
        self._final = self.read(self.rows.filter(pl.col("stage") == "final"))
        for column, what in (("direction", "directions"), ("protocol", "protocols"), ("dataset", "data sets")):
            values = self.trials[column].drop_nulls().unique().sort().to_list()
            if len(values) > 1:
                raise InputError(
                    f"{self.path / TRIALS} mixes {len(values)} {what} ({', '.join(values)}), which cannot "
                    "share a table; keep one in each results folder"
                )
        predictions = self.path / "predictions.parquet"
        if predictions.exists() or self.final.height:
            _, self.predictions = opened(self.path, predictions.name, PREDICTIONS)
        else:
            self.predictions = pl.DataFrame(schema=dict(PREDICTIONS))
        columns = ("label", "prediction", "teacher_prediction")
        present = pl.concat([self.predictions[name] for name in columns]).drop_nulls().unique().sort().to_list()
        if present and not 0 <= present[0] <= present[-1] < self.n_classes:
            raise InputError(
                f"{predictions}: found classes {present[0]} to {present[-1]}, accepted are 0 to {self.n_classes - 1}; "
                "run the benchmark again"
            )

    def _row_schema(self) -> Schema:
        try:
            return row_schema(self.methods.values())
        except (TypeError, KeyError) as error:
            raise InputError(
                f"{self.path / PLAN}: columns of the methods do not fit together ({error}); restore the file"
            ) from None

    @property
    def name(self) -> str:
        return self.path.resolve().name

    # What the methods declare.

    @cached_property
    def cards(self) -> list[MethodCard]:
        """Chance and the run's methods in the order of every table: by kind, then as planned."""
        every = {CHANCE.name: CHANCE, **self.methods}.values()
        return sorted(every, key=lambda card: KINDS.index(card.kind))

    def ordered(self, methods: Iterable[str]) -> list[str]:
        """Names of methods in the order of ``cards``, each once."""
        found = set(methods)
        return [card.name for card in self.cards if card.name in found]

    def of_kind(self, kind: Kind) -> list[str]:
        """Names of the methods of a kind, in the order of ``cards``."""
        return [card.name for card in self.cards if card.kind == kind]

    @cached_property
    def labels(self) -> dict[str, str]:
        """What a reader sees instead of a method's name, in the order of ``cards``."""
        return {card.name: card.label for card in self.cards}

    @cached_property
    def columns(self) -> list[Column]:
        """The methods' own columns of a row in the order of the plan; where two declare the same one, the first's."""
        found: dict[str, Column] = {}
        for card in self.methods.values():
            for column in card.columns:
                found.setdefault(column.name, column)
        return list(found.values())

    def table(self, name: str) -> pl.DataFrame | None:
        """``<name>.parquet``, what a method left behind besides its rows; None if it is not there, or nobody's."""
        path = self.path / f"{name}.parquet"
        declared = next((card.tables[name] for card in self.methods.values() if name in card.tables), None)
        return None if declared is None or not path.is_file() else opened(self.path, path.name, types_of(declared))[1]

    # What the rows say.

    @cached_property
    def final(self) -> pl.DataFrame:
        """Final trials that are done, with all columns: what tables of test numbers are made of.

        One for each method, seed and fold: where a continued search chose another configuration, the later one.
        """
        done = self._final.filter(pl.col("status") == "done")
        latest = done.sort("started_at", maintain_order=True).unique(
            ["method", "seed", "fold"], keep="last", maintain_order=True
        )
        return latest.sort("method", "fold", "seed")  # sums do not depend on which trial ended first

    @cached_property
    def final_counts(self) -> pl.DataFrame:
        """Final trials of each method: ``planned`` (begun, whatever became of them) and ``done``."""
        begun = self._final.unique(["method", "seed", "fold"])
        return (
            begun.group_by("method")
            .agg(pl.len().cast(pl.Int64).alias("planned"))
            .join(self.final.group_by("method").agg(pl.len().cast(pl.Int64).alias("done")), on="method", how="left")
            .with_columns(pl.col("done").fill_null(0))
        )

    def read(self, rows: pl.LazyFrame) -> pl.DataFrame:
        """What was asked of ``rows``. InputError where it cannot be read."""
        try:
            return rows.collect()
        except (OSError, pl.exceptions.PolarsError) as error:
            raise InputError(
                f"{self.path / TRIALS} cannot be read to its end ({error}); remove it, the run's log gives it again"
            ) from None

    def texts(self, trials: pl.Series, *names: str) -> pl.DataFrame:
        """``trial_id`` and columns of ``LARGE`` of these trials."""
        return self.read(self.rows.filter(pl.col("trial_id").is_in(trials.implode())).select("trial_id", *names))

    @cached_property
    def search(self) -> pl.DataFrame:
        """Trials of the search, whatever became of them."""
        return self.trials.filter(pl.col("stage") == "search")

    @cached_property
    def final_predictions(self) -> pl.DataFrame:
        """Predictions on the test split of the final trials that are done."""
        return self.predictions.filter(pl.col("stage") == "final").join(
            self.final.select("method", "trial_id"), on=["method", "trial_id"], how="semi", maintain_order="left"
        )

    @cached_property
    def seeds(self) -> list[int]:
        """Seeds of the final trials that are done."""
        return self.final["seed"].drop_nulls().unique().sort().to_list()

    @cached_property
    def folds(self) -> list[int]:
        """Folds of the final trials that are done; empty unless there are several."""
        folds = self.final["fold"].drop_nulls().unique().sort().to_list()
        return folds if len(folds) > 1 else []

    def setting(self, key: str) -> Any:
        """The configuration's value at a dotted key, None if it says nothing there."""
        value: Any = self.config
        for part in key.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        return value


def _read_config(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise InputError(f"{path} is missing; a results folder holds the run's resolved configuration under that name")
    try:
        config = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    except Exception as error:  # YAML's and OmegaConf's errors share no base class
        raise InputError(f"{path} is not readable YAML ({error}); restore the file that the run wrote") from None
    if not isinstance(config, dict):
        raise InputError(f"{path} holds a {type(config).__name__}, not a mapping; restore the file that the run wrote")
    return {str(key): value for key, value in config.items()}
