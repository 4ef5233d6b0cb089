"""How a table is written: Markdown, CSV, LaTeX, plain text, and whole files."""

import io
import math
import re
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import discovery
from analysis.writers import (
    Column,
    Table,
    csv,
    escape_latex,
    integer,
    interval,
    label,
    latex,
    magnitude,
    markdown,
    mean_sd,
    number,
    plain,
    save,
)

ROWS = pl.DataFrame(
    {
        "name": ["a|b_c & 50%", "plain", None],
        "count": [1234567, 0, None],
        "value": [0.12345, -0.00001, None],
        "value_sd": [0.01, None, None],
        "value_low": [-0.5, 0.1, None],
        "value_high": [0.25, math.nan, None],
    }
)
COLUMNS = [
    label("name", "Name"),
    integer("count", "Count"),
    mean_sd("value", "Mean (%)"),
    interval("value", "95 % interval"),
    number("value", "Value", digits=2),
]


def table(frame: pl.DataFrame = ROWS, columns: list[Column] = COLUMNS, caption: str = "Of 5 % & more.") -> Table:
    return Table("some_table", "Some_title", caption, frame, columns)


def test_cells_are_formatted_once_for_every_format() -> None:
    assert table().cells() == [
        ["a|b_c & 50%", "1,234,567", "12.3 ± 1.0", "[−50.0, 25.0]", "0.12"],
        ["plain", "0", "0.0", "–", "0.00"],  # no negative zero, no half interval
        ["–", "–", "–", "–", "–"],
    ]


def test_a_value_of_any_magnitude_is_readable() -> None:
    shown = magnitude("value", "Value").text
    values = [0.00012345, 2.5, -0.5, 12, 0.0, None, math.nan]
    assert [shown({"value": value}) for value in values] == ["0.000123", "2.5", "−0.5", "12", "0", "–", "–"]


def test_csv_keeps_the_raw_numbers() -> None:
    read = pl.read_csv(io.StringIO(csv(table())))
    assert read.columns == ROWS.columns
    assert read["value"].to_list() == ROWS["value"].to_list()
    assert read["name"].to_list() == ROWS["name"].to_list()


def test_markdown_has_as_many_cells_in_every_line() -> None:
    lines = [line for line in markdown(table()).splitlines() if line.startswith("|")]
    assert len(lines) == 2 + ROWS.height
    assert {len(re.split(r"(?<!\\)\|", line)) for line in lines} == {len(COLUMNS) + 2}
    assert r"a\|b_c & 50%" in lines[2]
    assert lines[1] == "| :--- | ---: | ---: | ---: | ---: |"


def test_latex_is_a_booktabs_table_whose_text_is_escaped() -> None:
    text = latex(table())
    assert r"\begin{tabular}{lrrrr}" in text
    assert r"a\textbar{}b\_c \& 50\% & 1,234,567 & 12.3 $\pm$ 1.0 & [$-$50.0, 25.0] & 0.12 \\" in text
    assert r"\caption{Some\_title. Of 5 \% \& more.}" in text
    assert r"\label{tab:some_table}" in text
    assert [text.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]


def test_a_latex_row_does_not_begin_with_what_a_line_break_would_eat() -> None:
    frame = pl.DataFrame({"name": ["[1]", "*"]})
    text = latex(table(frame, [label("name", "Name")]))
    assert r"{}[1] \\" in text
    assert r"{}* \\" in text


UNESCAPED = re.compile(r"(?<!\\)[&%#_]|\n")
COMMANDS = re.compile(
    r"\\(text(backslash|asciitilde|asciicircum|less|greater|bar)|ldots)\{\}"
    r"|\$\\(pm|times|to|leq|geq|neq|cdot|mu)\$|\$-\$|\\[&%$#_{}]"
)


@given(st.text())
def test_escaped_text_holds_no_bare_special_character(text: str) -> None:
    escaped = escape_latex(text)
    assert not UNESCAPED.search(escaped)
    assert not re.search(r"[\\{}$~^]", COMMANDS.sub("", escaped))


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("hubert_ecg", r"hubert\_ecg"),
        ("50 % & #1 $x", r"50 \% \& \#1 \$x"),
        ("a\\b{c}~^", r"a\textbackslash{}b\{c\}\textasciitilde{}\textasciicircum{}"),
        ("7 → head", r"7 $\to$ head"),
        ("two\n lines", "two lines"),
        ("naïve č ≤ 5 µV² ½", r"naïve č $\leq$ 5 $\mu$V2 U+00BD"),
        ("λ\x07", "U+03BBU+0007"),
    ],
)
def test_latex_escapes(text: str, escaped: str) -> None:
    assert escape_latex(text) == escaped


def test_plain_text_is_aligned() -> None:
    lines = plain(table()).splitlines()
    rule = next(line for line in lines if line.startswith("----"))
    ends = [match.end() for match in re.finditer("-+", rule)]
    rows = lines[lines.index(rule) + 1 :][: ROWS.height]
    for row in rows:
        for end in ends[1:]:
            assert row[end - 1] != " "
            assert row[end : end + 2].strip() == ""


@pytest.mark.parametrize("columns", [1, 5, 30])
def test_plain_text_fits_its_width_and_loses_no_column(columns: int) -> None:
    frame = pl.DataFrame({"first": ["row"], **{f"c{k}": [k / 3] for k in range(columns)}})
    shown = [label("first", "First"), *(number(f"c{k}", f"Long header {k:02d}", 4) for k in range(columns))]
    text = plain(table(frame, shown, caption="word " * 60), width=80)
    assert max(map(len, text.splitlines())) <= 80
    for k in range(columns):
        assert f"{k / 3:,.4f}" in text
        assert f"{k:02d}" in text
    parts = text.count("First")
    assert (parts == 1) == (columns < 10)
    assert text.count("row") == parts


def test_save_writes_three_formats_and_no_temporary_file(tmp_path: Path) -> None:
    paths = save(table(), tmp_path / "tables")
    assert [path.name for path in paths] == ["some_table.md", "some_table.csv", "some_table.tex"]
    assert sorted((tmp_path / "tables").iterdir()) == sorted(paths)


def test_a_file_that_cannot_be_written_leaves_nothing_half_done(tmp_path: Path) -> None:
    taken = tmp_path / "some_table.md"
    taken.mkdir()
    with pytest.raises(IsADirectoryError):
        save(table(), tmp_path)
    assert list(tmp_path.iterdir()) == [taken]


def test_a_new_table_is_one_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "found_tables"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "second.py").write_text("NAME = 'b'\n")
    (package / "first.py").write_text("NAME = 'a'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    names = [module.NAME for module in discovery.modules([str(package)], "found_tables", ("NAME",))]
    assert names == ["a", "b"]
    with pytest.raises(TypeError, match=r"found_tables\.first lacks build"):
        discovery.modules([str(package)], "found_tables", ("NAME", "build"))
