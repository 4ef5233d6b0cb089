"""A run's folder: claimed for one configuration; its log is the truth, tables are made of it."""

import json
import warnings
from pathlib import Path

import polars as pl
import pytest

from benchmark import registry
from benchmark.config.schema import Config
from benchmark.errors import InputError
from benchmark.registry import configure
from benchmark.results import folder, log
from benchmark.results.recorder import recording
from benchmark.results.schema import Column, MethodCard, row_schema

CARDS = {"bridge": registry.get("bridge").card()}
PLAN = {"methods": folder.methods_as_json(CARDS)}


def row(trial: str, **values) -> dict:
    names = {
        "run": "x",
        "method": "bridge",
        "stage": "search",
        "seed": 0,
        "fold": 0,
        "status": "failed",
        "config": "{}",
    }
    return {**names, "trial_id": trial, **values}


def claimed(path: Path, **changes) -> tuple[Config, Path]:
    config = configure([f"results={path}", "name=x"]).model_copy(update=changes)
    return config, folder.claim(config, PLAN)


def test_a_finished_run_of_the_same_configuration_moves_aside(tmp_path):
    config, claim = claimed(tmp_path)
    with pytest.raises(InputError, match="unfinished run"):
        folder.claim(config, PLAN)
    folder.open_log(claim).add_finished()
    (claim / "mark").touch()
    assert folder.claim(config, PLAN) == claim
    assert not (claim / "mark").exists()
    assert (tmp_path / "x.previous" / "mark").exists()
    with pytest.raises(InputError, match="holds no run"):
        folder.claim(config.model_copy(update={"name": "y", "resume": True}), PLAN)


def test_a_run_is_complete_when_it_is_finished_and_nothing_failed(tmp_path):
    _, claim = claimed(tmp_path)
    assert not folder.is_complete(claim)
    log = folder.open_log(claim)
    log.add_trial(row("a"))
    log.add_trial(row("b", status="done"))
    log.add_finished()
    assert folder.is_finished(claim)
    assert not folder.is_complete(claim)  # a failed trial is taken up again
    log.add_trial(row("a", status="done"))
    assert not folder.is_complete(claim)
    log.add_finished()
    assert folder.is_complete(claim)


def test_a_run_of_another_configuration_is_not_touched(tmp_path):
    config, claim = claimed(tmp_path)
    other = config.model_copy(update={"seed": 5})
    with pytest.raises(InputError, match=r"another configuration \(seed 0 -> 5\)"):
        folder.claim(other, PLAN)
    where = config.model_copy(update={"cluster": config.cluster.model_copy(update={"cpus": 1}), "resume": True})
    assert folder.claim(where, PLAN) == claim  # where it runs is no part of what it is


def test_the_log_keeps_a_trial_before_anything_else_is_waited_for(tmp_path):
    _, claim = claimed(tmp_path)
    written = folder.open_log(claim)
    written.add_trial(row("a"))
    assert [entry["row"]["trial_id"] for entry in log.read(claim / log.NAME)] == ["a"]  # while it is open
    written.add_trial(row("b", seed=1))
    written.add_trial(row("a", seed=2))
    assert [(one["trial_id"], one["seed"]) for one in log.rows(claim / log.NAME)] == [("a", 2), ("b", 1)]


@pytest.mark.parametrize("torn", [b"{", b'{"row": {"trial_id": "c"}}', b"\xff\xfe"])
def test_a_torn_last_line_is_dropped_once_with_a_warning(tmp_path, torn):
    _, claim = claimed(tmp_path)
    path = claim / log.NAME
    with recording(claim, CARDS, registry.configure([]).method_options) as recorder:
        recorder.trial(row("a"))
    with path.open("ab") as file:
        file.write(torn)
    assert [one["trial_id"] for one in log.rows(path)] == ["a"]
    with (
        pytest.warns(UserWarning, match="the last line was not written to its end"),
        recording(claim, CARDS, registry.configure([]).method_options) as again,
    ):
        again.trial(row("b"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folder.open_log(claim).close()
    assert [one["trial_id"] for one in log.rows(path)] == ["a", "b"]


def test_a_damaged_line_in_the_middle_is_named(tmp_path):
    path = tmp_path / log.NAME
    path.write_text('{"row": {"trial_id": "a"}}\n{"ro\n{"row": {"trial_id": "b"}}\n')
    with pytest.raises(InputError, match=r"rows\.jsonl, line 2 is damaged"):
        log.rows(path)


def test_tables_are_compacted_however_the_run_ends(tmp_path):
    _, claim = claimed(tmp_path)
    predictions = {
        "window": [3, 4],
        "subject": ["S1", "S1"],
        "label": [0, 1],
        "prediction": [1, 1],
        "teacher_prediction": [0, 1],
    }

    def stopped() -> None:
        with recording(claim, CARDS, registry.configure([]).method_options) as recorder:
            recorder.table("positions", [{"trial_id": "p", "fold": 0, "quality": 0.5}])
            recorder.trial(row("a"))
            recorder.trial(row("b", stage="final"), predictions)
            recorder.trial(row("a", rank=8))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    schema = row_schema(CARDS.values())
    table = pl.read_parquet(claim / "trials.parquet")
    assert table["trial_id"].to_list() == ["a", "b"]
    assert table["rank"].to_list() == [8, None]
    assert dict(table.schema) == schema
    kept = pl.read_parquet(claim / "predictions.parquet")
    assert kept["window"].to_list() == [3, 4]
    assert kept["trial_id"].unique().to_list() == ["b"]
    assert pl.read_parquet(claim / "positions.parquet")["quality"].to_list() == [0.5]
    assert not list(claim.glob(".*.tmp"))


def test_methods_are_read_back_as_they_were_declared(tmp_path):
    _, claim = claimed(tmp_path)
    assert folder.read_methods(claim) == CARDS
    assert json.loads((claim / "plan.json").read_text()) == json.loads(json.dumps(PLAN))
    for text, said in (("{", "cannot be read"), ("[]", "holds no list"), ('{"methods": [{"name": "x"}]}', "described")):
        (claim / "plan.json").write_text(text)
        with pytest.raises(InputError, match=said):
            folder.read_methods(claim)


def test_two_methods_that_disagree_about_a_column_are_refused():
    cards = [MethodCard(name, name, "transfer", columns=(Column("size", kind, ""),)) for name, kind in TYPES]
    with pytest.raises(TypeError, match="column size of b"):
        row_schema(cards)


TYPES = (("a", "int"), ("b", "float"))
