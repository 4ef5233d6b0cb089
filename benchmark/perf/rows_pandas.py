"""Four tables of ``analysis`` as one would write them in pandas: what ``rows`` compares itself with."""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.tables.failures import reason
from benchmark.results.folder import TRIALS, read_methods, read_student

READ = (
    "method", "stage", "status", "fold", "seed", "trial_id", "started_at", "inner_folds", "training_windows",
    "train_seconds", "trainable_parameters", "declared_parameters", "stored_parameters", "step_seconds", "error",
    "inference_seconds_per_window", "extraction", "test_balanced_accuracy",
)  # fmt: skip


def tables(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Rows of each table, with the columns that ``analysis`` computes."""
    cards = read_methods(folder)
    own = list(dict.fromkeys(column.name for card in cards.values() for column in card.columns))
    trials = pd.read_parquet(folder / TRIALS, columns=[*READ, *own])
    final = trials[(trials.stage == "final") & (trials.status == "done")].sort_values("started_at", kind="stable")
    final = final.drop_duplicates(["method", "seed", "fold"], keep="last")
    made: Mapping[str, Callable[[], pd.DataFrame]] = {
        "budget": lambda: _budget(trials[trials.stage == "search"]),
        "failures": lambda: _failures(trials),
        "accuracy_folds": lambda: final.pivot_table("test_balanced_accuracy", "fold", "method").reset_index(),
        "parameters": lambda: _parameters(trials, final, own, {n for n, c in cards.items() if c.kind == "floor"}),
    }
    found = {name: table() for name, table in made.items()}
    transfer = found["parameters"].method.isin([name for name, card in cards.items() if card.kind == "transfer"])
    saved = 1 - found["parameters"].trainable_parameters / read_student(folder)
    found["parameters"]["reduction"] = saved.where(transfer)
    return {name: json.loads(table.to_json(orient="records", double_precision=15)) for name, table in found.items()}


def _budget(search: pd.DataFrame) -> pd.DataFrame:
    by = search.assign(trainings=search.inner_folds.fillna(1)).groupby("method")
    sums = by[["trainings", "training_windows", "train_seconds"]].sum()
    return by.size().rename("trials").to_frame().join(sums).reset_index()


def _failures(trials: pd.DataFrame) -> pd.DataFrame:
    unwell = trials[trials.status.isin(("failed", "diverged"))]
    by = unwell.groupby(["method", "stage", "status", "error"], dropna=False).size().rename("trials").reset_index()
    by["why"] = [reason(status, error) for status, error in zip(by.status, by.error, strict=True)]
    return by.groupby(["method", "stage", "status", "why"]).trials.sum().reset_index()


def _parameters(trials: pd.DataFrame, final: pd.DataFrame, own: list[str], floors: set[str]) -> pd.DataFrame:
    counts = trials.extraction.dropna().value_counts()
    arrays = {text: json.loads(text) for text in counts.index}
    readers: Counter[str] = Counter()
    for text, n in counts.items():
        readers.update(dict.fromkeys(arrays[text], n))
    shared = {text: sum(s / readers[name] for name, s in read.items()) for text, read in arrays.items()}
    trained = final[~(final.method.isin(floors) & (final.trainable_parameters.fillna(0) == 0))]
    keys = ["method", "trainable_parameters", "declared_parameters", "stored_parameters", *own]
    by = trained.assign(extraction_seconds=trained.extraction.map(shared)).groupby(keys, dropna=False)
    medians = by[["step_seconds", "extraction_seconds", "inference_seconds_per_window"]].median()
    return by.size().rename("done").to_frame().join(medians).reset_index()
