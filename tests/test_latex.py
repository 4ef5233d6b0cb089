"""Tables in LaTeX compile as they are: what any of them holds, in a document that has booktabs and nothing else."""

import shutil
import subprocess
from pathlib import Path

import polars as pl
import pytest

from analysis.across import compare, summary
from analysis.run import Run
from analysis.tables import tables
from analysis.writers import Table, label, save
from benchmark.results.schema import MethodCard
from tests.test_analysis import Folder
from tests.test_analysis_writers import COLUMNS, ROWS
from tests.test_report import full

NEEDED = "no pdflatex on this machine (Debian's package texlive-latex-recommended)"
pytestmark = pytest.mark.skipif(shutil.which("pdflatex") is None, reason=NEEDED)

DOCUMENT = r"\documentclass{article}\usepackage{booktabs}\begin{document}%s\end{document}"
HARD = '[1] * a\\b{c} & 50 % of #2_$ ~ ^ | "quoted" <x> -- → ± × − – « naïve » `tick\' ≤ ≥ ≠ … · µV λ² \x07 \u200b ?`'


def compiled(made: list[Table], folder: Path) -> str:
    """What LaTeX says of a document of these tables."""
    texts = [path.name for table in made for path in save(table, folder) if path.suffix == ".tex"]
    (folder / "all.tex").write_text(DOCUMENT % "".join(rf"\input{{{name}}}\clearpage " for name in texts))
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=120)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (folder / "all.pdf").stat().st_size > 1000
    return (folder / "all.log").read_text(errors="replace")


def test_every_table_of_a_run_compiles(tmp_path: Path) -> None:
    runs = [Run(full(tmp_path / name, evil=" <&%$#_{}~^\\>")) for name in ("one_1", "two_2")]
    unlucky = Folder(tmp_path / "unlucky", MethodCard("zebra_50%", "Zebra_{50 %}", "transfer"))
    unlucky.row("zebra_50%", "search", status="failed", error="OSError: [Errno 28] No space left: '/a_b/c~d'")
    made = [table for run in (*runs, Run(unlucky.write())) for table in tables(run)]
    made += [summary.table(runs), *compare.tables(*runs)]
    assert {table.name for table in made} > {"accuracy", "comparisons", "failures", "transfer", "summary", "changed"}
    for k, table in enumerate(made):
        object.__setattr__(table, "name", f"{k}_{table.name}")
    assert "Missing character" not in compiled(made, tmp_path / "tex")


def test_any_text_compiles(tmp_path: Path) -> None:
    odd = Table("odd", HARD, HARD, pl.DataFrame({"name": [HARD, "", None, "*", "["]}), [label("name", HARD)] * 2)
    said = compiled([odd, Table("some_table", "Some_title", "Of 5 % & more.", ROWS, COLUMNS)], tmp_path)
    assert "Missing character" not in said
