"""What a wearer must give: his first minutes alone are learnt from, and the page has what trials reached."""

import numpy as np

from benchmark.common.progress import silent
from benchmark.frozen.task import Task
from benchmark.perf import minutes
from tests.conftest import changed

SCORE = "test_balanced_accuracy"


def test_every_method_is_measured_with_the_wearers_first_minutes(small, monkeypatch):
    seen = []
    original = Task.calibrated

    def calibrated(task: Task, kind: str) -> Task:
        seen.append((kind, task.config.wearer.first))
        return original(task, kind)

    monkeypatch.setattr(Task, "calibrated", calibrated)
    monkeypatch.setattr(minutes, "EPOCHS", 1)
    rows = minutes.judge(small, 0, "wearer", 0.5, silent)
    assert {*seen} == {("wearer", 30.0)}
    assert [row["method"] for row in rows] == ["teacher", *["probe_hard"] * 3, *["bridge"] * 3]
    assert {(row["calibration"], row["minutes"], row["fold"]) for row in rows} == {("wearer", 0.5, 0)}
    everything = minutes.judge(changed(small, wearer={"first": 30.0}), 0, "none", None, silent)
    assert {kind for kind, _ in seen[7:]} == {"none"}
    assert all(0 <= row["test_balanced_accuracy"] <= 1 for row in (*rows, *everything))


def test_the_page_has_means_over_places_then_over_folds(small):
    rng = np.random.default_rng(0)
    amounts = [("none", None), ("wearer", 1.0), ("wearer", None)]
    scores = rng.random((len(amounts), 3, 3, 2))  # methods, places, folds
    rows = [
        {
            "calibration": kind,
            "minutes": given,
            "method": name,
            "fold": fold,
            "test_balanced_accuracy": scores[a, m, p, fold],
        }
        for a, (kind, given) in enumerate(amounts)
        for m, name in enumerate(minutes.METHODS)
        for p in range(3)
        for fold in range(2)
    ]
    found = minutes.summary(rows)
    folds = scores.mean(2)
    np.testing.assert_allclose(found["accuracy"], folds.mean(2).ravel())
    np.testing.assert_allclose(found["accuracy_sd"], folds.std(2, ddof=1).ravel())
    page = minutes.table(small, found)
    for amount, m in ((0, 0), (1, 1), (2, 2)):
        assert f"{100 * folds[amount, m].mean():.1f} ± {100 * folds[amount, m].std(ddof=1):.1f}" in page
    assert [line.split("|")[1].strip() for line in page.splitlines()[4:7]] == [
        "none, not calibrated",
        "1",
        "all there are",
    ]
    [axes] = minutes.draw(small, found).axes
    drawn = {line.get_label(): line for line in axes.get_lines()}
    assert len(axes.containers) == 3
    assert len(drawn) >= 3
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "all"]
