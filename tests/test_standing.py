"""The reference against the best of the others, run by run and calibration by calibration."""

from dataclasses import replace
from pathlib import Path

import pytest

from analysis import pairs
from analysis.across import standing
from analysis.run import Run
from analysis.tables import accuracy
from tests.test_analysis import SKILL, TRAINED, Folder

METHODS = ("bridge", "kd_logits", "ridge")
SKILLS = {"bridge": 0.2, "kd_logits": 0.95, "ridge": 0.5, "bridge@wearer": 0.9, "kd_logits@wearer": 0.3}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Two methods under two calibrations, and a third without any; ten subjects."""
    folder = Folder(tmp_path / "one")
    cards = dict(folder.methods)
    for name in SKILLS:
        base, _, kind = name.partition("@")
        card = cards.get(base) or replace(cards["kd_logits"], name=base, label="Linear map")
        folder.methods[name] = replace(card, name=name, label=f"{card.label}, {kind}" if kind else card.label)
    for name, skill in SKILLS.items():
        monkeypatch.setitem(SKILL, name, skill)
        monkeypatch.setitem(TRAINED, name, 2_000 if "wearer" in name else 1_000)
        folder.final(name, subjects=10, calibration=name.partition("@")[2] or "none")
    for name in ("teacher", "oracle_probe"):
        folder.final(name, subjects=10, calibration="none")
    return Run(folder.write())


def test_each_calibration_has_a_row_against_the_best_of_its_own(run: Run) -> None:
    none, wearer = standing.build([run]).iter_rows(named=True)
    scores = {row["method"]: row["balanced_accuracy"] for row in accuracy.build(run).iter_rows(named=True)}
    assert (none["calibration"], none["best"], none["others"]) == ("none", "KD logits", 2)
    assert (wearer["calibration"], wearer["best"], wearer["others"]) == ("wearer", "KD logits", 1)
    assert none["accuracy"] == scores["bridge"]
    assert none["best_accuracy"] == scores["kd_logits"]
    assert none["difference"] == pytest.approx(scores["bridge"] - scores["kd_logits"])
    assert wearer["difference"] == pytest.approx(scores["bridge@wearer"] - scores["kd_logits@wearer"])
    assert (none["ahead"], none["behind"]) == (0, 2)
    assert (wearer["ahead"], wearer["behind"]) == (1, 0)
    assert none["different"]
    assert wearer["different"]
    assert none["share"] == 1_000 / run.student_parameters
    assert wearer["share"] == 2_000 / run.student_parameters


def test_p_is_adjusted_over_the_others_of_the_same_calibration_alone(run: Run) -> None:
    found = standing.within_calibrations(run)
    assert {kind: [(pair.a, pair.b) for pair in family] for kind, family in found.items()} == {
        "none": [("bridge", "kd_logits"), ("bridge", "ridge")],
        "wearer": [("bridge@wearer", "kd_logits@wearer")],
    }
    for family in found.values():
        assert [pair.p_holm for pair in family] == pairs.holm([pair.p for pair in family])
        assert {pair.tests for pair in family} == {len(family)}


def test_its_table_says_how_far_it_is_and_what_loses(run: Run) -> None:
    (table,) = standing.tables([run])
    cells = [dict(zip((column.header for column in table.columns), row, strict=True)) for row in table.cells()]
    assert [row["Calibration"] for row in cells] == ["none", "wearer"]
    assert [row["Told apart"] for row in cells] == ["yes", "yes"]
    assert [row["Ahead, behind"] for row in cells] == ["0, 2 of 2", "1, 0 of 1"]
    assert [row["Parameters (%)"] for row in cells] == ["2.5", "5.0"]
    assert cells[0]["Loses most"].startswith("the ")
    assert "Holm: adjusted over the others of the same run and calibration." in table.caption


def test_a_run_of_one_method_has_no_row_and_is_no_error(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "alone")
    folder.final("bridge")
    assert standing.tables([Run(folder.write())]) == []
