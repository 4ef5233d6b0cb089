"""A whole run through Ray Tune and Optuna, from the command line, as a user would start, stop and resume it."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import polars as pl
import pytest
from omegaconf import OmegaConf

from benchmark.config import compose as config
from benchmark.results import schema as results
from benchmark.search import experiment as sweep
from benchmark.errors import InputError, RunError
from benchmark.config.options import Blocks
from benchmark.trial.trial import search_specs
from tests.conftest import SMALL

WORDS = (
    *SMALL,
    "search.trials=4",
    "search.batch=2",
    "final.seeds=[0,1]",
    "bridge.epochs=3",
    "kd_logits.epochs=2",
    "oracle.epochs=2",
)
TIMES = ("step_seconds", "train_seconds", "inference_seconds_per_window", "peak_memory_bytes", "started_at", "run")


def command(name: str, *words: str) -> list[str]:
    where = (f"name={name}", "results=results", "cache=cache")  # relative, as a user's are
    return [sys.executable, "-m", "benchmark", *WORDS, *where, *words]


def start(folder: Path, name: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(name, *words), capture_output=True, text=True, timeout=300, cwd=folder)


def rows(folder: Path, name: str) -> pl.DataFrame:
    return results.read_parquet(folder / "results" / name / "trials.parquet").sort("trial_id")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("runs")
    return folder, start(folder, "one")


def test_a_run_leaves_rows_predictions_tables_figures_and_tensorboard(runs):
    folder, done = runs
    assert done.returncode == 0, done.stderr
    run = folder / "results" / "one"
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
    predictions = results.read_parquet(run / "predictions.parquet", results.PREDICTIONS)
    finals = table.filter(pl.col("stage") == "final")
    assert set(predictions["trial_id"]) == set(finals["trial_id"])
    assert predictions.group_by("trial_id").len()["len"].n_unique() == 1
    for name in ("parameters", "accuracy"):
        for ending in ("md", "csv", "tex"):
            assert (run / "tables" / f"{name}.{ending}").stat().st_size > 0
    assert {path.name.split("-")[0] for path in (run / "tensorboard").iterdir()} >= {"bridge", "kd_logits"}
    assert OmegaConf.load(run / "config.yaml").search.trials == 4
    assert "Balanced" in done.stdout
    assert "tensorboard --logdir" in done.stdout


def test_search_tries_different_positions_ranks_and_prototypes(runs):
    searched = rows(runs[0], "one").filter((pl.col("stage") == "search") & (pl.col("method") == "bridge"))
    assert searched.select("bridge_input", "bridge_output", "rank", "prototypes").n_unique() == 4


def test_the_choice_is_the_best_agreement_on_val(runs):
    table = rows(runs[0], "one")
    for method in ("bridge", "kd_logits"):
        mine = table.filter(pl.col("method") == method)
        searched, chosen = mine.filter(pl.col("stage") == "search"), mine.filter(pl.col("stage") == "final")
        score = pl.col("val_balanced_agreement")
        best = searched.filter(score == score.max())
        assert set(chosen["config"]) <= set(best["config"])
        assert chosen["config"].n_unique() == 1


def test_the_same_seed_gives_the_same_rows_and_tables_from_stored_features(runs):
    folder, _ = runs
    done = start(folder, "two")
    assert done.returncode == 0, done.stderr
    assert rows(folder, "one").drop(TIMES).equals(rows(folder, "two").drop(TIMES))
    accuracy = [(folder / "results" / name / "tables" / "accuracy.csv").read_text() for name in ("one", "two")]
    assert accuracy[0] == accuracy[1]
    assert "of earlier work" in done.stdout or "Prepared in" in done.stdout


def test_an_interrupted_run_is_finished_without_repeating_a_trial(runs):
    folder, _ = runs
    run = folder / "results" / "stopped"
    words = ("bridge.epochs=60", "search.trials=6")
    log = folder / "stopped.log"
    with log.open("w") as said:
        process = subprocess.Popen(command("stopped", *words), stdout=subprocess.DEVNULL, stderr=said, cwd=folder)
    finished = run / "tensorboard" / "bridge" / "bridge-fold0-002"  # so one of the first two is done
    for _ in range(4000):
        if finished.exists() or process.poll() is not None:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=120) == 130, log.read_text()
    assert "resume=true" in log.read_text()
    kept = rows(folder, "stopped")
    assert 0 < len(kept) < 12

    refused = start(folder, "stopped", *words)
    assert refused.returncode == 2
    assert "resume=true to finish it" in refused.stderr
    other = start(folder, "stopped", "search.trials=6", "bridge.epochs=61", "resume=true")
    assert other.returncode == 2
    assert "bridge.epochs 60 -> 61" in other.stderr

    resumed = start(folder, "stopped", *words, "resume=true")
    assert resumed.returncode == 0, resumed.stderr
    table = rows(folder, "stopped")
    assert len(table.filter(pl.col("stage") == "search")) == 12
    assert set(table["status"]) == {"done"}
    again = table.filter(pl.col("trial_id").is_in(kept["trial_id"].implode()))
    assert again["started_at"].to_list() == kept["started_at"].to_list()


def test_a_folder_of_another_configuration_is_refused(runs):
    folder, _ = runs
    done = start(folder, "one", "bridge.rank=8")
    assert done.returncode == 2
    assert "another configuration (bridge.rank None -> 8)" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_finished_run_of_the_same_configuration_moves_aside(tmp_path):
    loaded = config.load([f"results={tmp_path}", "name=x"])
    folder = sweep.claim_folder(loaded)
    with pytest.raises(InputError, match="unfinished run"):
        sweep.claim_folder(loaded)
    (folder / "tables").mkdir()
    (folder / "mark").touch()
    assert sweep.claim_folder(loaded) == folder
    assert not (folder / "mark").exists()
    assert (tmp_path / "x.previous" / "mark").exists()
    with pytest.raises(InputError, match="holds no run"):
        sweep.claim_folder({**loaded, "name": "y", "resume": True})


def test_what_the_user_fixes_is_not_searched():
    study = optuna.create_study()
    trial = study.ask()
    fixed = {"rank": 3, "output": "head", "learning_rate": None, "loss": "mse"}
    found = sweep.define(trial, "bridge", fixed, Blocks(new=6, old=4))
    assert found == {"rank": 3, "output": "head", "loss": "mse", "number": 0}
    assert set(trial.params) == {"input", "prototypes", "learning_rate"}


def test_members_of_a_population_share_what_is_asked_of_positions():
    trial = optuna.create_study().ask()
    fixed = {"population": 3, "learning_rate": 0.1, "input": None}
    asked = {**trial.params, **sweep.define(trial, "bridge", fixed, Blocks(new=6, old=4)), **trial.params}
    assert {"rank", "rank@1", "rank@2", "prototypes@2", "input", "output"} <= set(asked)
    specs = search_specs("bridge", 0, 7, {**asked, "number": 2})
    assert [spec.trial_id for spec in specs] == ["bridge-fold0-006", "bridge-fold0-007", "bridge-fold0-008"]
    for k, spec in enumerate(specs):
        assert set(spec.options) == {"input", "output", "rank", "prototypes", "learning_rate", "population"}
        assert spec.options["rank"] == asked[f"rank@{k}" if k else "rank"]
        assert spec.options["output"] == asked["output"]


def test_a_population_of_which_nothing_is_searched_has_all_its_members():
    specs = search_specs("bridge", 0, 0, {"population": 2, "rank": 3, "number": 1})
    assert [(spec.trial_id[-3:], spec.options["rank"]) for spec in specs] == [("002", 3), ("003", 3)]


def test_ties_are_broken_by_divergence_then_size():
    def row(trial: str, agreement: float, divergence: float, size: int, status: str = "done") -> dict:
        return {
            "trial_id": trial,
            "method": "bridge",
            "fold": 0,
            "status": status,
            "val_balanced_agreement": agreement,
            "val_divergence": divergence,
            "trainable_parameters": size,
            "config": json.dumps({"trial": trial}),
        }

    table = results.frame(
        [
            row("a", 0.7, 0.5, 10),
            row("b", 0.8, 0.5, 10),
            row("c", 0.8, 0.4, 20),
            row("d", 0.8, 0.4, 15),
            row("e", 1, 0, 1, "failed"),
        ]
    )
    assert sweep.choose(table, "bridge", 0) == {"trial": "d"}
    with pytest.raises(RunError, match="every trial of kd_logits failed"):
        sweep.choose(table, "kd_logits", 0)


def test_the_two_stage_rule_fixes_the_positions_and_keeps_what_it_saw(runs):
    """Here with trials that are trained two by two."""
    folder, _ = runs
    words = ("bridge.position=two_stage", "methods=[bridge]", "references=[]", "final.seeds=[0]")
    done = start(folder, "two_stage", *words, "search.scheduler=median", "bridge.population=2")
    assert done.returncode == 0, done.stderr
    run = folder / "results" / "two_stage"
    seen = results.read_parquet(run / "positions.parquet", results.POSITIONS)
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
