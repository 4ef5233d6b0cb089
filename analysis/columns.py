"""``docs/columns.md``: every column of what a run leaves behind, as the schema and the methods declare it."""

import dataclasses
from collections.abc import Sequence

import polars as pl

from analysis.writers import Table, label, markdown
from benchmark import registry
from benchmark.results.schema import PREDICTION, ROW, Column

HEAD = """\
# Columns

What a run's Parquet files hold; `python -m analysis columns` writes this page. A share is a part of 1. What a row or a
window does not have is null: a trial that failed has what the plan says, its status and its error.
"""


def page() -> str:
    """Markdown."""
    cards = [registry.get(name).card() for name in registry.names()]
    sections = [
        _section("trials.parquet", "A row per trial.", ROW),
        _section("predictions.parquet", "A row per test window and final trial.", PREDICTION),
    ]
    by_columns: dict[tuple[Column, ...], list[str]] = {}
    for card in cards:
        if card.columns:
            by_columns.setdefault(card.columns, []).append(card.name)
    for columns, names in by_columns.items():
        said = f"More columns of a run with {' or '.join(f'{name}' for name in names)}."
        sections.append(_section(f"trials.parquet: {', '.join(names)}", said, columns))
    for card in cards:
        for name, columns in card.tables.items():
            sections.append(_section(f"{name}.parquet", f"Of a run in which {card.name} made it.", columns))
    return "\n".join([HEAD, *sections])


def _section(title: str, caption: str, columns: Sequence[Column]) -> str:
    frame = pl.DataFrame([dataclasses.asdict(column) for column in columns], infer_schema_length=None)
    frame = frame.with_columns(pl.col("writer").replace("", "the method"))
    shown = {"name": "Column", "dtype": "Type", "unit": "Unit", "help": "Meaning", "writer": "Written by"}
    return markdown(Table(title, title, caption, frame, [label(name, header) for name, header in shown.items()]))
