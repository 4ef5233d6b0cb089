"""A whole run through Ray Tune and Optuna, from the command line, as a user would start, stop and resume it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import torch
from omegaconf import OmegaConf

from benchmark.__main__ import main
from benchmark.common.store import Entry
from benchmark.results import folder as folders
from benchmark.results.tensorboard import METRICS
from tests.conftest import SMALL
from tests.recomputed import check
from tests.test_tensorboard import agree

WORDS = (
    *SMALL,
    "new.weights=local",
    "pretraining.steps=3",
    "search.trials=4",
    "search.batch=2",
    "final.seeds=[0,1]",
    "bridge.epochs=3",
    "kd_logits.epochs=2",
    "oracle_finetune.epochs=2",
)
OF_ONE_RUN = pl.selectors.contains("seconds", "extraction") | pl.selectors.by_name(
    "peak_memory_bytes", "started_at", "run"
)
"""Columns that differ between two runs of one configuration."""


def command(name: str, *words: str) -> list[str]:
    where = (f"name={name}", "results=results", "cache=cache")  # relative, as a user's are
    return [sys.executable, "-m", "benchmark", *WORDS, *where, *words]


def start(folder: Path, name: str, *words: str, threads: int = 1) -> subprocess.CompletedProcess[str]:
    """``threads``: what the environment says of their number."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    return subprocess.run(
        command(name, *words), capture_output=True, text=True, timeout=300, cwd=folder, env=environment
    )


@pytest.fixture
def at_once(runs, monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """As ``start`` in the folder of all runs, in this process, for what ends before Ray is started: exit code, output
    and errors."""
    monkeypatch.chdir(runs[0])

    def ended(name: str, *words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        return main(command(name, *words)[3:]), *capsys.readouterr()

    return ended


def rows(folder: Path, name: str) -> pl.DataFrame:
    run = folder / "results" / name
    return pl.read_parquet(run / "trials.parquet").sort("trial_id")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("runs")
    return folder, start(folder, "one")


def test_a_run_leaves_rows_predictions_tables_figures_and_tensorboard(runs):
    folder, done = runs
    assert done.returncode == 0, done.stderr
    run = folder / "results" / "one"
    assert folders.read_words(run) == command("one")[3:]
    assert (run / "report.html").is_file()
    # Tune would start each trial in a folder of its own, where a relative cache is empty.
    assert not list(Path("/tmp/ray/session_latest/artifacts").glob("**/cache/*")), "a trial computed its own features"
    table = rows(folder, "one")
    assert set(table["status"]) == {"done"}, table["error"].to_list()
    counts = dict(
        table.group_by("method", "stage")
        .len()
        .select(pl.concat_str("method", "stage", separator=" "), "len")
        .iter_rows()
    )
    assert counts == {
        "bridge search": 4,
        "kd_logits search": 4,
        "bridge final": 2,
        "kd_logits final": 2,
        "oracle_finetune final": 2,
        "oracle_probe final": 1,
        "teacher final": 1,
        "majority final": 1,
    }
    assert table.filter(pl.col("stage") == "search")["test_balanced_accuracy"].is_null().all()
    assert table.filter(pl.col("stage") == "final")["test_balanced_accuracy"].is_not_null().all()
    assert table["val_balanced_accuracy"].filter(table["method"].is_in(["bridge", "kd_logits"])).is_null().all()
    predictions = pl.read_parquet(run / "predictions.parquet")
    finals = table.filter(pl.col("stage") == "final")
    assert set(predictions["trial_id"]) == set(finals["trial_id"])
    assert predictions.group_by("trial_id").len()["len"].n_unique() == 1
    for name in ("parameters", "accuracy"):
        for ending in ("md", "csv", "tex"):
            assert (run / "tables" / f"{name}.{ending}").stat().st_size > 0
    assert {path.name.split("-")[0] for path in (run / "tensorboard").iterdir()} >= {"bridge", "kd_logits"}
    assert not (run / "ray").exists()  # where Tune worked
    assert OmegaConf.load(run / "config.yaml").search.trials == 4
    log = [json.loads(line) for line in (run / "rows.jsonl").read_text().splitlines()]
    trained = [entry["row"]["trial_id"] for entry in log[:-1]]
    assert sorted(set(trained)) == table["trial_id"].to_list()
    search = table.filter(pl.col("stage") == "search")
    assert len(trained) == search["inner_folds"].sum() + len(table) - len(search)  # a row after each fold
    assert "finished" in log[-1]
    plan = folders.read_plan(run)
    planned = {f"{study['name']}-{k:03d}" for study in plan["studies"] for k in range(study["trials"])}
    assert set(table["trial_id"]) == planned | set(plan["finals"])
    assert "Balanced" in done.stdout
    assert "tensorboard --logdir" in done.stdout


def test_every_number_of_its_tables_is_that_of_rows_and_predictions(runs):
    assert check(runs[0] / "results" / "one") > 200


def test_tensorboard_compares_what_the_table_holds(runs):
    table = rows(runs[0], "one")
    agree(runs[0] / "results" / "one" / "tensorboard", table)
    finals = table.filter(pl.col("method") == "bridge", pl.col("stage") == "final")
    assert not any(column.null_count() for column in finals.select(METRICS))


def test_search_tries_different_positions_ranks_and_prototypes(runs):
    searched = rows(runs[0], "one").filter((pl.col("stage") == "search") & (pl.col("method") == "bridge"))
    assert searched.select("bridge_input", "bridge_output", "rank", "prototypes").n_unique() == 4


def test_the_choice_is_the_smallest_within_one_standard_error_and_its_epoch_that_of_the_folds(runs):
    table = rows(runs[0], "one")
    for method in ("bridge", "kd_logits"):
        mine = table.filter(pl.col("method") == method)
        searched, chosen = mine.filter(pl.col("stage") == "search"), mine.filter(pl.col("stage") == "final")
        assert searched["inner_folds"].sort(descending=True).to_list() == [3, 2, 1, 1]  # of three subjects
        whole = searched.filter(pl.col("inner_folds") == 3)
        assert set(chosen["config"]) == set(whole["config"])
        assert set(chosen["epochs"]) == set(whole["best_epoch"])
        assert set(chosen["val_balanced_agreement"]) == set(whole["val_balanced_agreement"])


def kept(cache: Path) -> dict[Path, dict[str, torch.Tensor]]:
    """All arrays of a cache, by file."""
    files = cache.rglob("*.arrow")
    return {
        path.relative_to(cache): {name: torch.cat(chunks) for name, chunks in Entry(path).items()} for path in files
    }


def test_one_worker_with_two_threads_gives_the_rows_tables_and_cache_of_two_with_one(runs):
    folder, _ = runs
    done = start(folder, "two", "cluster.cpus=1", "cache=other", threads=2)
    assert done.returncode == 0, done.stderr
    assert rows(folder, "one").drop(OF_ONE_RUN).equals(rows(folder, "two").drop(OF_ONE_RUN))
    accuracy = [(folder / "results" / name / "tables" / "accuracy.csv").read_text() for name in ("one", "two")]
    assert accuracy[0] == accuracy[1]
    one, two = kept(folder / "cache"), kept(folder / "other")
    assert {path.parent.name for path in one} == {"data", "weights", "teachers", "features"}
    assert one.keys() == two.keys()
    for path, arrays in one.items():
        assert all(torch.equal(values, two[path][name]) for name, values in arrays.items()), path


def test_an_interrupted_run_is_finished_without_repeating_a_trial(runs, at_once):
    folder, _ = runs
    run = folder / "results" / "stopped"
    words = ("bridge.epochs=60", "search.trials=5", "cluster.cpus=1")
    log = folder / "stopped.log"
    with log.open("w") as said:
        process = subprocess.Popen(command("stopped", *words), stdout=subprocess.DEVNULL, stderr=said, cwd=folder)
    finished = run / "rows.jsonl"
    for _ in range(4000):
        if (finished.exists() and finished.stat().st_size) or process.poll() is not None:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=120) == 130, log.read_text()
    assert "resume=true" in log.read_text()
    kept = rows(folder, "stopped")
    assert 0 < len(kept) < 10

    code, _, errors = at_once("stopped", *words)
    assert code == 2
    assert "resume=true to finish it" in errors
    code, _, errors = at_once("stopped", "search.trials=5", "bridge.epochs=61", "resume=true")
    assert code == 2
    assert "bridge.epochs 60 -> 61" in errors

    resumed = start(folder, "stopped", *words, "resume=true")
    assert resumed.returncode == 0, resumed.stderr
    table = rows(folder, "stopped")
    assert len(table.filter(pl.col("stage") == "search")) == 10
    assert set(table["status"]) == {"done"}
    again = table.filter(pl.col("trial_id").is_in(kept["trial_id"].implode()))
    assert again["started_at"].to_list() == kept["started_at"].to_list()

    code, output, errors = at_once("stopped", *words, "resume=true")
    assert code == 0, errors
    assert "results/stopped is finished: there is nothing to go on with." in output
    assert "Accuracy on the test split" in output


def test_a_folder_of_another_configuration_is_refused(at_once):
    code, _, errors = at_once("one", "bridge.rank=8")
    assert code == 2
    assert "another configuration (bridge.rank None -> 8)" in errors
    assert errors.count("\n") == 1


def test_the_two_stage_rule_fixes_the_positions_and_keeps_what_it_saw(runs):
    """Here with trials that are trained two by two."""
    folder, _ = runs
    words = ("bridge.position=two_stage", "methods=[bridge]", "references=[]", "final.seeds=[0]", "cluster.cpus=1")
    done = start(folder, "two_stage", *words, "search.scheduler=median", "bridge.population=2")
    assert done.returncode == 0, done.stderr
    run = folder / "results" / "two_stage"
    seen = pl.read_parquet(run / "positions.parquet")
    chosen = seen.filter("chosen").row(0, named=True)
    assert chosen["quality"] == seen["quality"].max()
    similar = seen.filter(pl.col("bridge_input") == chosen["bridge_input"])["similarity"]
    assert chosen["similarity"] == similar.max()
    for column in ("bridge_input", "bridge_output"):
        assert set(rows(folder, "two_stage")[column]) == {chosen[column]}
    searched = rows(folder, "two_stage").filter(pl.col("stage") == "search")
    assert searched["trial_id"].to_list() == [f"bridge-fold0-{k:03d}" for k in range(4)]
    assert searched["config"].n_unique() == 4
    assert (run / "figures" / "positions.png").stat().st_size > 0


def test_what_a_worker_finds_wrong_is_one_line_for_the_user(tmp_path):
    done = start(tmp_path, "few", "data.split.train=1")
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert errors == [
        "error: teacher.solver=lbfgs chooses its penalty between training subjects, but these windows have one of "
        "subjects; give data.split more training subjects, or teacher.solver=adam"
    ]
    assert "Traceback" not in done.stderr
