"""A new competitor is one file and one search space, as docs/my-method.md says: it runs, and is in every row, table and
curve, and nothing else of the project knows of it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from tests.conftest import LIGHT
from tests.test_pages import commands, copied, files

METHOD, SPACE = files("my-method").values()
BRITTLE = (
    METHOD.replace("centroids", "brittle")
    .replace("Nearest centroid", "Brittle")
    .replace(
        "        self.task, self.block",
        "        if options.block < 5:\n            raise ValueError('a low block')\n        self.task, self.block",
    )
)


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, in a copy of the project that has one more method."""
    copy = copied(tmp_path_factory.mktemp("copy"), "my-method")
    (copy / "baselines" / "brittle.py").write_text(BRITTLE)
    (copy / "search_spaces" / "brittle.py").write_text(SPACE)
    ((*command, methods, trials, name),) = commands("my-method")
    words = [word for word in LIGHT if "methods" not in word] + ["references=[teacher]", "final.seeds=[0]"]
    words += [methods.replace("]", ",brittle]"), trials, name, "data.split.kind=kfold", "data.split.folds=2"]
    words += ["search.folds=first", "kd_logits.epochs=1", "cluster.cpus=1"]
    done = subprocess.run(
        [sys.executable, *command, *words],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "Nearest centroid" in done.stdout
    assert re.search(r"^[12] of 17 trials failed: Brittle, search: ValueError: a low block$", done.stdout, re.MULTILINE)
    return copy / "results" / "new"


def test_its_column_is_in_the_rows(newcomer: Path):
    table = pl.read_parquet(newcomer / "trials.parquet")
    mine = table.filter(pl.col("method") == "centroids")
    assert mine["status"].to_list() == ["done"] * 5
    assert mine["centroid_block"].is_not_null().all()
    assert table.filter(pl.col("method") == "kd_logits")["centroid_block"].is_null().all()
    assert table.schema["centroid_block"] == pl.Int64
    assert "bridge_input" not in table.columns  # of a method that did not run


def test_it_is_in_every_table_by_its_label(newcomer: Path):
    tables = list((newcomer / "tables").glob("*.md"))
    assert {table.stem for table in tables} == {
        *("accuracy", "accuracy_folds", "budget", "comparisons", "confidence", "failures", "parameters", "subjects"),
        "transfer",
    }
    for table in tables:
        assert ("Nearest centroid" in table.read_text()) == (table.stem != "failures"), table
    header = next(
        line for line in (newcomer / "tables" / "parameters.md").read_text().splitlines() if "| Block |" in line
    )
    assert header.index("Stored parameters") < header.index("Block") < header.index("Training step")
    assert "centroid_block" in (newcomer / "tables" / "parameters.csv").read_text()


def test_a_trial_that_raises_is_a_row_like_the_others(newcomer: Path):
    table = pl.read_parquet(newcomer / "trials.parquet")
    failed = table.filter(pl.col("status") == "failed")
    assert failed["method"].unique().to_list() == ["brittle"]
    assert 0 < len(failed) < 3
    assert failed["error"].str.contains("ValueError: a low block").all()
    for column in ("dataset", "direction", "old_encoder", "new_encoder", "protocol", "versions"):
        assert failed[column].to_list() == [table[column][0]] * len(failed)
    assert "Failed trials: Brittle" in (newcomer / "tables" / "accuracy.md").read_text()


def test_its_column_is_in_tensorboard(newcomer: Path):
    board = newcomer / "tensorboard"
    assert len([trial for trial in (board / "centroids").iterdir() if trial.is_dir()]) == 5
    content = EventAccumulator(str(board)).Reload().summary_metadata["_hparams_/experiment"].plugin_data.content
    found = plugin_data_pb2.HParamsPluginData.FromString(content).experiment.hparam_infos
    assert {info.name for info in found} >= {"centroid_block", "block", "temperature"}


def test_its_options_are_in_the_help_and_checked(newcomer: Path):
    copy = newcomer.parents[1]
    words = ["methods=[centroids]", "centroids.block=-1"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmark", *words],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    said = "centroids.block=-1 cannot be used; give a whole number of at least 0, or null to search it"
    assert done.stderr == f"error: {said}\n"
