"""What the ways to choose are worth is measured by the ways themselves, on people whom no choice has seen."""

import numpy as np
import polars as pl
import pytest

from benchmark.common.progress import silent
from benchmark.frozen.task import open_task
from benchmark.perf import choice


@pytest.fixture
def few(tmp_path, monkeypatch):
    for name, value in {"SUBJECTS": (2, 4), "TRAINED": 2, "FRESH": 4, "CONFIGURATIONS": 4, "EVERY": 1}.items():
        monkeypatch.setattr(choice, name, value)
    words = ("old.weights=random", "new.weights=random", "bridge.epochs=2")
    monkeypatch.setattr(choice, "WORDS", (*(word for word in choice.WORDS if "epochs" not in word), *words))
    return choice.settings(2, tmp_path)


@pytest.mark.parametrize("method", choice.METHODS)
def test_each_rule_is_held_against_the_best_on_fresh_people(few, method):
    rows = choice.judge(few, method, 4, 1, silent)
    assert [row["rule"] for row in rows] == list(choice.RULES)
    assert all(-1 <= row[name] <= 1 for row in rows for name in ("regret", "optimism"))
    assert rows == choice.judge(few, method, 4, 1, silent)
    one, other = rows[1:]  # of the same folds
    assert other["parameters"] <= one["parameters"]


def test_repeats_have_people_of_their_own_and_nobody_is_fresh_to_himself(few, monkeypatch):
    seen = []
    original = choice._searched

    def searched(task, config, study):
        seen.append({part: set(task.data.subject[task.indices(part)].tolist()) for part in ("pair", "val", "test")})
        return original(task, config, study)

    monkeypatch.setattr(choice, "_searched", searched)
    for repeat in range(2):
        choice.judge(few, "probe_hard", 4, repeat, silent)
    for parts in seen:
        assert not parts["pair"] & parts["val"]
        assert not (parts["pair"] | parts["val"]) & parts["test"]
        assert len(parts["pair"] | parts["val"]) == 4
    assert not (seen[0]["pair"] | seen[0]["val"]) & (seen[-1]["pair"] | seen[-1]["val"])
    frozen = set(open_task(few, 0).data.subject[open_task(few, 0).indices("train")].tolist())
    assert not frozen & set.union(*(one for parts in seen for one in parts.values()))


def test_the_page_has_means_and_standard_errors(tmp_path):
    rng = np.random.default_rng(0)
    rows = [
        {"method": method, "subjects": n, "repeat": k, "rule": rule, "parameters": 10, "regret": x, "optimism": 2 * x}
        for method in choice.METHODS
        for n in choice.SUBJECTS
        for rule in choice.RULES
        for k, x in enumerate(rng.random(5))
    ]
    found = choice.summary(rows)
    [one] = found.filter(
        (pl.col("method") == "bridge") & (pl.col("subjects") == 8) & (pl.col("rule") == "best")
    ).to_dicts()
    own = [row["regret"] for row in rows if (row["method"], row["subjects"], row["rule"]) == ("bridge", 8, "best")]
    assert one["regret"] == pytest.approx(np.mean(own))
    assert one["regret_sd"] == pytest.approx(np.std(own, ddof=1) / np.sqrt(5))
    assert f"{100 * np.mean(own):.1f}" in choice.table(found)
    assert len(choice.draw(found).axes) == 4
