"""Several runs in one table, and their ranks against published numbers and a direct computation."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import friedmanchisquare, rankdata

from analysis.__main__ import main
from analysis.across import diagram, summary
from analysis.across.ranks import Ranking, critical_difference, ranking
from analysis.run import Run
from analysis.tables import accuracy
from analysis.verdict import verdict
from benchmark.errors import InputError
from benchmark.results.schema import MethodCard
from tests.test_analysis import CONFIG, Folder, finished


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
    written = {path.name for path in (tmp_path / "all").iterdir()}
    assert written == {
        *(f"{name}.{end}" for name in ("summary", "standing") for end in ("md", "csv", "tex")),
        "verdicts.md",
    }
    said = " ".join((tmp_path / "all" / "verdicts.md").read_text().split())
    assert all(f"## {folder.name} " in said and " ".join(verdict(Run(folder)).split()) in said for folder in folders)
    with pytest.raises(InputError, match="two of the runs are called one"):
        summary.table([Run(folders[0]), Run(folders[0])])
    with pytest.raises(InputError, match="no final results"):
        summary.table([Run(Folder(tmp_path / "none").log())])


# Ranks.

# Demsar 2006, table 6: AUC of C4.5 with neither, m, cf, and both of two parameters tuned, on 14 data sets. Of the two
# that are printed as 0.975 in one row, its ranks have the first as the better.
DEMSAR = np.array(
    [
        [0.763, 0.768, 0.771, 0.798], [0.599, 0.591, 0.590, 0.569], [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657], [0.882, 0.888, 0.886, 0.898], [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685], [0.583, 0.583, 0.563, 0.625], [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000], [0.940, 0.962, 0.965, 0.962], [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.97501, 0.975], [0.957, 0.978, 0.946, 0.970],
    ]
)  # fmt: skip


def test_ranks_and_what_they_tell_apart_are_the_published_ones() -> None:
    found = ranking(dict(zip(("C4.5", "m", "cf", "both"), DEMSAR.T.tolist(), strict=True)))
    assert isinstance(found, Ranking)
    published = {"both": 1.964, "m": 2.0, "cf": 2.893, "C4.5": 3.143}
    assert list(found.ranks) == list(published)
    assert found.ranks == pytest.approx(published, abs=6e-4)
    assert (found.statistic, found.p) == pytest.approx(friedmanchisquare(*DEMSAR.T))
    # His table 5, of the studentized range over the square root of 2, at 5 %.
    for methods, q in zip(range(2, 11), (1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164), strict=True):
        se = np.sqrt(methods * (methods + 1) / (6 * 14))
        assert critical_difference(methods, 14) == pytest.approx(q * se, abs=1e-3)
    # 1.179 apart at the most, less than 1.25.
    assert set(found.groups.values()) == {"a"}


def test_methods_are_told_apart_by_the_critical_difference_and_only_where_friedman_rejects() -> None:
    values = {"a": [0.9] * 8, "b": [0.8] * 8, "c": [0.1] * 8, "d": [0.2] * 8}
    found = ranking(values)
    assert isinstance(found, Ranking)
    assert found.ranks == {"a": 1, "b": 2, "d": 3, "c": 4}
    assert found.critical == pytest.approx(2.569 * np.sqrt(20 / 48), abs=1e-3)  # 1.66
    assert found.groups == {"a": "a", "b": "ab", "d": "bc", "c": "c"}
    assert diagram._bars(found) == [["a", "b"], ["b", "d"], ["d", "c"]]
    assert set(Ranking(8, found.ranks, 1.0, 0.06, found.critical).groups.values()) == {"a"}


def seeds(path: Path, n: int, without: str = "") -> list[Run]:
    """Runs of simulated people of several seeds; the last lacks a method."""
    runs = []
    for seed in range(n):
        folder = Folder(path / f"seed{seed}", MethodCard("zebra", "Zebra", "transfer"), seed=seed)
        for method, tenths in (("bridge", 3 + seed), ("zebra", 9), ("kd_logits", 5), ("majority", 3)):
            if seed < n - 1 or method != without:
                folder.right(folder.row(method, "final"), tenths)
        folder.write()
        (folder.path / "config.yaml").write_text(CONFIG.replace("simulated,", f"simulated, seed: {seed},"))
        runs.append(Run(folder.path))
    return runs


def test_gains_and_ranks_are_of_the_runs_own_values(tmp_path: Path) -> None:
    runs = seeds(tmp_path, 5)
    frame = summary.build(runs)
    rows = {row["method"]: row for row in frame.iter_rows(named=True)}
    tenths = {"bridge": np.arange(3, 8), "zebra": np.full(5, 9), "kd_logits": np.full(5, 5)}
    ranks = rankdata(-np.array(list(tenths.values())), axis=0).mean(1)
    for method, rank in zip(tenths, ranks, strict=True):
        assert rows[method]["rank"] == pytest.approx(rank)
        assert rows[method]["gain"] == pytest.approx(np.mean(tenths[method] / 5) - 1)
    assert (rows["majority"]["rank"], rows["majority"]["gain"]) == (None, pytest.approx(-0.4))
    said = summary.table(runs).caption
    statistic, p = friedmanchisquare(*tenths.values())
    assert f"over n = 5 blocks, each a direction on people of its own. Friedman: chi squared {statistic:.2f}, 2" in said
    assert f"p = {p:.3f}; " in said
    assert "All blocks are of one direction, with other simulated people" in said


@pytest.mark.parametrize(
    ("n", "without", "again", "said"),
    [
        (4, "", False, "No test of ranks (Friedman): n = 4 directions or samples of people, and it needs 5."),
        (4, "", True, "n = 4 directions or samples of people, and it needs 5."),
        (5, "zebra", False, "2 transfer methods in all runs, and it needs 3."),
    ],
)
def test_ranks_are_refused_with_the_reason(n: int, without: str, again: bool, said: str, tmp_path: Path) -> None:
    runs = seeds(tmp_path, n, without)
    if again:  # the same people once more, trained with another seed
        runs[0].path.rename(tmp_path / "again")
        runs += seeds(tmp_path, 1)[:1]
        runs[0] = Run(tmp_path / "again")
    table = summary.table(runs)
    assert said in table.caption
    assert "Group" not in [column.header for column in table.columns]


def test_the_command_draws_the_diagram_with_n_in_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seeds(tmp_path / "all", 5)
    (tmp_path / "all" / "paper").mkdir()  # no run
    for _ in range(2):  # the second time, beside its own files
        assert main(["summary", *map(str, sorted((tmp_path / "all").iterdir()))]) == 0
        printed = capsys.readouterr().out.splitlines()
        assert set(map(str, (tmp_path / "all").glob("critical_difference.*"))) == set(printed[-2:])
    figure = diagram.draw(ranking({m: list(range(k, k + 5)) for k, m in enumerate("abc")}), {m: m * 30 for m in "abc"})
    axes = figure.axes[0]
    figure.canvas.draw()
    frame = figure.bbox
    boxes = [text.get_window_extent() for text in axes.texts]
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1 for box in boxes)
    assert not [1 for k, a in enumerate(boxes) for b in boxes[k + 1 :] if a.overlaps(b)]
    assert any("n = 5 blocks" in text.get_text() for text in axes.texts)
