"""Where the transfer loses, each number against an independent computation from rows and predictions."""

from pathlib import Path

import numpy as np
import pytest

from analysis.run import Run
from analysis.tables import confidence, subjects, tables, transfer
from tests.test_analysis import Folder

SAID = {  # method: (epochs, accuracy, agreement)
    "bridge": (20, 0.60, 0.65),
    "kd_logits": (0, 0.70, 0.72),  # stands for a closed form here
    "teacher": (0, 0.85, 1.0),
    "oracle_probe": (0, 0.82, 0.75),
    "majority": (0, 0.33, 0.33),
}


def run(path: Path, *leave_out: str) -> Run:
    folder, rng = Folder(path), np.random.default_rng(0)
    for method, (epochs, accuracy, agreement) in SAID.items():
        if method in leave_out:
            continue
        for seed in range(2):
            row = folder.row(
                method,
                "final",
                seed=seed,
                epochs=epochs,
                calibration="none",
                test_balanced_accuracy=accuracy + 0.02 * seed,
                test_balanced_agreement=agreement,
                pair_balanced_accuracy=0.9,
                pair_balanced_agreement=0.95,
                val_balanced_agreement=0.8,
                trainable_parameters=10,
                test_agreement=agreement,
            )
            for window in range(40):
                values = (f"S{window // 10}", int(rng.integers(3)), int(rng.integers(3)), int(rng.integers(3)), window)
                folder.predict(row, *values)
                folder.predictions[row["trial_id"]][-1]["teacher_confidence"] = float(rng.random())
    return Run(folder.write())


def test_each_step_has_the_means_of_its_rows_and_the_largest_loss_is_named(tmp_path):
    found = run(tmp_path)
    rows = {row["step"]: row for row in transfer.build(found).iter_rows(named=True)}
    expected = {"teacher": 0.86, "encoder": 0.83, "map": 0.71, "pair": 0.9, "held out": None, "test": 0.61}
    assert {step: row["accuracy"] for step, row in rows.items()} == pytest.approx(expected)
    assert [rows[step]["agreement"] for step in ("pair", "held out", "test")] == pytest.approx([0.95, 0.8, 0.65])
    lost = {"the teacher": 0.14, "the new encoder": 0.03, "the map": 0.12, "the training": 0.10, "the choice": 0.15}
    assert transfer.losses(found, "none") == pytest.approx(lost)
    assert transfer.caption(found).startswith("The choice loses most (the teacher 14.0, the new encoder 3.0")


def test_what_a_run_has_not_is_left_out(tmp_path):
    found = run(tmp_path, "oracle_probe", "kd_logits")
    assert set(transfer.losses(found, "none")) == {"the teacher", "the choice"}
    assert "best closed form" not in {transfer.WHERE[step] for step in transfer.build(found)["step"]}


def test_agreement_by_confidence_and_by_subject_is_counted_from_predictions(tmp_path):
    found = run(tmp_path)
    windows = [row for row in found.final_predictions.to_dicts() if row["method"] == "bridge"]
    windows.sort(key=lambda row: row["teacher_confidence"])
    table = confidence.build(found)
    assert table["windows"].to_list() == [20] * 4
    for k, row in enumerate(table.iter_rows(named=True)):
        mine = windows[20 * k : 20 * (k + 1)]
        assert row["agreement"] == pytest.approx(np.mean([w["prediction"] == w["teacher_prediction"] for w in mine]))
        assert row["accuracy"] == pytest.approx(np.mean([w["prediction"] == w["label"] for w in mine]))
        assert row["to"] == mine[-1]["teacher_confidence"]
    for row in subjects.build(found).iter_rows(named=True):
        mine = [w for w in windows if w["subject"] == row["subject"]]
        assert row["bridge"] == pytest.approx(np.mean([w["prediction"] == w["label"] for w in mine]))
        assert row["windows"] == 10


def test_long_tables_are_for_files(tmp_path):
    long = {table.name for table in tables(run(tmp_path)) if table.long}
    assert long == {"confidence", "subjects"}
