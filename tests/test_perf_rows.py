"""The run of a million rows, small: it has a run's own format, and its tables are those that pandas gives."""

import json
from pathlib import Path

import polars as pl
import pytest

import analysis
from analysis.run import Run
from benchmark.perf import rows
from benchmark.results.schema import row_schema
from benchmark.trial.folds import folds_of, summary


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "run"
    rows.make(path, 3000)
    return path


def test_it_is_a_run_as_a_run_leaves_it(folder: Path) -> None:
    run = Run(folder)
    trials = pl.read_parquet(folder / "trials.parquet")
    assert dict(trials.schema) == row_schema(run.methods.values())
    assert (trials.height, trials["trial_id"].n_unique()) == (3000, 3000)
    for row in (
        trials.filter(pl.col("method") == "kd_logits", pl.col("stage") == "search").head(20).iter_rows(named=True)
    ):
        curves = [fold["curve"] for fold in folds_of(row).values()]
        assert (len(curves), len(curves[0])) == (row["inner_folds"], row["epochs"])
        assert summary(curves, 1)["val_balanced_agreement"] > 0
        assert json.loads(row["config"])["learning_rate"] == row["learning_rate"]
    names = {path.stem for path in analysis.write(folder)}
    assert names >= {"accuracy", "accuracy_folds", "budget", "failures", "parameters", "report", "accuracy_parameters"}


def test_pandas_gives_the_same_tables_and_another_value_is_found(folder: Path) -> None:
    pytest.importorskip("pandas", reason="pandas is no dependency; the tests' others bring it")
    ours, theirs = (json.loads(json.dumps(rows.WAYS[way](folder))) for way in ("polars", "pandas"))
    assert {name: len(table) for name, table in ours.items()} == {name: len(table) for name, table in theirs.items()}
    assert rows.differing(ours, theirs) == []
    theirs["budget"][0]["train_seconds"] *= 1.001
    theirs["failures"].pop()
    assert rows.differing(ours, theirs) == ["budget", "failures"]


def test_it_says_what_was_kept(folder: Path) -> None:
    one = {"seconds": 12.0, "cpu": 11.0, "bytes": 2**30, "found": {"budget": [{"trials": 1}]}}
    first, tables, mine, missing = rows.report(1000, {"all": one, "polars": {**one, "seconds": 0.5}})
    assert "report in 12.0 s (at most 10: MISSED), 11.0 s of all cores, peak memory 1.0 GiB (at most 2: met)" in first
    assert (tables, mine.strip()) == ("budget:", "this project: 0.5 s, 2,000 rows/s, 1.0 GiB")
    assert "pandas is not installed" in missing
