"""A new competitor is one file and one search space: it runs, and is in every row, table and curve, and nothing else of
the project knows of it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from tests.conftest import SMALL

ROOT = Path(__file__).parents[1]

METHOD = '''"""The nearest centroid of the teacher's pseudo-labels: closed-form, fitted when it is made."""

import torch

from benchmark.method import Method
from benchmark.results.schema import Column


class Centroids(Method):
    name = "centroids"
    label = "Nearest centroid"
    columns = (Column("centroid_block", "int", "block of the new model whose pooled output is used", "Block"),)

    def __init__(self, task, options, seed):
        self.task, self.block = task, options.block
        x, said = task.pooled("new", "pair", self.block), task.teacher_logits("pair").argmax(1)
        means = [x[said == k].mean(0) if (said == k).any() else x.mean(0) for k in range(task.n_classes)]
        self.centroids = torch.stack(means)
        self.trainable_parameters = self.stored_parameters = self.centroids.numel()

    def logits(self, split):
        return -torch.cdist(self.task.pooled("new", split, self.block), self.centroids)

    def describe(self):
        return {"centroid_block": self.block}
'''
SPACE = '''"""What is searched for the nearest centroid: the block."""

from benchmark.config.options import MethodOptions, option


class Options(MethodOptions):
    block: int | None = option(None, "block whose pooled output is used", ge=0)


PAPER = {}


def space(trial, blocks):
    trial.suggest_int("block", 0, blocks.new)
'''


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
    copy = tmp_path_factory.mktemp("copy")
    for name in ("benchmark", "baselines", "search_spaces", "analysis"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "baselines" / "centroids.py").write_text(METHOD)
    (copy / "baselines" / "brittle.py").write_text(BRITTLE)
    for name in ("centroids", "brittle"):
        (copy / "search_spaces" / f"{name}.py").write_text(SPACE)
    words = [
        *SMALL,
        "methods=[centroids,kd_logits,brittle]",
        "references=[teacher]",
        "search.trials=3",
        "final.seeds=[0]",
    ]
    words += ["data.split.kind=kfold", "data.split.folds=2", "search.folds=first", "kd_logits.epochs=1", "name=new"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmark", *words],
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
    assert len(list((board / "centroids").iterdir())) == 5
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
