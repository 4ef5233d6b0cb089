"""Two runs beside each other, against a direct computation from the predictions of both."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.stats import PermutationMethod, wilcoxon
from sklearn.metrics import balanced_accuracy_score

from analysis.__main__ import main
from analysis.across import compare
from analysis.run import Run
from benchmark.results.schema import write_parquet
from tests.test_analysis import CONFIG
from tests.test_pairs import CARDS, COIN, Paired

SUBJECTS = 9


def run(path: Path, seeds: tuple[int, ...], rng: np.random.Generator, ahead: int, config: str = CONFIG) -> Run:
    """``first`` gets as many tenths more, ``second`` is a coin's, and the last subject of a seed is missing."""
    folder = Paired(path, *CARDS[:2], COIN)
    for seed in seeds:
        for method, more in (("first", ahead), ("second", 0), ("coin", 0)):
            tenths = np.clip(rng.integers(2, 6, SUBJECTS) + more, 0, 10)
            folder.say(method, tenths[: SUBJECTS - (seed == 7)].tolist(), seed=seed)
    for row in folder.rows:
        row["versions"] = json.dumps({"torch": f"2.{len(seeds)}", "machine": "x86_64"})
    folder.write()
    (path / "config.yaml").write_text(config)
    return Run(path)


def test_differences_are_paired_by_subject_over_what_both_judge(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    config = CONFIG.replace("protocol: val", "protocol: val_labels\nname: two\nepochs: 3")
    one, two = run(tmp_path / "one", (0, 1), rng, 0), run(tmp_path / "two", (0, 7, 8), rng, 4, config)
    rows = {row["method"]: row for row in compare.build(one, two).iter_rows(named=True)}
    assert list(rows) == ["coin", "first", "second"]
    p = {}
    for method, row in rows.items():
        each, values = [], []
        for found in (two, one):
            windows = found.predictions.filter(pl.col("method") == method, pl.col("subject") != f"F0S{SUBJECTS - 1}")
            seeds = [mine for _, mine in windows.group_by("seed", maintain_order=True)]
            values.append(np.mean([balanced_accuracy_score(w["label"], w["prediction"]) for w in seeds]))
            right = windows.with_columns(right=pl.col("label") == pl.col("prediction"))
            each.append(right.group_by("subject").agg(pl.col("right").mean()).sort("subject")["right"].to_numpy())
        assert row["difference"] == pytest.approx(values[0] - values[1])
        assert (row["subjects"], row["partial"]) == (SUBJECTS - 1, True)
        # Every subject has as many windows of each class, so that shares are accuracies.
        differences = np.round(each[0] - each[1], 12)
        assert len(set(np.abs(differences)) - {0}) > 3
        exact = wilcoxon(differences, zero_method="pratt", method=PermutationMethod(n_resamples=2**SUBJECTS))
        p[method] = row["p"]
        assert row["p"] == pytest.approx(exact.pvalue)
        assert row["difference_low"] <= row["difference"] <= row["difference_high"]
        assert row["second"] != pytest.approx(values[0])  # of all its subjects
    low, high = sorted(("first", "second"), key=lambda method: p[method])
    assert rows[low]["p_holm"] == pytest.approx(2 * p[low])
    assert rows[high]["p_holm"] == pytest.approx(max(min(1, 2 * p[low]), p[high]))
    assert rows["coin"]["p_holm"] == rows["coin"]["p"]  # a family of its own
    assert [rows[method]["different"] for method in ("coin", "first", "second")] == [False, True, False]
    changed, compared = compare.tables(one, two)
    assert changed.frame.rows() == [
        ("epochs", None, "3"),
        ("protocol", "val", "val_labels"),
        ("version of torch", "2.2", "2.3"),
    ]
    assert "two minus one, over the subjects that both judge. Some are in the test of one run alone" in compared.caption
    assert [row[-2] for row in compared.cells()] == ["no", "yes", "no"]


@pytest.mark.parametrize(
    ("config", "plan", "said"),
    [
        (CONFIG.replace("name: simulated", "name: other"), {}, "simulated and other have other people"),
        (CONFIG.replace("simulated,", "simulated, seed: 1,"), {}, "the simulated people are others, since data.seed"),
        (CONFIG, {"classes": ["a", "b", "c"]}, "the classes differ (class 0, class 1, class 2; a, b, c)"),
    ],
)
def test_runs_of_other_people_are_shown_untested_and_it_is_said_why(
    config: str, plan: dict, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(1)
    run(tmp_path / "one", (0,), rng, 0, config.replace("seed: 1", "seed: 0").replace("other", "simulated"))
    run(tmp_path / "two", (0,), rng, 4, config)
    declared = tmp_path / "two" / "plan.json"
    declared.write_text(json.dumps(json.loads(declared.read_text()) | plan))
    assert main(["compare", str(tmp_path / "one"), str(tmp_path / "two"), "--out", str(tmp_path / "out")]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert f"Nothing is tested: subjects of the two runs cannot be paired ({said}" in text
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"{name}.{end}" for name in ("changed", "compared") for end in ("md", "csv", "tex")
    }
    assert pl.read_csv(tmp_path / "out" / "compared.csv")["difference"].null_count() == 3


def test_runs_without_a_common_subject_or_any_result_can_be_compared(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    one, two = run(tmp_path / "one", (0,), rng, 0), run(tmp_path / "two", (0,), rng, 4)
    write_parquet(two.predictions.with_columns(subject="T" + pl.col("subject")), two.path / "predictions.parquet")
    assert "no subject is in the test of both" in compare.tables(one, Run(two.path))[1].caption
    nothing = Run(Paired(tmp_path / "none", *CARDS).log())
    assert "No method has results in both" in compare.tables(one, nothing)[1].caption


@pytest.mark.parametrize("words", [["compare", "a"], ["compare", "a", "b", "c"]])
def test_two_runs_are_compared_at_a_time(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert "give 2: compare results/<name> results/<other>" in capsys.readouterr().err
