"""What a page shows of a run is what the run found."""

from pathlib import Path

import pytest

from analysis.__main__ import main
from analysis.excerpt import BEGIN, END
from analysis.run import Run
from analysis.tables import accuracy
from analysis.verdict import verdict
from tests.test_analysis import Folder, finished

PAGE = f"# Title\n\n{BEGIN}\nof an older run\n{END}\n\nThe rest.\n"


def test_it_has_the_runs_chart_accuracy_and_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, page = finished(tmp_path / "results" / "a"), tmp_path / "README.md"
    page.write_text(PAGE)
    assert main(["excerpt", str(run), "--out", str(page)]) == 0
    text, chart = page.read_text(), tmp_path / "docs" / "a.png"
    assert capsys.readouterr().out.split() == [str(page), str(chart)]
    assert text.startswith(f"# Title\n\n{BEGIN}\n!")
    assert text.endswith(f"{END}\n\nThe rest.\n")
    assert "older" not in text
    assert "](docs/a.png)" in text
    assert chart.read_bytes() == (run / "figures" / "accuracy_parameters.png").read_bytes()
    for row in accuracy.build(Run(run)).iter_rows(named=True):
        line = next(line for line in text.splitlines() if line.startswith(f"{row['label']} "))
        assert f"{100 * row['balanced_accuracy']:.1f}" in line
    assert " ".join(verdict(Run(run)).split()) in " ".join(text.split())
    assert main(["excerpt", str(run), "--out", str(page)]) == 0
    assert page.read_text() == text


@pytest.mark.parametrize("text", [None, "# No lines\n", f"{END}\n{BEGIN}\n", PAGE + PAGE])
def test_a_page_without_a_place_for_it_stays_as_it_is(
    text: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, page = finished(tmp_path / "a"), tmp_path / "README.md"
    if text is not None:
        page.write_text(text)
    assert main(["excerpt", str(run), "--out", str(page)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert text is None or page.read_text() == text
    assert not (tmp_path / "docs").exists()


def test_a_run_without_results_has_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, page = Folder(tmp_path / "a"), tmp_path / "README.md"
    folder.row("bridge", "search")
    page.write_text(PAGE)
    assert main(["excerpt", str(folder.write()), "--out", str(page)]) == 2
    assert "no results on test" in capsys.readouterr().err
    assert page.read_text() == PAGE


def test_the_readme_has_a_place_for_it_on_its_first_screen() -> None:
    lines = (Path(__file__).parents[1] / "README.md").read_text().splitlines()
    assert 0 < lines.index(BEGIN) < lines.index(END) < 60
    assert any(line.startswith("![Balanced accuracy") for line in lines[: lines.index(END)])
