"""Several runs in one table."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from analysis import summary
from analysis.run import Run
from analysis.tables import accuracy
from benchmark.errors import InputError
from tests.test_analysis import Folder, finished


def test_each_run_has_its_column_and_the_mean_is_over_those_that_have_the_method(tmp_path: Path) -> None:
    runs = [Run(finished(tmp_path / name, seeds)) for name, seeds in (("one", (0, 1)), ("two", (3,)))]
    third = Folder(tmp_path / "three")
    third.final("bridge", seed=7)
    runs.append(Run(third.write()))
    rows = {row["method"]: row for row in summary.build(runs).iter_rows(named=True)}
    for run in runs:
        for row in accuracy.build(run).iter_rows(named=True):
            found = rows[row["method"]]
            assert found[run.name] == row["balanced_accuracy"]
            assert found[f"{run.name}/low"] == row["balanced_accuracy_low"]
    for method, n in (("bridge", 3), ("kd_logits", 2)):
        values = [rows[method][run.name] for run in runs if rows[method][run.name] is not None]
        assert rows[method]["mean"] == pytest.approx(np.mean(values))
        assert rows[method]["runs"] == len(values) == n
    cells = summary.table(runs).cells()
    assert next(line for line in cells if line[0] == "KD logits")[3] == "–"


def test_the_command_writes_it_and_refuses_what_cannot_be_compared(tmp_path: Path) -> None:
    folders = [finished(tmp_path / name, (0,)) for name in ("one", "two")]
    done = subprocess.run(
        [sys.executable, "-m", "analysis", "summary", *map(str, folders), "--out", str(tmp_path / "all")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "all").iterdir()} == {f"summary.{end}" for end in ("md", "csv", "tex")}
    with pytest.raises(InputError, match="two of the runs are called one"):
        summary.table([Run(folders[0]), Run(folders[0])])
    with pytest.raises(InputError, match="no final results"):
        summary.table([Run(Folder(tmp_path / "none").log())])
