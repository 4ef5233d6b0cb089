"""What a search with several objectives leaves behind: its Pareto set, in a table and drawn; and what a search took."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from analysis.figures import pareto as figure
from analysis.run import Run
from analysis.tables import budget, pareto
from benchmark.errors import InputError
from benchmark.registry import configure
from tests.test_analysis import Folder


def searched(path: Path, objectives: str = "[agreement, trainable_parameters]") -> Run:
    """Twenty trials of two methods in two folds; some on fewer inner folds, one failed."""
    folder, rng = Folder(path), np.random.default_rng(0)
    for method in ("bridge", "kd_logits"):
        for fold, number in np.ndindex(2, 20):
            folder.row(
                method,
                "search",
                fold=fold,
                trial_id=f"{method}-fold{fold}-{number:03d}",
                inner_folds=4 if number % 2 else 1,
                status="failed" if number == 3 else "done",
                trainable_parameters=int(rng.integers(1, 6)) * 100,
                val_balanced_agreement=round(float(rng.random()), 1),  # with ties
                score_standard_error=0.02,
                training_windows=100,
                train_seconds=0.5,
            )
    written = folder.write()
    config = written / "config.yaml"
    config.write_text(f"{config.read_text()}search: {{objectives: {objectives}}}\n")
    return Run(written)


def test_the_pareto_set_is_that_of_trials_parquet(tmp_path):
    run = searched(tmp_path)
    expected = set()
    rows = pl.read_parquet(tmp_path / "trials.parquet").to_dicts()
    for row in rows:
        rivals = [
            (other["val_balanced_agreement"], other["trainable_parameters"])
            for other in rows
            if (other["method"], other["fold"], other["status"]) == (row["method"], row["fold"], "done")
            and other["inner_folds"] == 4
        ]
        a, n = row["val_balanced_agreement"], row["trainable_parameters"]
        if (a, n) in rivals and row["status"] == "done" and row["inner_folds"] == 4:
            beaten = any(b >= a and m <= n and (b, m) != (a, n) for b, m in rivals)
            expected |= set() if beaten else {row["trial_id"]}
    found = pareto.build(run)
    assert set(found["trial_id"]) == expected
    assert 4 <= len(expected) < 36
    assert found["val_balanced_agreement"].to_list() == [
        value
        for _, part in found.group_by("method", "fold", maintain_order=True)
        for value in sorted(part["val_balanced_agreement"], reverse=True)
    ]
    drawn = figure.draw(run)
    assert drawn is not None
    [axes] = drawn.axes
    points = {tuple(offset) for part in axes.collections[1::2] for offset in np.asarray(part.get_offsets())}
    first = found.filter(pl.col("fold") == 0)
    assert points == set(first.select("trainable_parameters", "val_balanced_agreement").iter_rows())


def test_one_objective_has_no_pareto_set(tmp_path):
    run = searched(tmp_path, "[agreement]")
    assert pareto.build(run).is_empty()
    assert figure.draw(run) is None


def test_the_budget_is_counted_in_trials_windows_and_seconds(tmp_path):
    found = budget.build(searched(tmp_path))
    assert found["label"].to_list() == ["Bridge", "KD logits"]
    for name, value in (("trials", 40), ("trainings", 100), ("training_windows", 4000), ("train_seconds", 20.0)):
        assert found[name].to_list() == [value, value]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["search.objectives=[speed]"], r"search.objectives.*speed.*trainable_parameters"),
        (["search.objectives=[trainable_parameters]"], "give agreement first"),
        (["search.objectives=[agreement,agreement]"], "twice"),
        (["search.objectives=[agreement,stored_parameters]", "search.sampler=cmaes"], "goes by one objective"),
        (["search.rule=smallest"], "search.rule.*one_standard_error"),
        (["protocol=agreement"], "protocol.*cross_validation, val"),
    ],
)
def test_objectives_and_rules_that_do_not_exist_are_refused(words, said):
    with pytest.raises(InputError, match=said):
        configure(words)
