"""A run's folder, read back: finished, or as far as it got."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
from omegaconf import OmegaConf

from benchmark.errors import InputError
from benchmark.results.schema import PREDICTIONS, SCHEMA, read_parquet

Schema = Mapping[str, Any]


class Run:
    """What ``<folder>`` = {config.yaml, trials.parquet, predictions.parquet} holds.

    A run that was interrupted is a run: whatever rows there are can be read. ``predictions.parquet`` may be
    absent only as long as no final trial is done.

    Attributes:
        path: the folder.
        config: the resolved configuration.
        trials: one row per trial, columns as in ``benchmark.results.SCHEMA``.
        predictions: one row per window and final trial, columns as in ``benchmark.results.PREDICTIONS``.

    Raises:
        InputError: a file is missing or damaged, lacks a column, or holds more than one direction or protocol.
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)
        if not self.path.is_dir():
            found = "a file" if self.path.exists() else "nothing there"
            raise InputError(f"results folder {self.path}: found {found}; give the folder that a run wrote")
        self.config = _read_config(self.path / "config.yaml")
        self.trials = _read_table(self.path / "trials.parquet", SCHEMA)
        for column, what in (("direction", "directions"), ("protocol", "protocols"), ("dataset", "data sets")):
            values = self.trials[column].drop_nulls().unique().sort().to_list()
            if len(values) > 1:
                raise InputError(
                    f"{self.path / 'trials.parquet'} mixes {len(values)} {what} ({', '.join(values)}), which cannot "
                    "share a table; keep one in each results folder"
                )
        predictions = self.path / "predictions.parquet"
        if predictions.exists() or self.final.height:
            self.predictions = _read_table(predictions, PREDICTIONS)
        else:
            self.predictions = pl.DataFrame(schema=dict(PREDICTIONS))
        present, classes = self._classes_present(), self.n_classes
        if present and classes and not 0 <= present[0] <= present[-1] < classes:
            raise InputError(
                f"{predictions}: found classes {present[0]} to {present[-1]}, accepted are 0 to {classes - 1}; "
                "run the benchmark again"
            )

    @property
    def name(self) -> str:
        return self.path.resolve().name

    @cached_property
    def final(self) -> pl.DataFrame:
        """Final trials that are done: what tables of test numbers are made of.

        One for each method, seed and fold: where a continued search chose another configuration, the later one.
        """
        done = self.trials.filter(pl.col("stage") == "final", pl.col("status") == "done")
        latest = done.sort("started_at", maintain_order=True).unique(
            ["method", "seed", "fold"], keep="last", maintain_order=True
        )
        return latest.sort("method", "fold", "seed")  # sums do not depend on which trial ended first

    @cached_property
    def final_counts(self) -> pl.DataFrame:
        """Final trials of each method: ``planned`` (begun, whatever became of them) and ``done``."""
        begun = self.trials.filter(pl.col("stage") == "final").unique(["method", "seed", "fold"])
        return (
            begun.group_by("method")
            .agg(pl.len().cast(pl.Int64).alias("planned"))
            .join(self.final.group_by("method").agg(pl.len().cast(pl.Int64).alias("done")), on="method", how="left")
            .with_columns(pl.col("done").fill_null(0))
        )

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

    @cached_property
    def n_classes(self) -> int | None:
        """Classes of the task: as configured, or by the highest class index on the test split; None if unknown."""
        configured = self.setting("data.classes")
        if isinstance(configured, list):
            return len(configured)
        present = self._classes_present()
        return max(present[-1], 0) + 1 if present else None

    def _classes_present(self) -> list[int]:
        columns = ("label", "prediction", "teacher_prediction")
        return pl.concat([self.predictions[name] for name in columns]).drop_nulls().unique().sort().to_list()

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


def _read_table(path: Path, schema: Schema) -> pl.DataFrame:
    if not path.is_file():
        raise InputError(f"{path} is missing; run the benchmark into this folder, or finish the run that began it")
    table = read_parquet(path, schema)
    # A column that was null throughout may come back under another type.
    for column, wanted in pl.Schema(schema).items():
        try:
            table = table.with_columns(pl.col(column).cast(wanted))
        except pl.exceptions.PolarsError:
            raise InputError(
                f"{path}: column {column} holds {table.schema[column]}, accepted is {wanted}; run the benchmark again"
            ) from None
    return table.with_columns(pl.col(pl.Float64).fill_nan(None))
