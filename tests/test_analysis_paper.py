"""The paper's parameter table, counted on the real models without their weights."""

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from analysis import paper

PUBLISHED = {
    "wesad_ppg2ecg": (398_784, 30_368_131, 98.7),
    "wesad_ecg2ppg": (188_912, 5_787_151, 96.7),
    "isruc_eeg2ecg": (1_813_984, 30_367_618, 94.0),
    "isruc_ecg2eeg": (140_000, 5_797_740, 97.6),
    "fog_eeg2emg": (1_209_408, 136_113_866, 99.1),
    "fog_emg2eeg": (712_000, 5_794_940, 87.7),
}


def test_counts_are_those_of_the_paper() -> None:
    table = paper.build()
    found = {
        row["experiment"]: (
            row["bridge_parameters"], row["published_student"], round(100 * row["published_reduction"], 1)
        )
        for row in table.iter_rows(named=True)
    }  # fmt: skip
    assert found == PUBLISHED
    formula = (
        pl.col("rank") * pl.col("new_features")
        + pl.col("prototypes") * pl.col("old_tokens") * pl.col("rank")
        + pl.col("old_features") * pl.col("prototypes")
    )
    assert table.select((formula == pl.col("bridge_parameters")).all()).item()


IDLE = {"hubert_ecg": 157_440, "papagei": 1_056_332, "labram": 802, "normwear": 8_425_416}
"""Parameters of the published students that no gradient reaches; of NormWear's, 716,800 are fixed tables."""


def test_reductions_are_of_what_a_gradient_reaches_and_the_published_ones_stand_beside_them() -> None:
    for row in paper.build().iter_rows(named=True):
        assert row["published_student"] - row["student_parameters"] == IDLE[row["new_model"]], row["experiment"]
        assert row["reduction"] == pytest.approx(1 - row["bridge_parameters"] / row["student_parameters"])
        assert row["reduction"] < row["published_reduction"]
    headers = [column.header for column in paper.columns()]
    assert headers[-5:] == ["Bridge", "Student, published", "Reduction, published (%)", "Student", "Reduction (%)"]


def test_nothing_is_allocated() -> None:
    for sides in paper.MODELS.values():
        for model in sides.values():
            assert {parameter.device.type for parameter in model.build().parameters()} == {"meta"}


@pytest.mark.slow
def test_the_command_writes_the_table_in_20_s_and_2_gib(tmp_path: Path) -> None:
    measured = (
        "import resource, sys; from analysis.__main__ import main; code = main(sys.argv[1:]); "
        "used = resource.getrusage(resource.RUSAGE_SELF); "
        "print(used.ru_utime + used.ru_stime, used.ru_maxrss * 1024); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", measured, "parameters", "--paper", "--out", str(tmp_path)],
        cwd=Path(__file__).parents[1],
        check=True,
        capture_output=True,
        text=True,
    )
    seconds, peak = map(float, done.stdout.splitlines()[-1].split())
    assert seconds < 20
    assert peak < 2 * 2**30
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parameters.csv", "parameters.md", "parameters.tex"]
    text = (tmp_path / "parameters.md").read_text()
    for bridge, student, reduction in PUBLISHED.values():
        assert f"{bridge:,} | {student:,} | {reduction}" in text


def test_position_and_shapes_come_from_the_encoders() -> None:
    row = paper.build().row(by_predicate=pl.col("experiment") == "fog_emg2eeg", named=True)
    assert (row["old_tokens"], row["old_features"], row["new_features"]) == (1680, 768, 200)
    assert row["published_reduction"] == pytest.approx(1 - 712_000 / 5_794_940)
