"""What a section of the report is made of, and how methods look in its charts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import polars as pl

from analysis.figures import accuracy_parameters
from analysis.run import KINDS, Run
from analysis.writers import Table

COLOURS = (*accuracy_parameters.COLOURS[:-1], "var(--yellow)")
"""Those of the figures; the page has a darker yellow when it is light."""
PLAIN, MARKED, GREY, INK = COLOURS[0], COLOURS[1], "#888888", "currentColor"
"""Of what has no colour of its own, what is picked out, what is put back, and what is drawn like the page's text."""
SHAPES = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "triangle-right")


@dataclass(frozen=True)
class Text:
    """Paragraphs; ``lead`` sets them large."""

    paragraphs: Sequence[str]
    lead: bool = False


@dataclass(frozen=True)
class Code:
    """What is to be read as it stands, folded away under ``title`` if it has one."""

    text: str
    title: str = ""


@dataclass(frozen=True)
class Chart:
    """Charts side by side, where there is room, that share a caption. Their data lie in them as they are drawn."""

    name: str
    caption: str
    charts: Sequence[alt.TopLevelMixin]

    def specs(self) -> list[dict[str, Any]]:
        """Vega-Lite, as wide as there is room; what is the same in all charts, ``page.js`` says."""
        autosize = {"type": "fit-x", "contains": "padding"}
        own = {"config": {}, "width": "container", "autosize": autosize, "description": self.caption}
        return [chart.to_dict() | own for chart in self.charts]


Part = Text | Code | Chart | Table
Tables = Mapping[str, Table]
"""Of a run, by name."""


def labelled(run: Run, frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with ``label``, what a reader sees of ``method``."""
    return frame.with_columns(pl.col("method").replace_strict(run.labels, return_dtype=pl.String).alias("label"))


def sampled(frame: pl.DataFrame, most: int, what: str) -> tuple[pl.DataFrame, str]:
    """At most ``most`` rows, evenly spaced with the first and the last one, and a sentence that says so."""
    if frame.height <= most:
        return frame, ""
    rows = [round(k * (frame.height - 1) / (most - 1)) for k in range(most)]
    return frame[rows], f" {most:,} of {frame.height:,} {what} are drawn, evenly spaced."


def styled(channel: Any, run: Run, labels: Iterable[str]) -> Any:
    """A channel (alt.Color, alt.Fill or alt.Shape) that tells methods apart, the same in every chart of a run: with
    colour and shape, none looks like another one."""
    found, styles = set(labels), {}
    for kind in KINDS:
        for k, method in enumerate(run.of_kind(kind)):
            again, turn = divmod(k, len(COLOURS))
            colour = {"floor": GREY, "ceiling": INK}.get(kind, COLOURS[turn])
            styles[run.labels[method]] = SHAPES[(turn + again) % len(SHAPES)] if channel is alt.Shape else colour
    shown = [label for label in styles if label in found]
    return channel("label:N", scale=alt.Scale(domain=shown, range=[styles[label] for label in shown]))


def dashed(run: Run) -> Any:
    """Strokes of those whose colour another one has before them are dashed."""
    again = [run.labels[method] for method in run.of_kind("transfer")[len(COLOURS) :]]
    first = alt.when(alt.FieldOneOfPredicate(field="label", oneOf=again))
    return first.then(alt.value([5, 3])).otherwise(alt.value([1, 0]))


def tips(*fields: str) -> list[alt.Tooltip]:
    """What a pointer shows of each ``name:type`` or ``name:type:format``."""
    parts = [field.split(":") for field in fields]
    return [alt.Tooltip(f"{name}:{kind}", format=form[0] if form else "") for name, kind, *form in parts]
