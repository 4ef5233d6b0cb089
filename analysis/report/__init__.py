"""``report.html``: one or more runs on a page of its own, which needs no network and asks for none.

Charts are Vega-Lite, their script lies in the page, and their data are what their captions and the tables say.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import vl_convert
from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from analysis import captions
from analysis.report.parts import Chart, Code, Part, Text
from analysis.report.sections import question, sections
from analysis.run import Run
from analysis.tables import tables
from analysis.writers import Table
from benchmark.common.files import write_text

NAME = "report.html"


def write(runs: Sequence[Run], path: Path, made: Sequence[Sequence[Table]] | None = None) -> Path:
    """Write the page of these runs, one after the other; behind several verdicts if there are several.

    Args:
        made: each run's tables, where they have been made already.

    Returns:
        ``path``.
    """
    found = [
        (run, question.answer(run), sections(run, {table.name: _once(run, table) for table in every}))
        for run, every in zip(runs, made or map(tables, runs), strict=True)
    ]
    return write_text(path, _environment().get_template("page.html").render(runs=found))


def _once(run: Run, table: Table) -> Table:
    """The table without what its caption says of the whole run: the page says it once."""
    return replace(table, caption=table.caption.replace(captions.setting(run), "").strip())


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("analysis.report", ""), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals |= {"bundle": _bundle(), "data": captions.data, "inline": _inline}
    environment.filters |= {"kind": _kind, "slug": lambda text: re.sub(r"\W+", "-", text).strip("-").lower()}
    return environment


def _inline(name: str) -> Markup:
    """A file beside this one, for a script or a style element."""
    return Markup((Path(__file__).parent / name).read_text())


def _bundle() -> Markup:
    """Vega, Vega-Lite and vega-embed as one script."""
    return Markup(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;").replace("</script", "<\\/script"))


def _kind(part: Part) -> str:
    return {Text: "text", Code: "code", Chart: "chart", Table: "table"}[type(part)]
