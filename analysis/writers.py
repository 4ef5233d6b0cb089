"""One table, four ways to write it: Markdown, CSV, LaTeX (booktabs) and plain text for a terminal.

A table keeps its numbers raw in a frame; only its columns know how a row reads. The CSV holds the raw
frame, so nothing has to be parsed back out of "0.71 ± 0.02".
"""

import math
import textwrap
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from benchmark.common.files import write_bytes

MISSING = "–"
WIDTH = 120
"""Characters that a table may take in a terminal."""
SHORTEST = 40
"""Characters to which a text at the end of a row may be cut."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """A displayed column: its header, and what a row of the frame reads there."""

    header: str
    text: Callable[[Row], str]
    right: bool = True


@dataclass(frozen=True)
class Table:
    """A frame of raw values and how it is displayed. ``columns`` may show fewer or merged columns."""

    name: str
    title: str
    caption: str
    frame: pl.DataFrame
    columns: Sequence[Column]
    long: bool = False
    """Whether it is for a file, and not for a terminal."""

    def cells(self) -> list[list[str]]:
        """What is displayed, row by row."""
        return [[column.text(row) for column in self.columns] for row in self.frame.iter_rows(named=True)]


# What a column can hold.


def label(name: str, header: str, right: bool = False) -> Column:
    """Text."""
    return Column(header, lambda row: MISSING if row[name] is None else str(row[name]), right)


def integer(name: str, header: str) -> Column:
    """A count, with thousands separated by commas."""
    return Column(header, lambda row: MISSING if row[name] is None else f"{row[name]:,}")


def number(name: str, header: str, digits: int = 1, scale: float = 1.0) -> Column:
    """``scale`` times the value, with ``digits`` decimals."""
    return Column(header, lambda row: _number(row[name], digits, scale))


def magnitude(name: str, header: str, digits: int = 3) -> Column:
    """A value of which it is not known how large it is, with ``digits`` digits that say something: 0.00012, 2.5."""

    def text(row: Row) -> str:
        value = row[name]
        return MISSING if value is None or not math.isfinite(value) else f"{value:.{digits}g}".replace("-", "−")

    return Column(header, text)


def mean_sd(name: str, header: str, digits: int = 1, scale: float = 100.0) -> Column:
    """``name`` ± ``name_sd``; the mean alone where the deviation is unknown."""

    def text(row: Row) -> str:
        mean, sd = _number(row[name], digits, scale), _number(row[f"{name}_sd"], digits, scale)
        return mean if MISSING in (mean, sd) else f"{mean} ± {sd}"

    return Column(header, text)


def interval(name: str, header: str, digits: int = 1, scale: float = 100.0) -> Column:
    """[``name_low``, ``name_high``]."""

    def text(row: Row) -> str:
        low, high = _number(row[f"{name}_low"], digits, scale), _number(row[f"{name}_high"], digits, scale)
        return MISSING if MISSING in (low, high) else f"[{low}, {high}]"

    return Column(header, text)


def _number(value: float | None, digits: int, scale: float) -> str:
    if value is None or not math.isfinite(value):
        return MISSING
    text = f"{value * scale:,.{digits}f}"
    return text.removeprefix("-") if float(text.replace(",", "")) == 0 else text.replace("-", "−")


# The formats.


def markdown(table: Table) -> str:
    """A GitHub-flavoured Markdown section: title, table, caption."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(_escape_markdown(cell) for cell in cells) + " |"

    rule = "| " + " | ".join("---:" if column.right else ":---" for column in table.columns) + " |"
    body = [line([column.header for column in table.columns]), rule, *map(line, table.cells())]
    return "\n".join([f"## {_escape_markdown(table.title)}", "", *body, "", _escape_markdown(table.caption), ""])


def csv(table: Table) -> str:
    """The raw frame: full precision, no merged columns, empty where unknown."""
    return table.frame.write_csv()


def latex(table: Table) -> str:
    r"""A ``table`` environment for ``\input``; it needs the booktabs package and UTF-8."""

    def line(cells: Sequence[str]) -> str:
        text = " & ".join(escape_latex(cell) for cell in cells)
        # After the previous row's \\ LaTeX would read a leading bracket or star as an argument.
        return "    " + ("{}" if text.startswith(("[", "*")) else "") + text + r" \\"

    return "\n".join(
        [
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{escape_latex(f'{table.title}. {table.caption}')}}}",
            # A label is not typeset, so it keeps its underscores.
            rf"  \label{{tab:{table.name}}}",
            rf"  \begin{{tabular}}{{{''.join('r' if column.right else 'l' for column in table.columns)}}}",
            r"    \toprule",
            line([column.header for column in table.columns]),
            r"    \midrule",
            *map(line, table.cells()),
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def plain(table: Table, width: int = WIDTH) -> str:
    """Aligned text no wider than ``width`` characters, if a single cell allows it.

    Headers wrap between words. Where the columns still do not fit, a text in the last one is cut, or else the table is
    continued below under its first column.
    """
    cells = table.cells()

    def widths_with(header_width: Callable[[str], int]) -> list[int]:
        return [
            max([header_width(column.header), *(len(row[k]) for row in cells)])
            for k, column in enumerate(table.columns)
        ]

    widths = widths_with(len)
    if sum(size + 2 for size in widths) - 2 > width:
        widths = widths_with(lambda header: max(map(len, header.split())))
        left = width - sum(size + 2 for size in widths[:-1])
        if not table.columns[-1].right and SHORTEST <= left < widths[-1]:
            widths[-1] = left
            cells = [[*row[:-1], textwrap.shorten(row[-1], left, placeholder=" …")] for row in cells]
    parts = []
    for chosen in _split(widths, width):
        lines = [textwrap.wrap(table.columns[k].header, widths[k], break_long_words=False) for k in chosen]
        depth = max(len(line) for line in lines)
        stacked = [[""] * (depth - len(line)) + line for line in lines]
        rows = [list(row) for row in zip(*stacked, strict=True)]
        rows.append(["-" * widths[k] for k in chosen])
        rows += [[row[k] for k in chosen] for row in cells]
        parts.append(
            "\n".join(
                "  ".join(
                    text.rjust(widths[k]) if table.columns[k].right else text.ljust(widths[k])
                    for k, text in zip(chosen, row, strict=True)
                ).rstrip()
                for row in rows
            )
        )
    caption = textwrap.fill(table.caption, width)
    return "\n".join([table.title, "=" * len(table.title), "\n\n".join(parts), "", caption, ""])


def _split(widths: Sequence[int], width: int) -> list[list[int]]:
    """Column indices part by part; every part after the first repeats column 0."""
    parts = [[0]]
    for k in range(1, len(widths)):
        if len(parts[-1]) > 1 and sum(widths[i] + 2 for i in [*parts[-1], k]) - 2 > width:
            parts.append([0])
        parts[-1].append(k)
    return parts


_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "→": r"$\to$",
    "−": r"$-$",
    "–": "--",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "≠": r"$\neq$",
    "·": r"$\cdot$",
    "µ": r"$\mu$",
    "μ": r"$\mu$",
    "…": r"\ldots{}",
}
_ACCENTS = {chr(code) for code in (0x300, 0x301, 0x302, 0x303, 0x308, 0x30A, 0x30C, 0x327)}
"""Those that every LaTeX has: of à á â ã ä å č ç."""


def escape_latex(text: str) -> str:
    """Text that LaTeX typesets as it reads; line breaks become spaces, and what it has no sign for its number."""
    return "".join(map(_latex, " ".join(text.split())))


def _latex(character: str) -> str:
    if character in _LATEX or (character.isascii() and character.isprintable()):
        return _LATEX.get(character, character)
    parts = unicodedata.normalize("NFD", character)
    if len(parts) == 2 and parts[0].isascii() and parts[0].isalpha() and parts[1] in _ACCENTS:
        return character
    plain = unicodedata.normalize("NFKD", character)
    return escape_latex(plain) if plain.isascii() and plain.isprintable() else f"U+{ord(character):04X}"


def _escape_markdown(text: str) -> str:
    text = " ".join(text.split())
    for character in "\\|`*<":
        text = text.replace(character, "\\" + character)
    return text


# Files.

FORMATS: Mapping[str, Callable[[Table], str]] = {"md": markdown, "csv": csv, "tex": latex}


def save(table: Table, folder: Path) -> list[Path]:
    """Write ``<folder>/<name>.{md,csv,tex}``."""
    return [write_bytes(folder / f"{table.name}.{end}", text(table).encode()) for end, text in FORMATS.items()]
