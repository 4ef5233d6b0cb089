"""Tables and the page's cells against numbers that are computed without ``analysis``."""

import itertools
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from sklearn.metrics import balanced_accuracy_score

import analysis
from analysis import report
from benchmark.results.schema import MethodCard
from tests.recomputed import Again, check
from tests.test_analysis import SKILL, TRAINED, Folder, finished
from tests.test_report import Page, full

ENDS = ("low", "high")
MORE = {"bridge@wearer": 0.9, "kd_logits@wearer": 0.55, "knn": 0.6}
"""Skills of methods beside those of every folder here."""


def folds(path: Path) -> Path:
    return finished(path, folds=(0, 1, 2))


def uneven(path: Path) -> Path:
    """Methods that lack a seed or a fold of others, trials that ended badly, another calibration, stored arrays."""
    cards = [MethodCard(f"{name}@wearer", f"{name}, wearer", "transfer") for name in ("bridge", "kd_logits")]
    folder = Folder(path, MethodCard("knn", "Neighbours", "transfer"))
    folder.methods |= {card.name: card for card in cards}
    for method in (*SKILL, *MORE):
        seeds = (0,) if method in ("teacher", "oracle_probe") else (0, 1, 2)
        for seed, fold in itertools.product(seeds, (0, 1)):
            if (method, seed, fold) in (("kd_logits", 1, 1), ("knn", 0, 0)):
                folder.row(method, "final", seed=seed, fold=fold, status="failed", error="ValueError: no")
                continue
            with pytest.MonkeyPatch.context() as patch:
                patch.setitem(SKILL, method, (SKILL | MORE)[method])
                patch.setitem(TRAINED, method, TRAINED.get(method, 500))
                values = {"calibration": "wearer"} if "@" in method else {}
                folder.final(
                    method, seed, fold, subjects=5 + fold, epochs=None if method == "knn" else 4,
                    pair_balanced_accuracy=0.5 + seed / 10, pair_balanced_agreement=0.6, val_balanced_agreement=0.55,
                    extraction='{"a": 3.0, "b": 1.5}' if seed else '{"a": 3.0}', **values,
                )  # fmt: skip
                windows = folder.predictions[folder.rows[-1]["trial_id"]]
                agreed = [[window[name] for window in windows] for name in ("teacher_prediction", "prediction")]
                folder.rows[-1]["test_balanced_agreement"] = balanced_accuracy_score(*agreed)
    for number in range(5):
        status = ("done", "diverged", "failed", "done", "done")[number]
        error = {"diverged": "diverged: not finite", "failed": "Traceback (most recent call last):\n  x\nKeyError: 1"}
        folder.row(
            "bridge", "search", status=status, error=error.get(status), inner_folds=number or None,
            training_windows=100 * number, train_seconds=0.5, val_balanced_agreement=0.5,
        )  # fmt: skip
    return folder.write()


@pytest.mark.parametrize("made", [finished, folds, uneven, full])
def test_every_number_of_the_tables_is_that_of_rows_and_predictions(made: Callable, tmp_path: Path) -> None:
    path = made(tmp_path / "run")
    analysis.write(path)
    assert check(path) > 100


def test_another_number_is_found(tmp_path: Path) -> None:
    path = full(tmp_path / "run")
    analysis.write(path)
    again = Again(path)
    assert check(path, again)
    for name in ("accuracy", "comparisons", "parameters", "subjects", "budget"):
        table = path / "tables" / f"{name}.csv"
        text = table.read_text()
        last = [found.end() - 1 for found in re.finditer(r",(0\.0*)?[1-9]", text)][-1]
        table.write_text(f"{text[:last]}{int(text[last]) - 1}{text[last + 1 :]}")
        with pytest.raises(AssertionError):
            check(path, again)
        table.write_text(text)


def test_the_page_shows_these_numbers(tmp_path: Path) -> None:
    path = uneven(tmp_path / "run")
    analysis.write(path)
    again, page = Again(path), Page(path / report.NAME)
    labels = {card.name: card.label for card in Folder(path).methods.values()} | {"knn": "Neighbours"}
    shown = {row[0]: row[1:] for row in page.rows["accuracy"]}
    for (method,), cells in again.accuracy().items():
        if method in labels and "balanced_accuracy_low" in cells:
            value, bounds = shown[labels[method]][:2]
            deviation = f" ± {100 * cells['balanced_accuracy_sd']:.1f}" if "balanced_accuracy_sd" in cells else ""
            assert value == f"{100 * cells['balanced_accuracy']:.1f}{deviation}"
            assert bounds == "[{:.1f}, {:.1f}]".format(*(100 * cells[f"balanced_accuracy_{end}"] for end in ENDS))
    compared = {row[0]: row[1:] for row in page.rows["comparisons"]}
    for (method,), cells in again.comparisons().items():
        if method in labels:
            difference, _, p, *_ = compared[labels[method]]
            assert difference.replace("−", "-") == f"{100 * cells['difference']:.1f}"
            assert p == ("< 0.001" if cells["p"] < 0.001 else f"{cells['p']:.3f}")
    assert len(shown) > 8
    assert len(compared) > 6
