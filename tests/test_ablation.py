"""The ablation trains what it says it trains, and its page has the means of that."""

import numpy as np
import pytest

from benchmark.common.progress import silent
from benchmark.perf import ablation
from benchmark.registry import options_of
from benchmark.trial.trial import Trial

N = 2 * len(ablation.OBJECTIVES) + len(ablation.PARTS) + len(ablation.MORE)


def test_a_variant_differs_from_the_one_it_is_added_to_in_what_its_name_says():
    found = list(ablation.variants(["none", "wearer"]))
    assert len({one[:3] for one in found}) == len(found) == 2 * N
    plain = options_of("bridge", {**ablation.PLAIN, "objective": "decision"}).model_dump()
    begun = options_of("bridge", {"objective": "decision"})
    for _, objective, added, options in found:
        of = options_of("bridge", options)
        changed = {name for name, value in of.model_dump().items() if value != plain[name]} - {"objective"}
        if added.startswith("defaults"):
            assert (of.start, of.standardises, of.class_weighted) == (begun.start, begun.standardises, True)
            assert changed == {"init", "standardise", "class_weighted", *ablation.MORE.get(added[10:], {})}
        else:
            assert (of.objective, changed) == (objective, {*ablation.PARTS.get(added, {})})


def test_places_are_early_in_the_middle_and_late():
    assert ablation.places(9, 4, few=False) == [(i, j) for i in (2, 4, 8) for j in (0, 2, "head")]
    assert ablation.places(9, 4, few=True) == [(2, 0), (4, 2), (8, "head")]


def test_each_variant_is_trained_for_its_epochs_without_choosing_one(small, monkeypatch):
    trained = []
    original = Trial.test
    monkeypatch.setattr(Trial, "test", lambda self: trained.append((self.spec, self.epoch)) or original(self))
    rows = ablation.judge(small, 0, "wearer", True, 1, silent)
    assert len(rows) == len(trained) == 3 * (N + len(ablation.PROBE))
    assert {epoch for spec, epoch in trained if spec.method == "bridge"} == {1}
    assert {spec.calibration for spec, _ in trained} == {"wearer"}
    assert all(0 <= row["test_balanced_accuracy"] <= 1 for row in rows)


def test_rows_are_in_order_whichever_job_ends_first():
    rows = [
        {"fold": fold, "calibration": kind, "n": n} for fold in (1, 0) for kind in ("wearer", "none") for n in (0, 1)
    ]
    found = ablation.in_order(rows, ["none", "wearer"])
    assert [tuple(row.values()) for row in found] == [
        (fold, kind, n) for fold in (0, 1) for kind in ("none", "wearer") for n in (0, 1)
    ]


def test_the_page_has_means_over_places_of_means_over_folds(small):
    rng = np.random.default_rng(0)
    names = {"calibration": "none", "method": "bridge", "objective": "decision", "added": ""}
    rows = [
        {**names, "where": where, "fold": fold, "test_balanced_accuracy": x, "test_balanced_agreement": x / 2}
        for where in ("a", "b", "c")
        for fold, x in enumerate(rng.random(4))
    ]
    [one] = ablation.summary(rows).to_dicts()
    scores = np.array([row["test_balanced_accuracy"] for row in rows]).reshape(3, 4).mean(1)
    assert one["accuracy"] == pytest.approx(scores.mean())
    assert one["accuracy_sd"] == pytest.approx(scores.std(ddof=1))
    assert one["best"] == pytest.approx(scores.max())
    assert f"{100 * scores.mean():.1f} ± {100 * scores.std(ddof=1):.1f}" in ablation.table(
        small, ablation.summary(rows), 4
    )


def test_a_page_does_not_say_where_recordings_lie_here():
    words = ["data.root=/home/me/eegmat", "data.seed=1", "cache=/tmp/me"]
    assert ablation.shown_words(words) == ["data.root=/path/to/eegmat", "data.seed=1"]
