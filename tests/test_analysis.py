"""Tables and figures of a run, against numbers computed here from the same predictions."""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, cohen_kappa_score, f1_score

import analysis
from analysis.__main__ import main
from analysis.run import Run
from analysis.statistics import METRICS, bootstrap_balanced_accuracy
from analysis.tables import accuracy, accuracy_folds, failures, parameters, tables
from analysis.verdict import verdict
from benchmark.errors import InputError
from benchmark.results.folder import compact, methods_as_json
from benchmark.results.log import RowLog
from benchmark.results.schema import Column, MethodCard, row_schema, write_parquet

CLASSES = 3
SKILL = {"majority": None, "bridge": 0.6, "kd_logits": 0.5, "teacher": 0.8, "oracle_probe": 0.7}
TRAINED = {"majority": 0, "bridge": 1_000, "kd_logits": 40_000, "teacher": 60, "oracle_probe": 60}
POSITION = "block left, block entered"
POSITIONS = (
    Column("trial_id", "str", "of the pair of blocks"),
    Column("fold", "int", "of the split"),
    Column("bridge_input", "int", "i"),
    Column("bridge_output", "int", "j"),
    Column("quality", "float", "of the output of i"),
    Column("similarity", "float", "of the output of i and the input of j"),
    Column("chosen", "bool", "whether the bridge stands there"),
)
BRIDGE = (
    Column("bridge_input", "int", "i"),
    Column("bridge_output", "int", "j"),
    Column("bridge_position", "str", POSITION, "Position i → j"),
    Column("rank", "int", "of the projection", "Rank"),
    Column("prototypes", "int", "", "Prototypes"),
)
CARDS = (
    MethodCard("bridge", "Bridge", "transfer", columns=BRIDGE, tables={"positions": POSITIONS}),
    MethodCard("kd_logits", "KD logits", "transfer"),
    MethodCard("majority", "Majority class", "floor"),
    MethodCard("teacher", "Teacher", "ceiling"),
    MethodCard("oracle_probe", "Oracle probe", "ceiling"),
)
CONFIG = """
old: {name: hubert_ecg, preset: tiny, weights: local}
new: {name: papagei, preset: tiny, weights: /somewhere/else/mine.safetensors}
protocol: val
data: {name: simulated, split: {kind: kfold}}
"""


def plan_of(methods: Mapping[str, MethodCard]) -> dict[str, Any]:
    classes = [f"class {k}" for k in range(CLASSES)]
    return {"methods": methods_as_json(methods), "classes": classes, "student_parameters": 40_000}


class Folder:
    """A run's folder in the making: rows and predictions of simulated methods, and what these declare."""

    def __init__(self, path: Path, *more: MethodCard, seed: int = 0):
        self.path, self.rng = path, np.random.default_rng(seed)
        self.methods = {card.name: card for card in (*more, *CARDS)}
        self.rows: list[dict[str, Any]] = []
        self.predictions: dict[str, list[dict[str, Any]]] = {}
        self.positions: list[dict[str, Any]] = []

    def row(self, method: str, stage: str, **values: Any) -> dict[str, Any]:
        row = {
            "run": self.path.name,
            "dataset": "simulated",
            "direction": "ecg2ppg",
            "old_modality": "ecg",
            "new_modality": "ppg",
            "protocol": "val",
            "method": method,
            "stage": stage,
            "trial_id": f"{method}-{len(self.rows)}",
            "seed": 0,
            "fold": 0,
            "status": "done",
            "config": "{}",
            "started_at": f"2026-01-01T00:{len(self.rows) // 60:02d}:{len(self.rows) % 60:02d}",
            **values,
        }
        self.rows.append(row)
        return row

    def final(self, method: str, seed: int = 0, fold: int = 0, subjects: int = 6, **values: Any) -> None:
        """A final trial whose metrics are scikit-learn's of the predictions that lie beside it."""
        per_subject = 20
        label = self.rng.integers(0, CLASSES, subjects * per_subject)
        teacher = self._guess(label, SKILL["teacher"])
        prediction = teacher if method == "teacher" else self._guess(label, SKILL[method])
        row = self.row(
            method,
            "final",
            seed=seed,
            fold=fold,
            trainable_parameters=TRAINED[method],
            stored_parameters=TRAINED[method] + 5,
            test_balanced_accuracy=balanced_accuracy_score(label, prediction),
            test_macro_f1=f1_score(label, prediction, average="macro", zero_division=0),
            test_weighted_f1=f1_score(label, prediction, average="weighted", zero_division=0),
            test_accuracy=accuracy_score(label, prediction),
            test_kappa=cohen_kappa_score(label, prediction),
            test_agreement=accuracy_score(teacher, prediction),
            step_seconds=0.01 * (1 + seed),
            inference_seconds_per_window=0.002,
            **values,
        )
        for window, (true, said, taught) in enumerate(zip(label, prediction, teacher, strict=True)):
            self.predict(row, f"S{fold}{window // per_subject}", int(true), int(said), int(taught), window)

    def right(self, row: Mapping[str, Any], tenths: int, subjects: int = 1) -> None:
        """Predictions with a recall of ``tenths`` / 10 for every class and subject."""
        for subject, window in itertools.product(range(subjects), range(30)):
            label = window % 3
            said = label if window // 3 < tenths else (label + 1) % 3
            self.predict(row, f"S{subject}", label, said, label, window)

    def predict(self, row: Mapping[str, Any], subject: str, label: int, said: int, taught: int, window: int) -> None:
        values = {"window": window, "subject": subject, "label": label, "prediction": said}
        self.predictions.setdefault(row["trial_id"], []).append({**values, "teacher_prediction": taught})

    def _guess(self, label: np.ndarray, skill: float | None) -> np.ndarray:
        if skill is None:
            return np.zeros_like(label)
        return np.where(self.rng.random(len(label)) < skill, label, self.rng.integers(0, CLASSES, len(label)))

    def write(self) -> Path:
        """The folder as a run leaves it: its log, and the Parquet files made of that."""
        self.log()
        compact(self.path)
        return self.path

    def log(self) -> Path:
        """The folder of a run that goes on: nothing but configuration, plan and log."""
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / "config.yaml").write_text(CONFIG)
        (self.path / "plan.json").write_text(json.dumps(plan_of(self.methods)))
        log = RowLog(self.path / "rows.jsonl")
        for row in self.rows:
            windows = self.predictions.get(row["trial_id"], [])
            log.add_trial(row, {name: [window[name] for window in windows] for name in windows[0]} if windows else None)
        if self.positions:
            log.add_table("positions", self.positions)
        log.close()
        return self.path


def finished(path: Path, seeds: Iterable[int] = (0, 1, 2), folds: Iterable[int] = (0,)) -> Path:
    """Search rows of the transfer methods, final rows of all."""
    folder = Folder(path)
    for method in ("bridge", "kd_logits"):
        for _ in range(4):
            folder.row(method, "search", val_agreement=0.5)
    bridge = {"bridge_input": 2, "bridge_output": 1, "bridge_position": "2 → 1", "rank": 4, "prototypes": 8}
    for method, seed, fold in itertools.product(SKILL, seeds, folds):
        folder.final(method, seed, fold, **(bridge if method == "bridge" else {}))
    return folder.write()


def of(table: pl.DataFrame, method: str) -> dict[str, Any]:
    return table.row(by_predicate=pl.col("method") == method, named=True)


# Accuracy.


@pytest.mark.parametrize("folds", [(0,), (0, 1, 2)])
def test_accuracy_is_of_a_seeds_pooled_predictions_and_averaged_over_seeds(folds: tuple[int, ...], tmp_path: Path):
    run = Run(finished(tmp_path / "run", folds=folds))
    table = accuracy.build(run)
    for method in SKILL:
        values: dict[str, list[float]] = {metric.removeprefix("test_"): [] for metric in METRICS}
        for seed in (0, 1, 2):
            of_seed = run.predictions.filter(pl.col("method") == method, pl.col("seed") == seed)
            label, said, taught = (of_seed[name].to_numpy() for name in ("label", "prediction", "teacher_prediction"))
            values["balanced_accuracy"].append(np.mean([np.mean(said[label == k] == k) for k in range(CLASSES)]))
            for kind in ("macro", "weighted"):
                values[f"{kind}_f1"].append(f1_score(label, said, average=kind, zero_division=0))
            values["accuracy"].append(accuracy_score(label, said))
            values["kappa"].append(cohen_kappa_score(label, said))
            values["agreement"].append(np.mean(said == taught))
        for name, of_seeds in values.items():
            assert of(table, method)[name] == pytest.approx(np.mean(of_seeds)), (method, name)
            assert of(table, method)[f"{name}_sd"] == pytest.approx(np.std(of_seeds, ddof=1)), (method, name)
    assert ("of a seed, pooled over 3 folds; the mean over 3 seeds ±" in accuracy.caption(run)) == (len(folds) > 1)


def test_the_interval_is_of_the_value_that_stands_beside_it(tmp_path: Path) -> None:
    """A fold of one short recording, all of it right, weighs as much as its windows."""
    from analysis.figures import accuracy_parameters

    folder = Folder(tmp_path / "run")
    for fold, (tenths, subjects) in enumerate(((10, 1), (5, 8))):
        values = {"trainable_parameters": 1, "test_balanced_accuracy": tenths / 10}
        folder.right(folder.row("bridge", "final", fold=fold, **values), tenths, subjects)
    del folder.predictions["bridge-0"][3:]
    run = Run(folder.write())
    row = of(accuracy.build(run), "bridge")
    label, said = (run.predictions[name].to_numpy() for name in ("label", "prediction"))
    assert row["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(label, said))
    assert row["balanced_accuracy_low"] <= row["balanced_accuracy"] <= row["balanced_accuracy_high"] < 0.6
    figure = accuracy_parameters.draw(run)
    assert figure is not None
    _, caps, _ = figure.axes[0].containers[0].lines
    assert [cap.get_ydata()[0] / 100 for cap in caps] == pytest.approx(
        [row["balanced_accuracy_low"], row["balanced_accuracy_high"]]
    )
    assert f"balanced accuracy (95 % interval {100 * row['balanced_accuracy_low']:.1f} to" in verdict(run)


def test_a_fold_of_a_single_class_counts_in_kappa(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "run")
    for fold, (label, said) in enumerate((([0] * 9, [0] * 9), ([0, 1, 2] * 3, [0, 1, 1] * 3))):
        row = folder.row("bridge", "final", fold=fold, test_kappa=None if fold == 0 else cohen_kappa_score(label, said))
        for window, (true, guess) in enumerate(zip(label, said, strict=True)):
            folder.predict(row, f"S{fold}", true, guess, true, window)
    windows = (run := Run(folder.write())).predictions
    expected = cohen_kappa_score(windows["label"], windows["prediction"])
    assert of(accuracy.build(run), "bridge")["kappa"] == pytest.approx(expected)


def test_the_table_of_folds_shows_each_folds_own_mean_over_seeds(tmp_path: Path) -> None:
    run = Run(finished(tmp_path / "run", seeds=(0, 1), folds=(0, 1, 2)))
    trials = run.trials.filter(pl.col("stage") == "final", pl.col("method") == "bridge")
    of_folds = [
        np.mean(trials.filter(pl.col("fold") == fold)["test_balanced_accuracy"].to_numpy()) for fold in (0, 1, 2)
    ]
    assert accuracy_folds.build(run)["bridge"].to_list() == pytest.approx(of_folds)


def test_a_run_without_folds_has_no_table_of_folds(tmp_path: Path) -> None:
    path = finished(tmp_path / "run")
    assert accuracy_folds.build(Run(path)).is_empty()
    assert not any("accuracy_folds" in written.name for written in analysis.write(path))


@pytest.mark.parametrize(
    ("leakage", "said"),
    [
        ("samples", "LEAKY"),
        ("subjects", "are on both sides"),
        ("choice", "chosen with subjects who are in the tests of other folds (search.folds=first)"),
        ("none", ""),
    ],
)
def test_every_table_says_what_the_split_leaks(leakage: str, said: str, tmp_path: Path) -> None:
    folder = Folder(tmp_path / "run")
    for method in TRAINED:
        folder.final(method, leakage="choice" if leakage == "subjects" else leakage)
    folder.row("bridge", "search", leakage="none" if leakage == "choice" else leakage)
    run = Run(folder.write())
    assert len(tables(run)) >= 2
    for table in tables(run):
        assert said in table.caption, table.name
        assert ("split leaks" in table.caption) == (leakage == "samples"), table.name


def test_references_to_beat_come_first_and_ceilings_last(tmp_path: Path) -> None:
    methods = accuracy.build(Run(finished(tmp_path / "run")))["method"].to_list()
    assert methods == ["chance", "majority", "bridge", "kd_logits", "teacher", "oracle_probe"]


def test_chance_is_one_over_the_number_of_classes(tmp_path: Path) -> None:
    row = of(accuracy.build(Run(finished(tmp_path / "run"))), "chance")
    assert (row["balanced_accuracy"], row["kappa"], row["macro_f1"]) == (pytest.approx(1 / CLASSES), 0, None)


def test_the_number_of_classes_is_the_plans_whatever_was_predicted(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "run")
    row = folder.row("bridge", "final")
    for window in range(6):
        folder.predict(row, f"S{window}", window % 2, 0, 0, window)
    run = Run(folder.write())
    assert run.n_classes == CLASSES
    assert of(accuracy.build(run), "chance")["balanced_accuracy"] == pytest.approx(1 / CLASSES)


def test_of_two_final_trials_of_a_seed_the_later_counts(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "run")
    folder.final("bridge", rank=4)
    folder.final("bridge", rank=8)
    run = Run(folder.write())
    assert of(accuracy.build(run), "bridge")["balanced_accuracy"] == pytest.approx(
        folder.rows[1]["test_balanced_accuracy"]
    )
    assert parameters.build(run)["rank"].to_list() == [8]
    assert run.final_predictions["trial_id"].unique().to_list() == [folder.rows[1]["trial_id"]]


# The interval over subjects.


def test_interval_agrees_with_a_plain_bootstrap_of_pooled_windows(tmp_path: Path) -> None:
    run = Run(finished(tmp_path / "run", seeds=(0, 1), folds=(0, 1)))
    low, high = bootstrap_balanced_accuracy(run)["kd_logits"]
    windows = run.predictions.filter(pl.col("method") == "kd_logits")
    by = {
        key: (part["label"].to_numpy(), part["prediction"].to_numpy())
        for key, part in windows.group_by("seed", "subject")
    }
    subjects = windows["subject"].unique().to_list()
    assert len(subjects) == 12
    rng, values = np.random.default_rng(99), []
    for _ in range(1500):
        drawn = rng.choice(subjects, size=len(subjects))
        of_seeds = []
        for seed in (0, 1):
            label, said = (np.concatenate(parts) for parts in zip(*(by[seed, one] for one in drawn), strict=True))
            of_seeds.append(balanced_accuracy_score(label, said))
        values.append(np.mean(of_seeds))
    assert (low, high) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])), abs=0.008)


def two_subjects(path: Path, subjects: tuple[str, str]) -> Run:
    """One subject is always right, the other always wrong."""
    folder = Folder(path)
    row = folder.row("bridge", "final", test_balanced_accuracy=0.5, trainable_parameters=1)
    for window in range(20):
        label = window % 2
        folder.predict(row, subjects[0], label, label, label, window)
        folder.predict(row, subjects[1], label, 1 - label, label, 20 + window)
    return Run(folder.write())


def test_interval_resamples_subjects_not_windows(tmp_path: Path) -> None:
    # A quarter of the draws holds the first subject twice, a quarter the second.
    assert bootstrap_balanced_accuracy(two_subjects(tmp_path / "run", ("a", "b"))) == {"bridge": (0.0, 1.0)}


def test_one_subject_has_no_interval(tmp_path: Path) -> None:
    run = two_subjects(tmp_path / "run", ("a", "a"))
    assert bootstrap_balanced_accuracy(run) == {}
    assert of(accuracy.build(run), "bridge")["balanced_accuracy_low"] is None
    assert "no interval" in accuracy.caption(run)


def test_interval_is_the_same_whenever_it_is_asked_for(tmp_path: Path) -> None:
    path = finished(tmp_path / "run")
    first = bootstrap_balanced_accuracy(Run(path))
    predictions = pl.read_parquet(path / "predictions.parquet").sample(fraction=1.0, shuffle=True, seed=3)
    write_parquet(predictions, path / "predictions.parquet")
    second = bootstrap_balanced_accuracy(Run(path))
    assert second.keys() == first.keys()
    assert [second[method] for method in first] == [pytest.approx(first[method]) for method in first]


def test_a_class_that_few_subjects_have_does_not_break_the_interval(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "run")
    row = folder.row("bridge", "final", test_balanced_accuracy=0.9, trainable_parameters=1)
    for window in range(30):
        label = 2 if window < 3 else window % 2  # class 2 in the first subject only
        folder.predict(row, f"S{window // 10}", label, label, label, window)
    assert bootstrap_balanced_accuracy(Run(folder.write())) == {"bridge": (1.0, 1.0)}


# Parameters.


def test_reduction_is_against_the_full_student(tmp_path: Path) -> None:
    table = parameters.build(Run(finished(tmp_path / "run")))
    assert of(table, "bridge")["reduction"] == pytest.approx(1 - 1_000 / 40_000)
    assert of(table, "kd_logits")["reduction"] == 0
    assert of(table, "teacher")["reduction"] is None
    assert of(table, "bridge")["step_seconds"] == pytest.approx(0.02)  # the median of 0.01, 0.02 and 0.03
    assert "majority" not in table["method"]


def test_reduction_is_against_the_full_student_whether_it_ran_or_not(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "run")
    folder.final("bridge")
    folder.row("kd_logits", "final", trainable_parameters=99)  # a student of which a head was trained
    run = Run(folder.write())
    assert of(parameters.build(run), "bridge")["reduction"] == pytest.approx(1 - 1_000 / 40_000)
    assert "with its head, 40,000." in parameters.caption(run)


def test_floors_that_train_have_a_row_and_those_that_do_not_have_none(tmp_path: Path) -> None:
    floors = [MethodCard(name, name.title(), "floor") for name in ("trains", "counts", "unsaid")]
    folder = Folder(tmp_path / "run", *floors)
    for floor, trained in zip(floors, (12, 0, None), strict=True):
        folder.row(floor.name, "final", trainable_parameters=trained)
    row = folder.row("bridge", "final", trainable_parameters=0)  # a transfer method without gradient is compared
    folder.predict(row, "S0", 0, 0, 0, 0)
    assert parameters.build(Run(folder.write()))["method"].to_list() == ["trains", "bridge"]


def shown(run: Run) -> list[dict[str, str]]:
    """The table of parameters as it is read: header -> cell, row by row."""
    table = next(table for table in tables(run) if table.name == "parameters")
    return [dict(zip([column.header for column in table.columns], cells, strict=True)) for cells in table.cells()]


def test_the_parameters_table_shows_the_declared_columns_that_have_a_header(tmp_path: Path) -> None:
    run = Run(finished(tmp_path / "run"))
    first = shown(run)[0]
    assert list(first)[5:-4] == ["Position i → j", "Rank", "Prototypes"]
    assert [first["Method"], first["Position i → j"], first["Rank"]] == ["Bridge", "2 → 1", "4"]
    assert f"Position i → j: {POSITION}. Rank: of the projection. Seconds" in parameters.caption(run)
    frame = parameters.build(run)
    assert frame.columns[6:11] == ["bridge_input", "bridge_output", "bridge_position", "rank", "prototypes"]
    assert of(frame, "bridge")["bridge_input"] == 2


NEWCOMER = MethodCard(
    "zebra_50%",
    "Zebra (50 %)",
    "transfer",
    columns=(
        Column("stripes", "int", "how many it has", "Stripes"),
        Column("contrast", "float", "of black and white", "Contrast"),
        Column("gait", "str", "how it runs"),
        Column("rank", "int", "what the bridge calls so", "Another rank"),
    ),
)


def test_a_competitor_that_nobody_knew_brings_its_label_kind_and_columns(tmp_path: Path) -> None:
    folder = Folder(
        tmp_path / "run", NEWCOMER, MethodCard("coin", "Coin", "floor"), MethodCard("seer", "Seer", "ceiling")
    )
    own = {"stripes": 1234, "contrast": 0.00025, "gait": "trot"}
    folder.row("zebra_50%", "search")
    folder.right(folder.row("zebra_50%", "final", trainable_parameters=7, **own), 4)
    folder.row("zebra_50%", "final", seed=1, status="failed")
    folder.right(folder.row("seer", "final"), 10)
    folder.right(folder.row("coin", "final", trainable_parameters=0), 3)
    for method in ("teacher", "bridge", "kd_logits"):
        folder.final(method)
    run = Run(folder.write())
    assert accuracy.build(run)["label"].to_list() == [
        "Chance", "Coin", "Zebra (50 %)", "Bridge", "KD logits", "Seer", "Teacher"
    ]  # fmt: skip
    assert "Search trials: Zebra (50 %) 1." not in accuracy.caption(run)
    assert "Failed trials: Zebra (50 %) 1 final." in accuracy.caption(run)
    first, *others = shown(run)
    assert (first["Method"], first["Stripes"], first["Contrast"]) == ("Zebra (50 %)", "1,234", "0.00025")
    assert first["Reduction (%)"] == f"{100 * (1 - 7 / 40_000):.1f}"
    assert [row["Stripes"] for row in others] == ["–"] * 4
    headers = list(first)[5:-4]
    assert headers == ["Stripes", "Contrast", "Another rank", "Position i → j", "Prototypes"]  # no column twice
    assert "Stripes: how many it has." in parameters.caption(run)
    assert of(parameters.build(run), "zebra_50%")["gait"] == "trot"
    words = verdict(run)
    assert words.startswith("Best of 3 transfer methods: ")
    assert "Zebra (50 %) was not shown to be worth its 7 trainable parameters: Coin with 0 cannot" in words
    assert "References: seer 100.0 %, teacher" in words
    assert "Zebra (50 %)" in (analysis.write(run.path)[-1]).read_text()  # the figure's legend


def test_both_counts_are_shown_and_reductions_are_of_what_a_gradient_reaches(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "run")
    folder.final("bridge", declared_parameters=1_000)
    folder.final("kd_logits", declared_parameters=50_000)
    run = Run(folder.write())
    bridge, student = shown(run)
    assert (bridge["Reduction (%)"], bridge["Paper's count"]) == ("97.5", "1,000")
    assert (student["Trainable parameters"], student["Paper's count"]) == ("40,000", "50,000")
    assert "Paper's count: " in parameters.caption(run)


def test_what_was_extracted_once_is_shared_by_the_trials_that_read_it(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "run")
    pooled, prepared = {"ecg pooled": 12.0}, {"ppg prepared": 2.0}
    for _ in range(2):
        folder.row("bridge", "search", extraction=json.dumps(pooled))
    folder.final("bridge", extraction=json.dumps(pooled))
    for seed in (0, 1):
        folder.final("kd_logits", seed, extraction=json.dumps(pooled | prepared))
    folder.final("teacher")
    folder.final("oracle_probe", extraction="{}")
    assert [row["Extraction (s a trial)"] for row in shown(Run(folder.write()))] == ["2.4", "3.4", "–", "0"]


def test_a_declared_column_that_every_table_has_is_not_there_twice(tmp_path: Path) -> None:
    own = (Column("stored_parameters", "int", "as of all", "Stored"), Column("epochs", "int", "as of all", "Epochs"))
    folder = Folder(tmp_path / "run", MethodCard("again", "Again", "transfer", columns=own))
    done = folder.row("again", "final", trainable_parameters=1, stored_parameters=2, epochs=3)
    folder.predict(done, "S0", 0, 0, 0, 0)
    row = shown(Run(folder.write()))[0]
    assert (row["Stored parameters"], row["Epochs"]) == ("2", "3")
    assert "Stored" not in row


def test_folds_that_chose_differently_have_a_row_each(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "run")
    for fold, rank in enumerate((4, 8, 8)):
        folder.final("bridge", fold=fold, rank=rank)
    table = parameters.build(Run(folder.write()))
    assert table.select("rank", "done").rows() == [(4, 1), (8, 2)]


# Captions.


def test_every_caption_says_how_the_numbers_came_about(tmp_path: Path) -> None:
    found = tables(Run(finished(tmp_path / "run", seeds=(0, 4), folds=(0, 1))))
    assert [table.name for table in found] == [*TABLES]
    for table in found:
        for said in (
            "simulated, ECG → PPG",
            "Protocol: val",
            "4 search trials for each method in fold 0",
            "Seeds 0, 4; 2 folds",
            "old model hubert_ecg tiny local (trained here on unlabelled windows)",
            "new model papagei tiny from mine.safetensors",
        ):
            assert said in table.caption, (table.name, said)
        assert "/somewhere" not in table.caption


# Runs that are not finished.


def test_search_rows_alone_give_no_results_and_say_so(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "run")
    folder.row("bridge", "search")
    folder.row("bridge", "search", status="failed", error="out of memory")
    folder.row("kd_logits", "search", status="pruned")
    path = folder.write()
    assert not (path / "predictions.parquet").exists()
    assert {written.stem for written in analysis.write(path)} == {"failures", "budget", "report"}
    text = analysis.show(path)
    assert "no final results" in text
    assert "Search trials: Bridge 2, KD logits 1" in text
    assert "Failed trials: Bridge 1 search" in text


@pytest.mark.parametrize("log", [True, False])
def test_a_run_without_any_row_can_be_shown(log: bool, tmp_path: Path) -> None:
    path = Folder(tmp_path / "run").log()
    if not log:
        (path / "rows.jsonl").unlink()  # it is made with the first row
    assert analysis.write(path) == [path / "report.html"]
    assert "no final results" in analysis.show(path)


def test_a_method_that_failed_keeps_its_row(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "run")
    folder.final("bridge", seed=0)
    folder.row("bridge", "final", seed=1, status="failed", error="Traceback ...")
    folder.row("kd_logits", "final", seed=0, status="failed", error="Traceback ...")
    run = Run(folder.write())
    table = accuracy.build(run)
    assert [accuracy.runs(of(table, method)) for method in ("bridge", "kd_logits")] == ["1 of 2", "0 of 1"]
    assert of(table, "kd_logits")["balanced_accuracy"] is None
    assert "Failed trials: Bridge 1 final, KD logits 1 final." in accuracy.caption(run)
    assert parameters.build(run)["method"].to_list() == ["bridge"]
    assert analysis.write(run.path)


def test_one_seed_has_no_deviation(tmp_path: Path) -> None:
    path = finished(tmp_path / "run", seeds=(0,))
    row = of(accuracy.build(Run(path)), "bridge")
    assert row["balanced_accuracy_sd"] is None
    text = analysis.show(path)
    assert f"{100 * row['balanced_accuracy']:.1f}" in text
    assert "±" not in text


TABLES = ("accuracy", "accuracy_folds", "budget", "comparisons", "parameters", "subjects", "transfer")
PARQUET = ("trials.parquet", "predictions.parquet")


def test_a_folder_with_nothing_but_its_log_is_read(tmp_path: Path) -> None:
    path = finished(tmp_path / "run")
    expected = [table.cells() for table in tables(Run(path))]
    for name in PARQUET:
        (path / name).unlink()
    assert [table.cells() for table in tables(Run(path))] == expected
    assert all((path / name).exists() for name in PARQUET)


def test_a_run_that_goes_on_is_shown_as_far_as_it_got(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "run")
    folder.final("bridge")
    path = folder.log()
    assert accuracy.build(Run(path))["method"].to_list() == ["chance", "bridge"]
    before = (path / "trials.parquet").stat().st_mtime_ns
    log = RowLog(path / "rows.jsonl")
    log.add_trial(folder.row("kd_logits", "final", test_balanced_accuracy=0.5))
    log.close()
    os.utime(path / "rows.jsonl", ns=(before + 1, before + 1))  # whatever the resolution of this disk's times
    assert accuracy.build(Run(path))["method"].to_list() == ["chance", "bridge", "kd_logits"]


def test_a_torn_last_line_of_the_log_is_skipped(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "run")
    folder.final("bridge")
    folder.final("kd_logits")
    path = folder.log()
    log = (path / "rows.jsonl").read_bytes()
    (path / "rows.jsonl").write_bytes(log[:-20])
    assert accuracy.build(Run(path))["method"].to_list() == ["chance", "bridge"]
    assert "Bridge" in analysis.show(path)


def test_closing_says_what_failed_and_where_everything_lies(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "run")
    folder.final("bridge")
    path = folder.write()
    words = analysis.closing(path, [path / "a", path / "b", path / "report.html"], 90.0).splitlines()
    assert words[0] == f"Finished in 1.5 minutes. Everything lies in {path}:"
    assert [line[52:].split()[0] for line in words[1:]] == ["all", "a", "2", ".venv/bin/tensorboard"]
    assert {line[50:52] for line in words[1:]} == {"  "}


TRACEBACK = """Traceback (most recent call last):
  File "somewhere.py", line 3, in fit
    raise ValueError("a low block")
ValueError: a low block
"""
LONG = "RuntimeError: " + "no room " * 40
CHAINED = f"""{TRACEBACK}
During handling of the above exception, another exception occurred:

{TRACEBACK.rpartition("ValueError")[0]}{LONG}
Compile with more checks to know more.

"""


def unlucky(path: Path) -> Folder:
    """Trials that failed or diverged beside others that did not."""
    folder = Folder(path)
    for method in ("bridge", "teacher"):
        folder.final(method)
    for error in (TRACEBACK, "out of memory: 2 GiB asked, 1 GiB free\nTraceback ...\nRuntimeError: x\n", TRACEBACK):
        folder.row("kd_logits", "search", status="failed", error=error)
    folder.row("kd_logits", "search", status="diverged", error="diverged: the outputs are not finite after epoch 3")
    for seed in (0, 1):
        folder.row("kd_logits", "final", seed=seed, status="diverged", trainable_parameters=9)
    folder.row("bridge", "search", status="failed", error=CHAINED)
    folder.row("bridge", "search", status="pruned")
    return folder


def test_what_did_not_end_well_has_a_table_that_says_why(tmp_path: Path) -> None:
    run = Run(unlucky(tmp_path / "run").write())
    assert failures.build(run).drop("method").rows() == [
        ("Bridge", "search", "failed", 1, LONG.strip()),
        ("KD logits", "search", "failed", 2, "ValueError: a low block"),
        ("KD logits", "search", "failed", 1, "out of memory: 2 GiB asked, 1 GiB free"),
        ("KD logits", "search", "diverged", 1, "the outputs are not finite after epoch 3"),
        ("KD logits", "final", "diverged", 2, "not recorded"),
    ]
    text = analysis.show(run.path)
    assert max(map(len, text.splitlines())) <= 120
    assert "RuntimeError: no room no room" in text
    assert LONG.strip() not in text
    analysis.write(run.path)
    assert LONG.strip() in (run.path / "tables" / "failures.md").read_text()


def test_trials_that_failed_or_diverged_leave_all_tables_and_no_number(tmp_path: Path) -> None:
    run = Run(unlucky(tmp_path / "run").write())
    assert {written.name for written in analysis.write(run.path)} >= {
        *(f"{name}.md" for name in ("accuracy", "failures", "parameters")), "accuracy_parameters.png"
    }  # fmt: skip
    row = of(accuracy.build(run), "kd_logits")
    assert (row["balanced_accuracy"], accuracy.runs(row)) == (None, "0 of 2")
    assert parameters.build(run)["method"].to_list() == ["bridge", "teacher"]
    assert "Failed trials: Bridge 1 search, KD logits 3 search." in accuracy.caption(run)
    assert "Diverged trials: KD logits 1 search, KD logits 2 final." in accuracy.caption(run)
    assert "Without results on test: KD logits." in verdict(run)


def test_closing_has_a_line_for_each_reason(tmp_path: Path) -> None:
    words = analysis.closing(unlucky(tmp_path / "run").write(), [], 1.0).splitlines()
    assert words[0] == f"1 of 10 trials failed: Bridge, search: {LONG.strip()}"
    assert words[1] == "2 of 10 trials failed: KD logits, search: ValueError: a low block"
    assert words[4] == "2 of 10 trials diverged: KD logits, final: not recorded"
    assert words[5].startswith("Finished in")


# Files.


def test_write_leaves_every_table_and_figure_and_nothing_else(tmp_path: Path) -> None:
    path = finished(tmp_path / "run", folds=(0, 1))
    paths = analysis.write(path)
    there = {found for found in path.rglob("*") if found.is_file()} - {
        path / name for name in ("config.yaml", "plan.json", "rows.jsonl", *PARQUET)
    }
    assert set(paths) == there
    assert {found.relative_to(path).as_posix() for found in there} == {
        *(f"tables/{name}.{end}" for name in TABLES for end in ("md", "csv", "tex")),
        *(f"figures/accuracy_parameters.{end}" for end in ("png", "svg")),
        "report.html",
    }
    read = pl.read_csv(path / "tables" / "accuracy.csv")
    built = accuracy.build(Run(path))
    assert read.columns == built.columns
    assert read["balanced_accuracy"].to_list() == pytest.approx(built["balanced_accuracy"].to_list())


def test_writing_twice_gives_the_same_files(tmp_path: Path) -> None:
    path = finished(tmp_path / "run")
    first = {written: written.read_bytes() for written in analysis.write(path)}
    assert {written: written.read_bytes() for written in analysis.write(path)} == first


def test_figure_has_a_point_per_trained_method_and_a_line_for_chance(tmp_path: Path) -> None:
    from analysis.figures import accuracy_parameters

    run = Run(finished(tmp_path / "run"))
    figure = accuracy_parameters.draw(run)
    assert figure is not None
    (axes,) = figure.axes
    points = {tuple(np.ravel(container[0].get_xydata())) for container in axes.containers}
    table = accuracy.build(run)
    assert points == {
        (TRAINED[method], 100 * of(table, method)["balanced_accuracy"])
        for method in ("bridge", "kd_logits", "teacher", "oracle_probe")
    }
    chance = [line for line in axes.lines if line.get_label().startswith("Chance")]
    assert [line.get_ydata()[0] for line in chance] == [pytest.approx(100 / CLASSES, abs=0.05)]
    assert axes.get_xscale() == "log"
    low, high = axes.get_ylim()
    assert low < 100 / CLASSES < high


def test_no_figure_where_nothing_was_trained(tmp_path: Path) -> None:
    from analysis.figures import accuracy_parameters

    folder = Folder(tmp_path / "run")
    folder.final("majority")
    assert accuracy_parameters.draw(Run(folder.write())) is None


def test_the_positions_that_were_tried_are_drawn_where_a_method_left_them(tmp_path: Path) -> None:
    from analysis.figures import positions

    folder = Folder(tmp_path / "run")
    folder.final("bridge")
    assert positions.draw(Run(folder.write())) is None
    for i, j in itertools.product(range(3), range(2)):
        similarity, chosen = 0.1 * (i + j), (i, j) == (1, 1)
        pair = {"bridge_input": i, "bridge_output": j, "quality": 0.5, "similarity": similarity, "chosen": chosen}
        folder.positions.append({"trial_id": f"{i}-{j}", "fold": 0, **pair})
    path = folder.write()
    figure = positions.draw(Run(path))
    assert figure is not None
    left, right, _ = figure.axes
    assert "chosen i = 1, j = 1" in left.get_title(loc="left")
    assert len(left.patches) == 3
    assert right.images[0].get_array().shape == (3, 2)
    assert path / "figures" / "positions.svg" in analysis.write(path)

    del folder.methods["bridge"], folder.rows[0]
    (path / "rows.jsonl").unlink()
    assert positions.draw(Run(folder.write())) is None  # the file is still there, and nobody's


# Input that cannot be used.


def drop(name: str):
    return lambda path: (path / name).unlink()


def damage(name: str):
    return lambda path: (path / name).write_bytes((path / name).read_bytes()[:100])


def plan(*cards: MethodCard):
    return lambda path: (path / "plan.json").write_text(json.dumps(plan_of({card.name: card for card in cards})))


def rewrite(name: str, *expressions: pl.Expr):
    def change(path: Path) -> None:
        write_parquet(pl.read_parquet(path / name).with_columns(*expressions), path / name)

    return change


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (drop("config.yaml"), "config.yaml is missing"),
        (lambda path: (path / "config.yaml").write_text("a: [1\nb: }"), "config.yaml is not readable YAML"),
        (lambda path: (path / "config.yaml").write_text("- 1\n"), "config.yaml holds a list"),
        (drop("plan.json"), "plan.json is missing"),
        (damage("plan.json"), "plan.json cannot be read"),
        (
            lambda path: (path / "plan.json").write_text(json.dumps({**plan_of({}), "student_parameters": "many"})),
            "student_parameters",
        ),
        (
            lambda path: (path / "plan.json").write_text(json.dumps({**plan_of({}), "classes": [1, 2]})),
            "plan.json holds no list of class names",
        ),
        (
            lambda path: (path / "plan.json").write_text(json.dumps({"methods": []})),
            "plan.json holds no list of class names",
        ),
        (plan(*CARDS[1:]), "has rows of bridge, which plan.json does not declare"),
        (
            plan(*CARDS, MethodCard("other", "Other", "transfer", columns=(Column("rank", "float", ""),))),
            "columns of the methods do not fit together",
        ),
        (
            rewrite("trials.parquet", pl.Series("direction", ["ecg2ppg", "ppg2ecg"])),
            "mixes 2 directions (ecg2ppg, ppg2ecg)",
        ),
        (rewrite("predictions.parquet", pl.lit(-1).alias("label")), "found classes -1 to"),
        (rewrite("trials.parquet", pl.lit("{").alias("extraction")), "column extraction of bridge-0 cannot be read"),
        (rewrite("predictions.parquet", pl.lit(3).alias("prediction")), "to 3, accepted are 0 to 2"),
    ],
)
def test_damaged_folders_are_refused_in_one_line(tmp_path: Path, spoil, said: str) -> None:
    folder = Folder(tmp_path / "run")
    folder.final("bridge", seed=0)
    folder.final("bridge", seed=1)
    path = folder.write()
    spoil(path)
    with pytest.raises(InputError) as refused:
        analysis.write(path)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    assert str(path) in str(refused.value)


def test_a_column_that_came_back_without_values_or_wider_is_accepted(tmp_path: Path) -> None:
    path = finished(tmp_path / "run")
    trials = pl.read_parquet(path / "trials.parquet")
    expected = accuracy.build(Run(path))
    changed = trials.with_columns(
        pl.lit(None).alias("step_seconds"), pl.col("seed").cast(pl.Int32), pl.lit(1).alias("a_new_column")
    )
    write_parquet(changed, path / "trials.parquet")
    table = accuracy.build(Run(path))
    assert table["balanced_accuracy"].to_list() == expected["balanced_accuracy"].to_list()
    assert parameters.build(Run(path))["step_seconds"].drop_nulls().is_empty()
    assert dict(Run(path).rows.collect_schema()) == row_schema(CARDS)


# The command line.


def test_the_command_prints_what_it_wrote(tmp_path: Path) -> None:
    path = finished(tmp_path / "run")
    done = subprocess.run(
        [sys.executable, "-m", "analysis", str(path)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
        check=True,
    )
    assert "Accuracy on the test split" in done.stdout
    assert str(path / "tables" / "parameters.tex") in done.stdout
    assert max(map(len, done.stdout.split(str(path))[0].splitlines())) <= 120


def test_a_run_is_read_without_the_methods_themselves(tmp_path: Path) -> None:
    read = (
        "import sys, pathlib, analysis; path = pathlib.Path(sys.argv[1]); written = analysis.write(path); "
        "analysis.show(path); analysis.closing(path, written, 1.0); print(*sys.modules)"
    )
    command = [sys.executable, "-c", read, str(finished(tmp_path / "run"))]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1], check=True)
    found = set(done.stdout.split())
    assert not found & {"torch", "ray", "baselines", "search_spaces", "benchmark.method", "benchmark.bridge"}


def test_the_command_refuses_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "nowhere")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert "nowhere" in captured.err
    assert main(["accuracy", "--paper"]) == 2
    assert "parameters --paper" in capsys.readouterr().err
