"""One configuration, one row; the best epoch by agreement with the teacher; the same seed, the same row."""

import json

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, cohen_kappa_score, f1_score

from benchmark import registry
from benchmark.frozen.task import Task, open_task
from benchmark.plan import Spec, Study
from benchmark.results import schema as results
from benchmark.search.choice import Unchosen, best_of
from benchmark.trial import metrics
from benchmark.trial.folds import VAL, folds_of, only, order
from benchmark.trial.trial import Trial, together
from tests.conftest import run_final
from tests.test_transfer import BRIDGE, KD

TIMES = {"step_seconds", "train_seconds", "inference_seconds_per_window", "peak_memory_bytes", "started_at"}


def final(task: Task, method: str, options: dict, seed: int = 0):
    return run_final(task.config, Spec(method, "final", f"{method}-{seed}", 0, seed, options), "simulated")


@pytest.mark.parametrize(
    ("method", "options"), [("bridge", BRIDGE), ("kd_logits", KD), ("oracle_finetune", {"epochs": 2})]
)
def test_the_same_seed_gives_the_same_row(task, method, options):
    (first, predicted), (again, predicted_again) = (final(task, method, options) for _ in range(2))
    (other, _) = final(task, method, options, seed=1)
    assert first["status"] == "done", first.get("error")
    assert {k: v for k, v in first.items() if k not in TIMES} == {k: v for k, v in again.items() if k not in TIMES}
    assert predicted == predicted_again
    assert first["val_divergence"] != other["val_divergence"]


def test_a_row_fits_the_schema_and_says_what_was_run(task):
    row, predicted = final(task, "bridge", BRIDGE)
    schema = results.row_schema([registry.get("bridge").card()])
    assert set(row) <= set(schema)
    assert dict(results.frame([row], schema).schema) == schema
    assert (row["bridge_input"], row["bridge_output"], row["rank"], row["prototypes"]) == (1, 1, 4, 8)
    assert row["direction"] == "ecg2ppg"
    assert json.loads(row["config"]) == BRIDGE
    assert row["val_balanced_accuracy"] is None if "val_balanced_accuracy" in row else True
    assert row["peak_memory_bytes"] > 50e6
    assert 0 < row["inference_seconds_per_window"] < 1
    label, prediction = (np.array(predicted[name]) for name in ("label", "prediction"))
    assert row["test_balanced_accuracy"] == pytest.approx(balanced_accuracy_score(label, prediction))
    assert row["test_macro_f1"] == pytest.approx(f1_score(label, prediction, average="macro", labels=[0, 1, 2]))
    assert row["test_kappa"] == pytest.approx(cohen_kappa_score(label, prediction))
    assert predicted["window"] == task.indices("test").tolist()
    assert set(predicted["subject"]) == {task.data.subjects[s] for s in set(task.data.subject[task.indices("test")])}


def test_search_rows_never_see_the_test_split(task, monkeypatch):
    opened = open_task(task.config, 0)
    asked = []
    original = type(opened).indices
    monkeypatch.setattr(type(opened), "indices", lambda self, *splits: asked.extend(splits) or original(self, *splits))
    trial = Trial(opened, Spec("bridge", "search", "x", 0, 0, {**BRIDGE, "input": 0}))
    list(trial.epochs())
    assert not any(name.startswith("test_") for name in trial.row())
    assert "test" not in asked


def test_the_best_epoch_is_kept_and_used(task):
    trial = Trial(task, Spec("kd_logits", "final", "x", 0, 0, {**KD, "epochs": 6}))
    found = list(trial.epochs())
    best = max(range(6), key=lambda k: order(found[k]))
    assert trial.best["best_epoch"] == best + 1
    trial.test()
    logits = trial.method.logits("val")
    kept = pytest.approx(trial.best["val_agreement"], abs=1e-6)  # it has six digits, as its row
    assert metrics.agreement(logits, task.teacher_logits("val")) == kept


def test_a_searched_trial_in_folds_is_trained_on_the_rest_and_judged_on_the_one_held_out(task):
    windows = np.sort(np.concatenate([task.indices("pair"), task.indices("val")]))
    held_out = []
    for inner in range(3):
        trial = Trial(task, Spec("kd_logits", "search", "x", 0, 0, KD, inner=inner, folds=3))
        list(trial.epochs())
        pair, val = trial.task.indices("pair"), trial.task.indices("val")
        assert not set(task.data.subject[pair]) & set(task.data.subject[val])
        assert np.array_equal(np.sort(np.concatenate([pair, val])), windows)
        held_out += val.tolist()
        row = trial.row()
        assert row["training_windows"] == KD["epochs"] * len(pair)
        [(number, found)] = folds_of(row).items()
        assert (number, found["status"], len(found["curve"])) == (inner, "done", KD["epochs"])
        best = found["curve"][row["best_epoch"] - 1]
        assert best[:3] == pytest.approx(
            [row[f"val_{name}"] for name in ("agreement", "balanced_agreement", "divergence")], abs=1e-6
        )
    assert sorted(held_out) == windows.tolist()


def test_what_was_chosen_in_folds_is_trained_on_all_of_pair_and_val_for_so_many_epochs(task):
    chosen = {"best_epoch": 1, "val_balanced_agreement": 0.5}
    row, predicted = run_final(task.config, Spec("kd_logits", "final", "x", 0, 0, KD, chosen=chosen), "simulated")
    assert row["status"] == "done", row["error"]
    assert (row["epochs"], row["best_epoch"], row["val_balanced_agreement"]) == (1, 1, 0.5)
    assert row["training_windows"] == len(task.indices("pair", "val"))
    everything = task.development()
    alone = registry.get("kd_logits")(everything.unlabelled(), registry.options_of("kd_logits", KD), 0)
    alone.train_epoch()
    assert alone.logits("test").argmax(1).tolist() == predicted["prediction"]


def test_val_labels_choose_only_in_the_protocol_of_that_name(task):
    spec = Spec("kd_logits", "search", "x", 0, 0, KD)
    named = Trial(open_task(task.config.model_copy(update={"protocol": "val_labels"}), 0), spec)
    list(named.epochs())
    default = Trial(task, spec)
    list(default.epochs())
    assert named.row()["val_balanced_accuracy"] is not None
    assert "val_balanced_accuracy" not in default.row()


def test_references(task):
    rows = {name: final(task, name, {})[0] for name in ("majority", "teacher", "oracle_probe", "oracle_finetune")}
    assert all(row["status"] == "done" for row in rows.values()), rows
    assert rows["majority"]["test_balanced_accuracy"] == pytest.approx(1 / 3)
    assert rows["teacher"]["test_agreement"] == 1
    assert rows["teacher"]["val_agreement"] == 1
    assert rows["oracle_probe"]["trainable_parameters"] < rows["oracle_finetune"]["trainable_parameters"]
    assert not registry.get("teacher").seeded


def test_seconds_of_a_population_are_shared_by_its_members(task):
    alone, *trials = (Trial(task, Spec("bridge", "search", "x", 0, 0, BRIDGE)) for _ in range(5))
    list(alone.epochs())
    for _ in together(trials):
        pass
    rows = [trial.row() for trial in trials]
    for trial, row in zip(trials, rows, strict=True):
        assert row["step_seconds"] == trial.training_seconds / trial.steps / 4
        assert row["epochs"] == BRIDGE["epochs"]
    for row in rows:
        assert row["val_divergence"] == pytest.approx(alone.row()["val_divergence"], rel=1e-3)


@pytest.mark.parametrize(("method", "options"), [("bridge", BRIDGE), ("kd_logits", KD)])
def test_a_trial_whose_weights_become_nan_has_diverged(task, method, options):
    """Its rate is absurd; it stops at once, and none of what it gives is taken for a result."""
    row, predicted = final(task, method, {**options, "learning_rate": 2e9, "epochs": 5})
    assert (row["status"], predicted) == ("diverged", {})
    assert row["error"] == "diverged: the outputs are not finite after epoch 1"
    assert row["epochs"] == 1
    assert not any(isinstance(value, float) and not np.isfinite(value) for value in row.values())
    assert row["val_balanced_agreement"] is None
    found = best_of(Study(method, 0, 1), [row])
    assert isinstance(found, Unchosen)
    assert found.why.startswith(f"every trial of {method} failed (diverged: the outputs")
    chosen = Spec(method, "final", "x", 0, 0, {**options, "learning_rate": 2e9}, chosen={"best_epoch": 2})
    row, predicted = run_final(task.config, chosen, "simulated")  # without val, it is seen at the end
    assert (row["status"], predicted, row["epochs"]) == ("diverged", {}, 2)


def test_what_a_trial_reads_of_the_store_costs_what_computing_it_took(task):
    """A step is a step from stored inputs for all methods; what computing these took is told apart."""
    bridge, student = (
        json.loads(final(task, name, options)[0]["extraction"])
        for name, options in (("bridge", BRIDGE), ("kd_logits", KD))
    )
    seconds = {what.rpartition(" ")[0]: taken for what, taken in {**student, **bridge}.items()}
    assert set(seconds) == {"ecg pooled", "ppg pooled", "ecg last", "ppg prepared"}
    pooled = next(what for what in bridge if what.startswith("ppg pooled"))
    parts = [task.indices(split) for split in ("pair", "val", "test")]
    subjects = {k for k, _ in task.data.by_subject(np.sort(np.concatenate(parts)))}
    features = task.features("new")
    assert bridge[pooled] == pytest.approx(
        sum(features.store.open(features._key("pooled", k)).seconds for k in subjects)
    )
    assert not any(what.startswith("ppg prepared") for what in bridge)
    assert not any(what.startswith("ecg last") for what in student)


def test_an_error_becomes_a_failed_row(task):
    row, predicted = final(task, "bridge", {**BRIDGE, "input": 99})
    assert row["status"] == "failed"
    assert "Error" in row["error"]
    assert predicted == {}


def test_agreement_and_divergence():
    teacher = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]])
    assert metrics.agreement(teacher * 5, teacher) == 1
    assert metrics.agreement(-teacher, teacher) == 0
    assert metrics.divergence(teacher + 7, teacher) == pytest.approx(0)
    always = torch.tensor([[1.0, 0.0]] * 3)
    assert metrics.agreement(always, teacher) == pytest.approx(2 / 3)
    assert metrics.balanced_agreement(always, teacher) == 0.5
    p, q = teacher.softmax(1), torch.full((3, 2), 0.5)
    assert metrics.divergence(torch.zeros(3, 2), teacher) == pytest.approx(float((p * (p / q).log()).sum(1).mean()))


def test_a_row_says_the_same_when_it_is_read_back_from_its_folds(task):
    """A study that goes on ranks trials of rows beside new ones: 0.666667 would be ahead of two thirds."""
    trial = Trial(task, Spec("bridge", "search", "bridge-000", 0, 0, BRIDGE))
    for _ in trial.epochs():
        pass
    row = trial.row()
    read = only(row, 0)
    assert {name: read[name] for name in VAL} == {name: row.get(name) for name in VAL}
    assert order(read) == order(row)
