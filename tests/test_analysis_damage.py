"""A folder that is damaged, or of another version: one line each, and whatever can still be shown."""

import os
import warnings
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from analysis import report
from analysis.__main__ import main
from analysis.run import Run
from analysis.tables import tables
from benchmark.errors import InputError, Notice
from benchmark.results.schema import write_parquet
from tests.test_analysis import finished

Spoil = Callable[[Path], object]
OLD = ("calibration", "leakage", "declared_parameters", "inner_folds", "folds", "score_standard_error")
"""Columns that earlier versions did not have."""


def cut(name: str, share: float = 0.5) -> Spoil:
    return lambda path: os.truncate(path / name, int(share * (path / name).stat().st_size))


def blank(name: str) -> Spoil:
    """The file's end, and with it what it says of itself, is whole; all before is nought."""

    def change(path: Path) -> None:
        content = (path / name).read_bytes()
        body = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
        (path / name).write_bytes(bytes(body) + content[body:])

    return change


def without(name: str, *columns: str) -> Spoil:
    return lambda path: write_parquet(pl.read_parquet(path / name).drop(columns), path / name)


def other(name: str, column: str) -> Spoil:
    return lambda path: write_parquet(
        pl.read_parquet(path / name).with_columns(pl.lit("many").alias(column)), path / name
    )


def shown(path: Path, page: bool = True) -> tuple[dict[str, list[list[str]]], list[str]]:
    """Cells of all tables, and what was said meanwhile; of what is left of the run, a report is written, too."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run = Run(path)
        made = tables(run)
        if page:
            report.write([run], path / report.NAME, [made])
    found = {table.name: table.cells() for table in made}
    return found, [str(one.message) for one in caught if issubclass(one.category, Notice)]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (cut("trials.parquet"), "trials.parquet is not a readable Parquet file"),
        (cut("predictions.parquet"), "predictions.parquet is not a readable Parquet file"),
        (cut("trials.parquet", 0), "trials.parquet is not a readable Parquet file"),
        (blank("trials.parquet"), "trials.parquet is not a readable Parquet file"),
        (lambda path: (path / "predictions.parquet").unlink(), "predictions.parquet is missing"),
        (
            without("trials.parquet", "seed", "rank"),
            "trials.parquet lacks the columns seed, rank, since another",
        ),
        (without("trials.parquet", *OLD), "trials.parquet lacks the columns calibration, leakage, "),
        (other("trials.parquet", "rank"), "trials.parquet has columns of other types (rank: String in place of Int64)"),
    ],
)
def test_with_its_log_a_damaged_table_is_made_again(spoil: Spoil, said: str, tmp_path: Path) -> None:
    path = finished(tmp_path / "run", seeds=(0, 1), folds=(0, 1))
    expected, nothing = shown(path, page=False)
    assert nothing == []
    spoil(path)
    found, notices = shown(path)
    assert found == expected
    assert len(notices) == 1
    assert said in notices[0]
    assert notices[0].startswith(str(path))
    assert notices[0].endswith("; it is made again from rows.jsonl")
    assert "\n" not in notices[0]
    assert shown(path, page=False) == (expected, [])


@pytest.mark.parametrize(
    ("spoil", "said", "lost"),
    [
        (without("trials.parquet", *OLD), "trials.parquet lacks the columns calibration, ", set()),
        (
            without("predictions.parquet", "teacher_confidence"),
            "predictions.parquet lacks the columns teacher_c",
            set(),
        ),
        (other("trials.parquet", "rank"), "trials.parquet has columns of other types (rank: ", set()),
        (cut("predictions.parquet"), "predictions.parquet is not a readable Parquet", {"comparisons", "subjects"}),
        (lambda path: (path / "predictions.parquet").unlink(), "is missing; what", {"comparisons", "subjects"}),
    ],
)
def test_without_a_log_what_can_be_shown_is(spoil: Spoil, said: str, lost: set[str], tmp_path: Path) -> None:
    path = finished(tmp_path / "run", seeds=(0, 1), folds=(0, 1))
    (path / "rows.jsonl").unlink()
    expected, _ = shown(path, page=False)
    spoil(path)
    found, notices = shown(path)
    assert len(notices) == 1
    assert said in notices[0]
    assert notices[0].endswith("; what needs it is left out")
    assert set(found) == set(expected) - lost
    assert found["accuracy_folds"] == expected["accuracy_folds"]
    assert (found["accuracy"] == expected["accuracy"]) == (not lost)
    # Of a method there is no value where there is no prediction.
    assert all(row[1] != "–" for row in found["accuracy"]) == (not lost)
    for name in set(found) - {"accuracy", "parameters", "budget"}:
        assert found[name] == expected[name], name


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (cut("trials.parquet"), "trials.parquet is not a readable Parquet file"),
        (without("trials.parquet", "method"), "trials.parquet lacks the columns method"),
        (other("trials.parquet", "seed"), "(seed: String in place of Int64)"),
        (
            lambda path: (without("trials.parquet", "rank")(path), blank("trials.parquet")(path)),
            "is not a readable Parquet",
        ),
    ],
)
def test_what_nothing_can_be_shown_of_is_refused_in_a_line(
    spoil: Spoil, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = finished(tmp_path / "run", seeds=(0,))
    (path / "rows.jsonl").unlink()
    spoil(path)
    assert main([str(path)]) == 2
    out, error = capsys.readouterr()
    assert (out, error.count("\n")) == ("", 1)
    assert said in error
    assert "restore it, or the rows.jsonl that the run wrote" in error


def test_what_is_read_late_and_damaged_is_refused_in_a_line(tmp_path: Path) -> None:
    path = finished(tmp_path / "run", seeds=(0,))
    run = Run(path)
    blank("trials.parquet")(path)
    with pytest.raises(InputError, match="cannot be read to its end") as refused:
        run.texts(run.trials["trial_id"], "config", "versions", "folds")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("line", "said"),
    [(-1, "the last line, 18, was not written to its end"), (4, "line 5 is damaged"), (0, "line 1 is damaged")],
)
def test_of_a_torn_log_the_other_lines_are_shown(
    line: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = finished(tmp_path / "run", seeds=(0, 1), folds=(0,))
    rows = (path / "rows.jsonl").read_bytes().splitlines(keepends=True)
    for name in ("trials.parquet", "predictions.parquet"):
        (path / name).unlink()
    torn = rows[line][: len(rows[line]) // 2]
    rows[line] = torn if line == -1 else torn.replace(b"\n", b"") + b"\n"
    (path / "rows.jsonl").write_bytes(b"".join(rows))
    assert main([str(path)]) == 0
    out, error = capsys.readouterr()
    assert error == f"warning: {path / 'rows.jsonl'}: {said}; it is left out\n"
    assert "Accuracy on the test split" in out
    assert Run(path).trials.height == len(rows) - 1
