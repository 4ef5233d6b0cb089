"""What a run ends with, short enough for a page's first screen: its chart, a few columns of accuracy, and the verdict.

It goes between two lines of a Markdown file, so that what the file shows is what a run printed.
"""

import json
import os
from pathlib import Path
from textwrap import fill

import polars as pl

from analysis import figures, writers
from analysis.captions import data
from analysis.figures import accuracy_parameters
from analysis.run import Run
from analysis.tables import accuracy
from analysis.verdict import verdict
from analysis.writers import WIDTH, Column, Table, integer
from benchmark.common.files import write_bytes, write_text
from benchmark.errors import InputError
from benchmark.results.folder import PLAN

BEGIN, END = "<!-- excerpt of a run -->", "<!-- end of the excerpt -->"
SHOWN = ("Method", "Balanced accuracy", "95 % interval", "Group")


def put(run: Run, page: Path) -> list[Path]:
    """Write a run's excerpt between the lines ``BEGIN`` and ``END`` of ``page``, and its chart to ``docs/`` beside it.

    InputError for a run without results on test, and for a page that has not both lines, each once.
    """
    drawn = [path for path in figures.save(run, run.path / "figures") if path.name == f"{accuracy_parameters.NAME}.png"]
    if not drawn:
        raise InputError(f"{run.path} has no results on test to show; finish the run (resume=true)")
    text = page.read_text() if page.is_file() else ""
    if not (text.count(BEGIN) == text.count(END) == 1 and text.index(BEGIN) < text.index(END)):
        raise InputError(f"{page}: an excerpt goes between a line '{BEGIN}' and a line '{END}'; add both, once")
    chart = write_bytes(page.parent / "docs" / f"{run.name}.png", drawn[0].read_bytes())
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    return [write_text(page, f"{before}{BEGIN}\n{_markdown(run, chart, page)}\n{END}{after}"), chart]


def _markdown(run: Run, chart: Path, page: Path) -> str:
    given = json.loads((run.path / PLAN).read_text()).get("words", [])
    words = " ".join(word for word in given if word != "experiment=quickstart")  # which is make's own default
    command = "make benchmark" + (f' ARGS="{words}"' if words else "")
    day = str(run.final["started_at"].min())[:10]
    said = "\n".join(fill(line, WIDTH) for line in verdict(run).splitlines())
    where = os.path.relpath(chart, page.parent)
    return (
        f"![Balanced accuracy of every method against its trainable parameters, {data(run)}]({where})\n\n"
        f"`{command}`, {day}:\n\n```\n{_table(run)}\n\n{said}\n```"
    )


def _table(run: Run) -> str:
    """Of accuracy, and what each method trains, the median over its final trials."""
    sizes = run.final.group_by("method").agg(pl.col("trainable_parameters").median().cast(pl.Int64))
    frame = accuracy.build(run).join(sizes, on="method", how="left", maintain_order="left")
    columns: list[Column] = [column for column in accuracy.columns(run, frame) if column.header in SHOWN]
    columns.append(integer("trainable_parameters", "Trainable parameters"))
    _, _, *lines = writers.plain(Table(accuracy.NAME, accuracy.TITLE, "", frame, columns)).splitlines()
    return "\n".join(lines).strip("\n")
